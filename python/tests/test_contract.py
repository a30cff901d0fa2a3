"""The contract of all languages, `sts-agent/contract.json`: what a call carries for each answer of the process, and that none is made else."""

import asyncio
import json
from pathlib import Path

import httpx
import httpx2
import pytest
import requests

import agent_sts
import agent_sts.httpx
import agent_sts.httpx2
import agent_sts.requests
from conftest import request

CONTRACT = json.loads(Path(__file__).parents[2].joinpath("sts-agent", "contract.json").read_text())
URL = "https://inventory.shop.example/stock"
ERRORS = {"refused": agent_sts.Refused, "unavailable": agent_sts.Unavailable}


class Recorded(requests.adapters.BaseAdapter):
    """Sends nothing, and keeps what would be sent."""

    def __init__(self, sent):
        super().__init__()
        self._sent = sent

    def send(self, prepared, **_):
        self._sent.append([[name.lower(), value] for name, value in prepared.headers.items()])
        response = requests.Response()
        response.status_code, response.request, response._content = 200, prepared, b""
        return response

    def close(self):
        pass


def by_httpx(module, auth, headers, sent):
    def target(call):
        sent.append([[name.decode().lower(), value.decode("latin-1")] for name, value in call.headers.raw])
        return module.Response(200)

    with module.Client(transport=module.MockTransport(target), auth=auth.OnBehalf()) as client:
        client.get(URL, headers=headers)


def by_requests(headers, sent):
    session = requests.Session()
    session.mount("https://", Recorded(sent))
    session.get(URL, headers=dict(headers), auth=agent_sts.requests.OnBehalf())


CLIENTS = {
    "httpx": lambda headers, sent: by_httpx(httpx, agent_sts.httpx, headers, sent),
    "httpx2": lambda headers, sent: by_httpx(httpx2, agent_sts.httpx2, headers, sent),
    "requests": by_requests,
}


def test_there_are_the_288_rows_of_the_decision_table():
    assert len({tuple(row[:5]) for row in CONTRACT["decisions"]}) == 288
    assert {row[5] for row in CONTRACT["decisions"]} == CONTRACT["answers"].keys()


@pytest.mark.parametrize("client", CLIENTS)
def test_every_row_of_the_decision_table_is_sent_as_decided_or_not_at_all(sts_agent, client):
    for *row, decision in CONTRACT["decisions"]:
        answer = CONTRACT["answers"][decision]
        sts_agent.answer_with("/v1/headers", answer["status"], answer["body"])
        sent = []
        with agent_sts.without_user():
            if answer["status"] == 200:
                CLIENTS[client]([], sent)
                assert sent == [answer["body"]["headers"]], row
                continue
            with pytest.raises(ERRORS[answer["body"]["error"]]) as raised:
                CLIENTS[client]([], sent)
        expected = answer["body"]["response"]
        assert sent == [], row
        assert raised.value.code == answer["body"].get("code"), row
        assert (raised.value.response.status, raised.value.response.body) == (expected["status"], expected["body"]), row


@pytest.mark.parametrize("client", CLIENTS)
def test_every_header_rule_is_asked_and_obeyed(sts_agent, client):
    for rule in CONTRACT["headers"]:
        asked = []
        sts_agent.answer_with("/v1/headers", 200, {"headers": rule["sent"], "credential": "exchanged"})
        whole = sts_agent.answer
        sts_agent.answer = lambda path, question: asked.append(question) or whole(path, question)
        sent = []
        with agent_sts.without_user():
            CLIENTS[client]([(name, value.encode("latin-1")) for name, value in rule["given"]], sent)
        sts_agent.answer = whole
        names = {name.lower() for name, _ in asked[0]["headers"]}
        assert {name.lower() for name, _ in rule["given"]} <= names, rule
        joined = {}
        for name, value in rule["sent"]:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        got = {}
        for name, value in sent[0]:
            got[name] = f"{got[name]}, {value}" if name in got else value
        assert got == joined, rule


@pytest.mark.parametrize("client", CLIENTS)
def test_a_call_that_a_person_must_approve_is_not_sent(sts_agent, client):
    for row in CONTRACT["approvals"]:
        sts_agent.answer_with("/v1/headers", row["status"], row["body"])
        sent, expected = [], row["body"]["approval"]
        with agent_sts.without_user(), pytest.raises(agent_sts.ApprovalRequired) as raised:
            CLIENTS[client]([], sent)
        error = raised.value
        found = {"id": error.approval_id, "interaction_uri": error.interaction_uri, "approver": error.approver}
        assert (sent, found, error.code) == ([], expected, row["body"]["code"])
        assert (error.response.status, error.response.body) == (412, row["body"]["response"]["body"])
    assert CONTRACT["approvals"]


@pytest.mark.parametrize("client", CLIENTS)
def test_the_calls_of_a_block_request_its_details_and_those_after_it_none(sts_agent, client):
    details = [{"type": "mcp_tool", "actions": ["refund"], "limits": {"amount": 50}}]
    asked = []
    whole = sts_agent.answer
    sts_agent.answer = lambda path, question: asked.append(question) or whole(path, question)
    with agent_sts.without_user():
        with agent_sts.authorization_details(details) as inner:
            CLIENTS[client]([], [])
            kept = agent_sts.carry(lambda: CLIENTS[client]([], []))
            with agent_sts.authorization_details([]):
                CLIENTS[client]([], [])
        CLIENTS[client]([], [])
        with pytest.raises(agent_sts.NoContext):
            inner.headers("GET", URL)
    kept()
    requested = [question.get("authorization_details", "those of the route") for question in asked]
    assert requested == [details, [], "those of the route", details]


class Refusing(Recorded):
    """A target that refuses every token."""

    def send(self, prepared, **arguments):
        response = super().send(prepared, **arguments)
        response.status_code, response.connection = 401, self
        response.headers["www-authenticate"] = 'Bearer error="invalid_token"'
        return response


def refused_by_httpx(module, auth, sent):
    def target(call):
        sent.append(call)
        return module.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})

    with module.Client(transport=module.MockTransport(target), auth=auth.OnBehalf()) as client:
        return client.post(URL, content=b"{}").status_code


async def refused_by_httpx_async(sent):
    async def target(call):
        sent.append(call)
        return httpx.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})

    async with httpx.AsyncClient(transport=httpx.MockTransport(target), auth=agent_sts.httpx.OnBehalf()) as client:
        return (await client.post(URL, content=b"{}")).status_code


def refused_by_requests(sent):
    session = requests.Session()
    session.mount("https://", Refusing(sent))
    return session.post(URL, data=b"{}", auth=agent_sts.requests.OnBehalf()).status_code


REFUSED = {
    "httpx": lambda sent: refused_by_httpx(httpx, agent_sts.httpx, sent),
    "httpx async": lambda sent: asyncio.run(refused_by_httpx_async(sent)),
    "httpx2": lambda sent: refused_by_httpx(httpx2, agent_sts.httpx2, sent),
    "requests": refused_by_requests,
}


@pytest.mark.parametrize("client", REFUSED)
def test_the_process_knows_the_first_attempt_of_a_repetition_and_may_refuse_it(sts_agent, client):
    details = [{"type": "mcp_tool", "actions": ["refund"]}]
    first = {"headers": [["authorization", "Bearer first"], ["idempotency-key", "order-7"]], "credential": "exchanged"}
    refusal = {"error": "refused", "code": "invalid_token", "message": "only a weaker credential is left"}
    outage = {"error": "unavailable", "message": "no token is available now"}
    second = {"headers": [["authorization", "Bearer second"], ["idempotency-key", "order-7"]], "credential": "exchanged"}
    for (status, body), calls in (((403, refusal), 1), ((503, outage), 1), ((200, second), 2)):
        asked, sent = [], []

        def answer(path, question):
            asked.append((path, question))
            if path == "/v1/forget":
                return 200, {"repeat": True}
            return (status, body) if "again" in question else (200, first)

        sts_agent.answer = answer
        with agent_sts.without_user(), agent_sts.authorization_details(details):
            assert REFUSED[client](sent) == 401
        assert len(sent) == calls
        assert [path for path, _ in asked] == ["/v1/headers", "/v1/forget", "/v1/headers"]
        assert asked[1][1]["headers"] == asked[2][1]["again"]["headers"] == first["headers"]
        assert asked[2][1] == {**asked[0][1], "again": first}
        assert all(question["authorization_details"] == details for _, question in asked)


async def test_every_refusal_is_the_answer_and_the_application_is_not_reached(sts_agent):
    reached = []

    async def app(scope, receive, send):
        reached.append(scope)

    for refusal in CONTRACT["refusals"]:
        sts_agent.answer_with("/v1/verify", refusal["status"], refusal["body"])
        answer = await request(agent_sts.Verified(app))
        expected = refusal["body"]["response"]
        assert (answer.status_code, answer.text) == (expected["status"], expected["body"])
        assert all(answer.headers[name] == value for name, value in expected["headers"])
    assert reached == []
