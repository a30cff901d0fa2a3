"""The context of a call: the verified caller on whose behalf it is made.

A context belongs to its request. Tasks and threads that a request starts inherit nothing that they could use after its end: work that
outlives the request is given its context by `carry`, in as many words.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import inspect
import logging
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar, overload

from ._errors import NoContext, StsError
from ._process import Process

_LOG = logging.getLogger("agent_sts")
_NO_OTHER = "no other token for a call whose target refused its token: %s"

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
Headers = list[tuple[str, str]]


@dataclass(frozen=True)
class Principal:
    """A user or an agent, under the issuer that names it."""

    sub: str
    iss: str | None = None


@dataclass(frozen=True)
class Caller:
    """The verified caller of a request."""

    kind: str
    subject: Principal
    issuer: str
    actor: Principal | None
    prior_actors: tuple[Principal, ...]
    tenant_id: str | None
    scope: frozenset[str]
    roles: frozenset[str]
    possession: str
    txn: str | None
    jti: str | None
    acr: str | None
    expires_at: int
    correlation_id: str
    idempotency_key: str | None

    @property
    def is_user(self) -> bool:
        """True for a user; false for an agent on its own behalf."""
        return self.kind == "user"


def _principal(answer: Mapping[str, str] | None) -> Principal | None:
    return None if answer is None else Principal(answer["sub"], answer.get("iss"))


def caller_of(answer: Mapping[str, Any]) -> Caller:
    """The caller that an answer of `sts-agent` describes."""
    subject = answer["subject"]
    return Caller(
        kind=answer["kind"],
        subject=Principal(subject["sub"], subject["iss"]),
        issuer=answer["issuer"],
        actor=_principal(answer.get("actor")),
        prior_actors=tuple(Principal(prior["sub"], prior.get("iss")) for prior in answer["prior_actors"]),
        tenant_id=answer.get("tenant_id"),
        scope=frozenset(answer["scope"]),
        roles=frozenset(answer["roles"]),
        possession=answer["possession"],
        txn=answer.get("txn"),
        jti=answer.get("jti"),
        acr=answer.get("acr"),
        expires_at=answer["expires_at"],
        correlation_id=answer["correlation_id"],
        idempotency_key=answer.get("idempotency_key"),
    )


@dataclass(frozen=True)
class Call:
    """A call before it has the headers of `sts-agent`. The body is None for a stream, which can be sent once."""

    method: str
    url: str
    headers: Headers = field(repr=False)
    body: bytes | None = field(repr=False)


@dataclass(frozen=True)
class Sent:
    """The headers of a call, and the kind of its credential."""

    headers: Headers = field(repr=False)
    credential: str


class Context:
    """The context of the calls of one request."""

    __slots__ = ("_caller", "_is_open", "_of_call", "_outer", "process")

    def __init__(
        self, process: Process, of_call: dict[str, Any], caller: Caller | None, outer: Context | None = None
    ) -> None:
        self.process = process
        self._of_call = of_call
        self._caller = caller
        self._outer = outer
        self._is_open = True

    @property
    def caller(self) -> Caller | None:
        """The verified caller; None for work without a user, and for headers that are not verified yet."""
        return self._caller

    def headers(self, method: str, url: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None) -> Headers:
        """All headers of a call, which replace those that it has. Blocks the thread for the question."""
        return self.send(Call(method, url, list(headers), body)).headers

    async def headers_async(
        self, method: str, url: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> Headers:
        """As `headers`, in asyncio."""
        return (await self.send_async(Call(method, url, list(headers), body))).headers

    def send(self, call: Call) -> Sent:
        """The headers and the credential to send for a call."""
        return _sent(self.process.ask("/v1/headers", self._question(call)))

    async def send_async(self, call: Call) -> Sent:
        """As `send`, in asyncio."""
        return _sent(await self.process.ask_async("/v1/headers", self._question(call)))

    def send_again(self, call: Call, first: Sent, status: int, answer: Headers) -> Sent | None:
        """The headers for one repetition of a call that its target refused; None if that answer is the outcome."""
        refusal = self._refusal(call, first, status, answer)
        try:
            if not self.process.ask("/v1/forget", refusal)["repeat"] or call.body is None:
                return None
            return _sent(self.process.ask("/v1/headers", self._question(call, first)))
        except StsError as error:
            _LOG.warning(_NO_OTHER, error)
            return None

    async def send_again_async(self, call: Call, first: Sent, status: int, answer: Headers) -> Sent | None:
        """As `send_again`, in asyncio."""
        refusal = self._refusal(call, first, status, answer)
        try:
            if not (await self.process.ask_async("/v1/forget", refusal))["repeat"] or call.body is None:
                return None
            return _sent(await self.process.ask_async("/v1/headers", self._question(call, first)))
        except StsError as error:
            _LOG.warning(_NO_OTHER, error)
            return None

    def _question(self, call: Call, first: Sent | None = None) -> dict[str, Any]:
        self.check()
        question = {"method": call.method, "url": call.url, "headers": call.headers, **self._of_call}
        if first is not None:
            question["again"] = {"headers": first.headers, "credential": first.credential}
        # The digest is for the idempotency key of the call alone. Headers that are not verified yet may have one too.
        elif call.body is not None and any(name.lower() == "idempotency-key" for name, _ in self._of_call.get("inbound", ())):
            question["body_sha256"] = hashlib.sha256(call.body).hexdigest()
        return question

    def _refusal(self, call: Call, first: Sent, status: int, answer: Headers) -> dict[str, Any]:
        self.check()
        return {"url": call.url, "headers": first.headers, "answer": {"status": status, "headers": answer}, **self._of_call}

    def check(self) -> None:
        """Fails if the request has ended."""
        if not self._is_open:
            raise NoContext("the request of this context has ended: give work that outlives it its context by carry()")
        if self._outer is not None:
            self._outer.check()

    def requesting(self, details: Sequence[Mapping[str, Any]]) -> Context:
        """The same context, whose calls request these authorization details. It ends with this one."""
        self.check()
        return Context(self.process, {**self._of_call, "authorization_details": list(details)}, self._caller, self)

    def carried(self) -> Context:
        """The same context, for work that outlives the request. The caller's token bounds its life."""
        self.check()
        return Context(self.process, self._of_call, self._caller)

    def close(self) -> None:
        """Ends the context: calls that still have it fail."""
        self._is_open = False


_CURRENT: ContextVar[Context | None] = ContextVar("agent_sts_context", default=None)


def current() -> Context:
    """The context of this code. Raises `NoContext` outside of a request, and after its end."""
    context = _CURRENT.get()
    if context is None:
        raise NoContext("no request: calls are made within one, by carry() after it, or by without_user()")
    context.check()
    return context


def caller() -> Caller:
    """The verified caller of the request. Raises `NoContext` where there is none."""
    found = current().caller
    if found is None:
        raise NoContext("this context has no verified caller")
    return found


@contextlib.contextmanager
def entered(context: Context) -> Iterator[Context]:
    """Makes the context the current one, and ends it."""
    token = _CURRENT.set(context)
    try:
        yield context
    finally:
        context.close()
        _CURRENT.reset(token)


def without_user(
    tenant_id: str | None = None, *, process: Process | None = None
) -> contextlib.AbstractContextManager[Context]:
    """A context for work that no user asked for, such as a scheduled run: `with agent_sts.without_user("acme"):`."""
    of_call: dict[str, Any] = {"without_user": {} if tenant_id is None else {"tenant_id": tenant_id}}
    return entered(Context(process or default_process(), of_call, None))


def authorization_details(details: Sequence[Mapping[str, Any]]) -> contextlib.AbstractContextManager[Context]:
    """Requests exactly these authorization details (RFC 9396) for the calls of a block, in place of those of their route.

        with agent_sts.authorization_details([{"type": "mcp_tool", "actions": ["refund"], "limits": {"amount": 50}}]):
            await http.post("https://shop.example/refunds", json=refund)

    Each set of details has a token of its own. An empty list requests none.
    """
    return entered(current().requesting(details))


def of_headers(
    headers: Mapping[str, str] | Iterable[tuple[str, str]], *, process: Process | None = None
) -> contextlib.AbstractContextManager[Context]:
    """A context of the headers of a verified request, for frameworks that hand on nothing else. Each call verifies them, if need be."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return entered(Context(process or default_process(), {"inbound": [list(pair) for pair in pairs]}, None))


@overload
def carry(work: Coroutine[Any, Any, T]) -> Coroutine[Any, Any, T]: ...
@overload
def carry(work: F) -> F: ...
def carry(work: Any) -> Any:
    """Gives work the present context, to keep after the request: a coroutine, or a function for a task or a thread."""
    context = current().carried()
    if inspect.iscoroutine(work):
        return _awaited(context, work)
    if inspect.iscoroutinefunction(work):

        @functools.wraps(work)
        async def run_async(*arguments: Any, **named: Any) -> Any:
            with entered(context.carried()):
                return await work(*arguments, **named)

        return run_async

    @functools.wraps(work)
    def run(*arguments: Any, **named: Any) -> Any:
        with entered(context.carried()):
            return work(*arguments, **named)

    return run


async def _awaited(context: Context, work: Coroutine[Any, Any, T]) -> T:
    with entered(context):
        return await work


_DEFAULT: list[Process] = []


def default_process() -> Process:
    """The process that the environment names."""
    if not _DEFAULT:
        _DEFAULT.append(Process())
    return _DEFAULT[0]


def _sent(answer: Mapping[str, Any]) -> Sent:
    return Sent([(name, value) for name, value in answer["headers"]], answer["credential"])
