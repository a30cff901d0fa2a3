"""The agent's half of agent-sts: verifies the token of a caller, and exchanges it for the next call (RFC 8693)."""

import json
import uuid
from pathlib import Path

import httpx
import jwt

STS = "http://127.0.0.1:8080"
DEMO_ISSUER = "https://login.demo.example"
DEMO_KEYS = jwt.PyJWKSet.from_json(Path("sts-dev/demo-issuer.jwks.json").read_text())
STS_KEYS = jwt.PyJWKClient(f"{STS}/oauth2/jwks")

# httpx follows no redirects unless it is told to: a token goes to the address that was meant, and to no other.
HTTP = httpx.Client(timeout=10)


class Forbidden(Exception):
    """The service refused the exchange, or the token lacks a scope."""


def verify_user(headers) -> tuple[str, dict]:
    """The token of a user and its claims. The first agent of a chain calls this."""
    token = bearer(headers)
    kid = jwt.get_unverified_header(token).get("kid")
    key = next((key for key in DEMO_KEYS.keys if key.key_id == kid), None)
    if key is None:
        raise jwt.InvalidTokenError("no key of this kid")
    return token, verified(token, key, DEMO_ISSUER, audience="demo-web-app", required=["exp", "iat", "sub"])


def verify_agent(headers, audience: str) -> tuple[str, dict]:
    """The token of an agent and its claims. Every other agent of the chain calls this, with its own audience."""
    token = bearer(headers)
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("not an access token")
    key = STS_KEYS.get_signing_key_from_jwt(token)
    return token, verified(token, key, STS, audience, required=["exp", "iat", "sub", "jti", "act"])


def bearer(headers) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise jwt.InvalidTokenError("no bearer token")
    return token


def verified(token: str, key, issuer: str, audience: str, required: list[str]) -> dict:
    return jwt.decode(token, key, algorithms=["ES256"], issuer=issuer, audience=audience, options={"require": required})


def exchange(token: str, agent: str, audience: str, correlation_id: str) -> str:
    """A token for one call of `agent` to `audience`, on behalf of the user of the received token."""
    secret = Path(f"sts-dev/{agent}.secret").read_text().strip()
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "audience": audience,
    }
    headers = {"X-Correlation-ID": correlation_id}
    answer = HTTP.post(f"{STS}/oauth2/token", data=form, auth=(agent, secret), headers=headers)
    if answer.status_code in (400, 401, 403):
        raise Forbidden(f"exchange for {audience} refused: {answer.json()['error']}, correlation id {correlation_id}")
    answer.raise_for_status()
    return answer.json()["access_token"]


def require_scope(claims: dict, scope: str) -> None:
    if scope not in claims.get("scope", "").split(" "):
        raise Forbidden(f"the token has no scope {scope}")


def correlation(headers) -> str:
    """The id that joins all hops of one user request in the audit log."""
    return headers.get("x-correlation-id") or str(uuid.uuid4())


def acting(claims: dict) -> str:
    """The agents of the chain, the current one first."""
    act, names = claims.get("act"), []
    while act:
        names.append(act["sub"])
        act = act.get("act")
    return ", called by ".join(names)
