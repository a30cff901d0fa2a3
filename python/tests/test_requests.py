"""Outbound calls by requests, with the stand-in."""

import requests

import agent_sts
import agent_sts.requests
from conftest import Served

HEADERS = [
    ["authorization", "Bearer exchanged"],
    ["dpop", "a-proof"],
    ["x-tenant-id", "acme"],
    ["idempotency-key", "order-7"],
    ["x-delegation-fallback", "service-account"],
    ["x-forwarded-by-its-route", "secret"],
    ["accept", "text/plain"],
]


def session():
    made = requests.Session()
    made.trust_env = False
    made.auth = agent_sts.requests.OnBehalf()
    return made


def target(seen, answers):
    """Answers each path with a status and headers, and keeps the headers that it is asked with."""

    async def app(scope, receive, send):
        seen.append((scope["path"], {name.decode(): value.decode() for name, value in scope["headers"]}))
        status, headers = answers(scope["path"], len(seen))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    return app


INVALID = (401, [(b"www-authenticate", b'Bearer error="invalid_token"')])


def test_a_redirect_is_followed_without_a_token(sts_agent):
    sts_agent.answer_with("/v1/headers", 200, {"headers": HEADERS, "credential": "exchanged"})
    seen = []
    moves = {"/stock": b"/elsewhere", "/elsewhere": b"/further"}

    def answers(path, _count):
        return (307, [(b"location", moves[path])]) if path in moves else INVALID

    given = {"accept": "text/plain", "cookie": "a=b", "x-tenant-id": "of-the-application", "idempotency-key": "of-the-application"}
    with Served(target(seen, answers)) as served, agent_sts.without_user():
        answer = session().post(f"{served.url}stock", data=b"{}", headers=given)
    assert [path for path, _ in seen] == ["/stock", "/elsewhere", "/further"] and answer.status_code == 401
    assert {name for name, _ in HEADERS} <= seen[0][1].keys()
    for _, headers in seen[1:]:
        assert headers.keys() & {name for name, _ in HEADERS} == {"accept"} and "cookie" not in headers


def test_a_redirect_of_the_second_attempt_is_followed_without_a_token(sts_agent):
    sts_agent.answer_with("/v1/headers", 200, {"headers": HEADERS, "credential": "exchanged"})
    sts_agent.answer_with("/v1/forget", 200, {"repeat": True})
    seen = []

    def answers(path, count):
        if path == "/elsewhere":
            return 204, []
        return INVALID if count == 1 else (302, [(b"location", b"/elsewhere")])

    with Served(target(seen, answers)) as served, agent_sts.without_user():
        assert session().get(f"{served.url}stock").status_code == 204
    assert [path for path, _ in seen] == ["/stock", "/stock", "/elsewhere"]
    assert seen[2][1].keys() & {name for name, _ in HEADERS} == {"accept"}
