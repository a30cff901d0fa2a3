"""Against the real server and `sts-agent`."""

import asyncio
import base64
import contextlib
import contextvars
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import httpx2
import pytest
import requests
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import agent_sts
import agent_sts.adk
import agent_sts.httpx
import agent_sts.httpx2
import agent_sts.requests
from conftest import Served, request

STOCK = "https://inventory.shop.example/stock"


def claims(authorization):
    payload = authorization.removeprefix("Bearer ").split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def target(scope, receive, send):
    """Answers with the token's user and actor, and the headers."""
    headers = [(name.decode(), value.decode()) for name, value in scope["headers"]]
    tokens = [claims(value) for name, value in headers if name == "authorization"]
    body = json.dumps({"users": [token["sub"] for token in tokens], "actor": tokens[0]["act"]["sub"], "headers": headers})
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": body.encode()})


async def whoami(scope, receive, send):
    body = agent_sts.caller().subject.sub.encode()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


@pytest.mark.parametrize(
    ("module", "auth", "calls_in_all"), [(httpx, agent_sts.httpx, 10_000), (httpx2, agent_sts.httpx2, 1_000)]
)
async def test_the_calls_of_two_users_through_one_client_never_swap(real, module, auth, calls_in_all):
    client = module.AsyncClient(transport=module.ASGITransport(target), auth=auth.OnBehalf())
    share = calls_in_all // 200

    async def calls():
        user = agent_sts.caller().subject.sub
        answers = []
        for number in range(share):
            answers.append((await client.get(f"{STOCK}/{number}")).json()["users"])
            await asyncio.sleep(0)
        return user, answers

    work = [real.within(user, calls) for _ in range(100) for user in ("alice", "bob")]
    outcomes = await asyncio.gather(*work)
    assert sum(len(answers) for _, answers in outcomes) == calls_in_all
    assert {user for user, _ in outcomes} == {"alice", "bob"}
    assert all(users == [user] for user, answers in outcomes for users in answers)
    await client.aclose()


async def test_the_exchanged_token_goes_out_alone(real):
    client = httpx.AsyncClient(transport=httpx.ASGITransport(target), auth=agent_sts.httpx.OnBehalf())
    stray = {"Authorization": "Bearer of-another", "X-Tenant-ID": "evil", "Cookie": "session=1", "Accept": "text/plain"}
    answer = (await real.within("alice", lambda: client.get(STOCK, headers=stray))).json()
    headers = dict(answer["headers"])
    assert answer["users"] == ["alice"] and answer["actor"] == "coordinator"
    assert headers["x-tenant-id"] == "acme" and headers["accept"] == "text/plain" and headers["x-correlation-id"]
    assert "cookie" not in headers and len(headers) == len(answer["headers"])


async def test_without_a_request_no_call_is_made(real):
    client = httpx.AsyncClient(transport=httpx.ASGITransport(target), auth=agent_sts.httpx.OnBehalf())
    with pytest.raises(agent_sts.NoContext):
        await client.get(STOCK)
    with pytest.raises(agent_sts.NoContext):
        agent_sts.caller()
    with pytest.raises(agent_sts.NoContext):
        agent_sts.carry(print)


async def test_work_that_outlives_its_request_needs_its_context_in_as_many_words(real):
    client = httpx.AsyncClient(transport=httpx.ASGITransport(target), auth=agent_sts.httpx.OnBehalf())
    ended = asyncio.Event()

    async def later():
        await ended.wait()
        return (await client.get(STOCK)).json()["users"]

    async def handler():
        return asyncio.create_task(later()), asyncio.create_task(agent_sts.carry(later())), agent_sts.carry(later)

    inherited, carried, function = await real.within("alice", handler)
    ended.set()
    with pytest.raises(agent_sts.NoContext, match="has ended"):
        await inherited
    assert await carried == ["alice"]
    assert await function() == ["alice"]
    assert await real.within("bob", function) == ["alice"], "carried work keeps its own caller"


async def test_threads_call_for_the_user_whose_context_they_are_given(real):
    session = requests.Session()
    session.trust_env = False
    session.auth = agent_sts.requests.OnBehalf()

    def call():
        return session.get(real.target).json()["users"]

    def call_httpx():
        with httpx.Client(auth=agent_sts.httpx.OnBehalf(), trust_env=False) as client:
            return client.get(real.target).json()["users"]

    async def carried():
        return [agent_sts.carry(call) for _ in range(20)] + [agent_sts.carry(call_httpx)]

    with Served(target, real.target), ThreadPoolExecutor(8) as pool:
        work = [(user, function) for user in ("alice", "bob") for function in await real.within(user, carried)]
        outcomes = [(user, pool.submit(function)) for user, function in work[::2] + work[1::2]]
        assert all(outcome.result() == [user] for user, outcome in outcomes)
        with pytest.raises(agent_sts.NoContext):
            pool.submit(call).result()


async def test_a_caller_that_is_refused_does_not_reach_the_application(real):
    app = agent_sts.Verified(whoami)
    answer = await request(app, real.tokens["alice"])
    assert (answer.status_code, answer.text) == (200, "alice") and answer.headers["x-correlation-id"]
    for token, status in ((None, 401), ("not.a.token", 401), (real.tokens["expired"], 401), (real.tokens["elsewhere"], 401)):
        answer = await request(app, token)
        assert answer.status_code == status and "www-authenticate" in answer.headers, answer.text
    assert (await request(app, real.tokens["alice"], **{"x-tenant-id": "evil"})).status_code == 403


async def test_a_call_that_is_refused_is_the_answer_of_the_agent(real):
    client = httpx.AsyncClient(transport=httpx.ASGITransport(target), auth=agent_sts.httpx.OnBehalf())

    async def app(scope, receive, send):
        await client.get("https://payroll.shop.example/")

    async def endpoint(request):
        return await app(None, None, None)

    # Starlette answers 500 for an error that it raises again.
    for agent in (app, Starlette(routes=[Route("/", endpoint)])):
        answer = await request(agent_sts.Verified(agent), real.tokens["alice"])
        assert answer.status_code == 500 and answer.json()["code"] == "MISCONFIGURED"

    async def wrong():
        with pytest.raises(agent_sts.NoRoute):
            await client.get("https://payroll.shop.example/")

    await real.within("alice", wrong)
    with agent_sts.without_user("acme"), pytest.raises(agent_sts.Refused) as refused:
        await client.get(STOCK)
    assert refused.value.code == "login_required" and refused.value.response.status == 403


async def test_an_answer_of_the_application_stays_as_it_is(real):
    async def endpoint(request):
        if request.url.query == "raise":
            raise ValueError
        return PlainTextResponse("of the application", 500)

    app = agent_sts.Verified(Starlette(routes=[Route("/", endpoint)]))
    answer = await request(app, real.tokens["alice"])
    assert (answer.status_code, answer.text) == (500, "of the application") and answer.headers["x-correlation-id"]
    with pytest.raises(ValueError):
        await request(app, real.tokens["alice"], path="/?raise")


async def test_a_target_that_refuses_the_token_gets_another_once(real):
    tokens = []

    async def refusing(scope, receive, send):
        tokens.append(dict(scope["headers"])[b"authorization"])
        headers = [(b"www-authenticate", b'Bearer error="invalid_token"')]
        await send({"type": "http.response.start", "status": 401, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    client = httpx.AsyncClient(transport=httpx.ASGITransport(refusing), auth=agent_sts.httpx.OnBehalf())
    answer = await real.within("alice", lambda: client.post(STOCK, content=b"{}"))
    assert answer.status_code == 401 and len(tokens) == 2 and tokens[0] != tokens[1]


async def test_calls_have_the_keys_of_their_bodies_in_any_order_also_by_headers_alone(real):
    client = httpx.AsyncClient(transport=httpx.ASGITransport(target), auth=agent_sts.httpx.OnBehalf())

    async def keys_of(bodies, context_of):
        """The key of each body, in a request that repeats the same operation."""
        keys = {}

        async def app(scope, receive, send):
            with context_of(scope):
                for body in bodies:
                    answer = await client.post(STOCK, content=body)
                    keys[body] = dict(answer.json()["headers"])["idempotency-key"]
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        await request(agent_sts.Verified(app), real.tokens["alice"], **{"Idempotency-Key": "order-7"})
        return keys

    def by_headers(scope):
        return agent_sts.of_headers([(name.decode(), value.decode()) for name, value in scope["headers"]])

    for context_of in (by_headers, lambda _scope: contextlib.nullcontext()):
        keys = await keys_of([b"pens", b"ink"], context_of)
        assert keys[b"pens"] != keys[b"ink"]
        assert await keys_of([b"ink", b"pens"], context_of) == keys


async def test_the_process_gone_lets_nothing_out(real, tmp_path):
    sent = []

    async def app(scope, receive, send):
        sent.append(scope)

    gone = agent_sts.Process(str(tmp_path / "agent.sock"))
    assert (await request(agent_sts.Verified(app, process=gone), real.tokens["alice"])).status_code == 503
    client = httpx.AsyncClient(transport=httpx.ASGITransport(app), auth=agent_sts.httpx.OnBehalf())
    with agent_sts.without_user(process=gone), pytest.raises(agent_sts.Unavailable):
        await client.get(STOCK)
    assert sent == []


async def test_the_header_provider_of_adk_is_of_the_caller(real):
    provider = agent_sts.adk.header_provider(STOCK)

    async def provided():
        return claims(provider(None)["authorization"])["sub"]

    assert await real.within("bob", provided) == "bob"
    with pytest.raises(agent_sts.NoContext):
        provider(None)


async def test_a_public_path_needs_no_caller_and_no_other_does(real):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    verified = agent_sts.Verified(app)
    assert (await request(verified, path="/.well-known/agent-card.json")).status_code == 204
    dots = ("/.well-known/..", "/.well-known/.", "/.well-known/../stock", "/.well-known/..\\stock", "/.well-known/%2e%2e")
    for path in ("/", "/.well-known", "/.well-known//stock", "/x/.well-known/y", *dots):
        scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
        statuses = []

        async def send(message):
            statuses.append(message.get("status"))

        await verified(scope, None, send)
        assert statuses[0] == 401, path


def test_a_thread_inherits_no_context(real):
    seen = []

    def look():
        try:
            seen.append(agent_sts.current())
        except agent_sts.NoContext:
            seen.append(None)

    async def handler():
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        return contextvars.copy_context()

    kept = asyncio.run(real.within("alice", handler))
    kept.run(look)
    assert seen == [None, None]
