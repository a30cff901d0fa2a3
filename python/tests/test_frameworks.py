"""Servers and agents of others: an existing one gains verification and exchange by a few lines."""

import asyncio
import difflib
import importlib.util
from pathlib import Path

import httpx
import pytest
from a2a.client import ClientConfig, create_client
from a2a.helpers import new_text_message
from a2a.types import SendMessageRequest
from fastmcp import Client, FastMCP
from mcp.server import MCPServer

import agent_sts
import agent_sts.httpx
import agent_sts.httpx2
from conftest import Served
from test_real import claims

EXISTING = Path(__file__).parent / "existing"
PAGE = Path(__file__).parents[2] / "docs" / "agents-in-any-language.md"
USERS = ["alice", "bob", "bob", "alice"] * 5


async def supplier(scope, receive, send):
    """Says for whom it was asked, and by which agent."""
    token = claims(dict(scope["headers"])[b"authorization"].decode())
    body = f"{token['sub']} by {token['act']['sub']}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


def existing(name):
    """An agent of the folder, whose supplier is in this process."""
    specification = importlib.util.spec_from_file_location(name, EXISTING / f"{name}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    # The client keeps its `auth`; only the network is ours.
    module.http._transport = httpx.ASGITransport(supplier)
    return module


@pytest.mark.parametrize("name", ["fastmcp", "a2a"])
def test_the_page_shows_the_difference_which_is_of_five_lines_at_most(name):
    before, after = (EXISTING.joinpath(f"{name}_{which}.py").read_text().splitlines() for which in ("before", "after"))
    lines = [line for line in difflib.unified_diff(before, after, lineterm="", n=0) if not line.startswith(("---", "+++", "@@"))]
    assert 0 < sum(line.startswith("+") for line in lines) <= 5
    assert "\n".join(lines) in PAGE.read_text()


async def test_an_existing_fastmcp_server_asks_its_supplier_for_each_user(real):
    async def ask(url, user):
        async with Client(f"{url}mcp", auth=real.tokens[user]) as client:
            return (await client.call_tool("stock", {"product": "tea"})).content[0].text

    with Served(existing("fastmcp_after").app) as served:
        answers = await asyncio.gather(*(ask(served.url, user) for user in USERS))
        assert answers == [f"{user} by coordinator" for user in USERS]
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.post(f"{served.url}mcp", json={})
        assert answer.status_code == 401 and "www-authenticate" in answer.headers


async def test_an_existing_a2a_agent_asks_its_supplier_for_each_user(real):
    agent = existing("a2a_after")

    async def ask(user):
        headers = {"authorization": f"Bearer {real.tokens[user]}"}
        async with httpx.AsyncClient(headers=headers, trust_env=False) as http:
            client = await create_client(agent.card, ClientConfig(httpx_client=http, streaming=False))
            texts = []
            async for event in client.send_message(SendMessageRequest(message=new_text_message("tea"))):
                texts += [part.text for part in event.message.parts]
            return texts

    with Served(agent.app) as served:
        agent.card.supported_interfaces[0].url = served.url
        assert await asyncio.gather(*(ask(user) for user in USERS)) == [[f"{user} by coordinator"] for user in USERS]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(served.url, json={})).status_code == 401
            assert (await client.get(f"{served.url}.well-known/agent-card.json")).status_code == 200


def fastmcp_server(who):
    server = FastMCP("who")
    server.tool(who)
    return server.http_app(path="/mcp")


def mcp_server(who):
    server = MCPServer("who")
    server.tool()(who)
    return server.streamable_http_app()


@pytest.mark.parametrize("server", [fastmcp_server, mcp_server])
async def test_the_users_of_one_shared_mcp_session_never_swap(real, server):
    async def who() -> str:
        """The caller of this very call."""
        before = agent_sts.caller().subject.sub
        await asyncio.sleep(0)
        assert agent_sts.caller().subject.sub == before
        return f"{before} by {agent_sts.caller().actor.sub}"

    with Served(agent_sts.Verified(server(who)), real.target) as served:
        client = Client(f"{served.url}mcp", auth=agent_sts.httpx2.OnBehalf())

        async def connected():
            await client.__aenter__()

        async def call():
            return (await client.call_tool("who", {})).content[0].text

        await real.within("alice", connected)
        answers = await asyncio.gather(*(real.within(user, call) for user in USERS))
        assert answers == [f"{user} by coordinator" for user in USERS]
        await real.within("alice", lambda: client.__aexit__(None, None, None))
