"""The inventory, with the official Python SDK of A2A, and OAuth by hand: verify, exchange, call the tool.

usage: inventory.py STS WAREHOUSE, with its secret on standard input. Prints where it is, then the claims of each caller that it verified.
"""

import sys

import httpx
import jwt
from a2a.helpers import get_message_text, new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from fastmcp import Client
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse

import serve

STS, WAREHOUSE = sys.argv[1:]
SECRET = sys.stdin.readline().strip()
KEYS = jwt.PyJWKClient(f"{STS}/oauth2/jwks")


def verify(headers: dict) -> tuple[str, dict]:
    """The bearer token of a request and its claims, or an error of PyJWT."""
    token = headers.get("authorization", "").removeprefix("Bearer ")
    key = KEYS.get_signing_key_from_jwt(token)
    required = ["exp", "iat", "sub", "jti", "act"]
    claims = jwt.decode(
        token, key, algorithms=["ES256"], issuer=STS, audience="inventory", options={"require": required}
    )
    return token, claims


async def exchange(token: str) -> str:
    """A token that is good at the warehouse, for the one that was received (RFC 8693)."""
    form = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "subject_token": token,
        "subject_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "audience": "warehouse",
        "scope": "bin:read",
    }
    async with httpx.AsyncClient() as http:
        answer = await http.post(f"{STS}/oauth2/token", data=form, auth=("inventory", SECRET))
    answer.raise_for_status()
    return answer.json()["access_token"]


class Inventory(AgentExecutor):
    async def execute(self, context, event_queue):
        token, claims = verify(context.call_context.state["headers"])
        serve.tell(claims)
        product = get_message_text(context.message).removeprefix("stock ")
        async with Client(WAREHOUSE, auth=await exchange(token)) as warehouse:
            result = await warehouse.call_tool("stock", {"product": product})
        await event_queue.enqueue_event(new_text_message(result.content[0].text, context_id=context.context_id))

    async def cancel(self, context, event_queue):
        raise NotImplementedError


class OnlyVerified:
    """Answers 401 to whoever the verifier does not let in."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "POST":
            headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
            try:
                verify(headers)
            except jwt.PyJWTError:
                challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
                return await JSONResponse({"error": "invalid_token"}, 401, challenge)(scope, receive, send)
        await self.app(scope, receive, send)


listener, url = serve.listen()
card = AgentCard(
    name="inventory",
    description="Knows the stock",
    version="1.0",
    supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
    capabilities=AgentCapabilities(),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="stock", name="stock", description="How much of a product is left", tags=["stock"])],
)
handler = DefaultRequestHandler(Inventory(), InMemoryTaskStore(), card)
routes = create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/")
serve.run(Starlette(routes=routes, middleware=[Middleware(OnlyVerified)]), listener, url)
