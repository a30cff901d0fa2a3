"""The contract of all languages, `sts-agent/contract.json`: what a call carries for each answer of the process, and that none is made else."""

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
