"""Two verifiers of resource servers read a token. Prints, as JSON, the claims each believes, or null.

usage: resource_server.py TOKEN JWKS_URI ISSUER AUDIENCE ALGORITHM
"""

import asyncio
import json
import logging
import sys

import jwt
from fastmcp.server.auth.providers.jwt import JWTVerifier


def pyjwt(token: str, jwks_uri: str, issuer: str, audience: str, algorithm: str) -> dict:
    key = jwt.PyJWKClient(jwks_uri).get_signing_key_from_jwt(token)
    required = ["exp", "iat", "sub", "jti", "client_id"]
    try:
        return jwt.decode(
            token, key, algorithms=[algorithm], issuer=issuer, audience=audience, options={"require": required}
        )
    except jwt.InvalidAudienceError:
        return None


def fastmcp(token: str, jwks_uri: str, issuer: str, audience: str, algorithm: str) -> dict:
    verifier = JWTVerifier(jwks_uri=jwks_uri, issuer=issuer, audience=audience, algorithm=algorithm)
    verified = asyncio.run(verifier.verify_token(token))
    return verified and verified.claims | {"scopes": verified.scopes}


logging.disable()
print(json.dumps({"pyjwt": pyjwt(*sys.argv[1:]), "fastmcp": fastmcp(*sys.argv[1:])}))
