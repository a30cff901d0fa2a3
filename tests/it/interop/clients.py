"""Clients of others ask for tokens, each in its own way. Prints, as JSON, the token that each got, or why it got none.

usage: clients.py ISSUER SECRET SUBJECT_TOKEN PRIVATE_KEY_FILE MCP_SERVER
"""

import asyncio
import json
import sys
import warnings

import google.auth.transport.requests
import httpx
import httpx2
import requests
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from google.oauth2 import sts, utils
from joserfc.jwk import ECKey
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


class Memory:
    """The storage that the MCP SDK asks for."""

    tokens = client = None

    async def get_tokens(self):
        return self.tokens

    async def set_tokens(self, tokens):
        self.tokens = tokens

    async def get_client_info(self):
        return self.client

    async def set_client_info(self, client):
        self.client = client


def form(subject_token: str) -> dict:
    return {
        "grant_type": GRANT, "subject_token": subject_token, "subject_token_type": JWT, "audience": "inventory-agent",
    }


def by_requests(endpoint, secret, subject_token, **_):
    return requests.post(endpoint, data=form(subject_token), auth=("plus", secret)).json()


def by_httpx(endpoint, secret, subject_token, **_):
    return httpx.post(endpoint, data=form(subject_token), auth=("plus", secret)).json()


def by_google_auth(endpoint, secret, subject_token, **_):
    authentication = utils.ClientAuthentication(utils.ClientAuthType.basic, "plus", secret)
    client = sts.Client(endpoint, authentication)
    request = google.auth.transport.requests.Request()
    return client.exchange_token(request, GRANT, subject_token, JWT, audience="inventory-agent")


def by_authlib(endpoint, private_key, **_):
    session = OAuth2Session("signer", ECKey.import_key(private_key), token_endpoint_auth_method="private_key_jwt")
    session.register_client_auth_method(PrivateKeyJWT(endpoint, alg="ES256"))
    return session.fetch_token(endpoint, grant_type="client_credentials", audience="inventory-agent")


def by_mcp(issuer, secret, mcp_server, **_):
    memory = Memory()
    provider = ClientCredentialsOAuthProvider(
        server_url=mcp_server, storage=memory, client_id="plus", client_secret=secret, issuer=issuer
    )

    async def call():
        async with httpx2.AsyncClient(auth=provider) as client:
            return await client.get(mcp_server)

    answer = asyncio.run(call())
    return {"access_token": memory.tokens.access_token, "status": answer.status_code}


def main(issuer, secret, subject_token, private_key_file, mcp_server):
    with open(private_key_file) as file:
        private_key = file.read()
    given = {
        "issuer": issuer, "endpoint": f"{issuer}/oauth2/token", "secret": secret, "subject_token": subject_token,
        "private_key": private_key, "mcp_server": mcp_server,
    }
    printed = {}
    for name, ask in [
        ("requests", by_requests), ("httpx", by_httpx), ("google-auth", by_google_auth), ("Authlib", by_authlib),
        ("MCP SDK", by_mcp),
    ]:
        try:
            printed[name] = ask(**given)
        except Exception as error:
            printed[name] = {"failed": f"{type(error).__name__}: {error}"}
    print(json.dumps(printed))


warnings.simplefilter("ignore")
main(*sys.argv[1:])
