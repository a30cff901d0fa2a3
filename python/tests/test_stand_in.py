"""The stand-in for the tests of agents."""

import httpx
import pytest

import agent_sts
import agent_sts.httpx
from conftest import request

STOCK = "https://inventory.shop.example/stock"


def app(sent):
    async def target(scope, receive, send):
        sent.append(dict(scope["headers"])[b"authorization"].decode())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    http = httpx.AsyncClient(transport=httpx.ASGITransport(target), auth=agent_sts.httpx.OnBehalf())

    async def agent(scope, receive, send):
        await http.get(STOCK)
        body = f"{agent_sts.caller().subject.sub} of {agent_sts.caller().tenant_id}".encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return agent_sts.Verified(agent)


async def test_it_knows_the_callers_that_a_test_makes_up(sts_agent):
    sent = []
    token = sts_agent.token("alice", tenant_id="acme")
    answer = await request(app(sent), token)
    assert (answer.status_code, answer.text) == (200, "alice of acme")
    assert sts_agent.calls == [("GET", STOCK, "alice")] and sent == ["Bearer for-alice"]
    assert (await request(app(sent), "of-nobody")).status_code == 401


async def test_it_refuses_and_is_unavailable_as_a_test_says(sts_agent):
    sent = []
    sts_agent.refuse()
    assert (await request(app(sent), sts_agent.token("alice"))).status_code == 403
    sts_agent.be_unavailable()
    assert (await request(app(sent), sts_agent.token("alice"))).status_code == 424
    assert sent == []


def test_a_place_on_another_machine_is_refused():
    for place in ("192.0.2.1:9009", "example.com:9009", "agent.sock", "127.0.0.1", "localhost:9009"):
        with pytest.raises(agent_sts.Misconfigured):
            agent_sts.Process(place)
