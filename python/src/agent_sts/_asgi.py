"""The inbound side of any ASGI application: Starlette, FastAPI, FastMCP, the MCP and A2A SDKs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ._context import Context, caller_of, default_process, entered
from ._errors import Response, StsError
from ._process import Process

_LOG = logging.getLogger("agent_sts")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Verified:
    """Serves verified requests alone, each within its context.

    Paths below `public` are served without a caller, to GET and HEAD: by default what is below `/.well-known/`, such as the card of an A2A
    agent. The headers of a served request have an `X-Correlation-ID`, and so has its answer.
    """

    def __init__(self, app: App, *, process: Process | None = None, public: Iterable[str] = ("/.well-known/",)) -> None:
        self._app = app
        self._process = process
        self._public = tuple(public)

    def __getattr__(self, name: str) -> Any:
        # What frameworks look for on an application, such as `state` and `router`. A copy has no application yet.
        if name == "_app":
            raise AttributeError(name)
        return getattr(self._app, name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan" or (kind == "http" and self._is_public(scope)):
            return await self._app(scope, receive, send)
        if kind not in ("http", "websocket"):
            raise RuntimeError(f"agent_sts verifies no requests of the kind {kind!r}")
        process = self._process or default_process()
        try:
            answer = await process.ask_async("/v1/verify", _question(scope))
        except StsError as error:
            return await _refuse(kind, error.response, send)
        caller, inbound = caller_of(answer["caller"]), answer["inbound"]
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in inbound]
        answering = _Answering(send, caller.correlation_id)
        with entered(Context(process, {"inbound": inbound}, caller)):
            try:
                await self._app({**scope, "headers": headers}, receive, answering)
            except StsError as error:
                # A call that was not made, and that the application does not answer for.
                if kind != "http" or answering.has_begun:
                    raise
                _LOG.warning("a call was not made: %s (correlation id %s)", error, caller.correlation_id)
                answering.drop()
                await _refuse(kind, error.response, answering)
            finally:
                await answering.flush()

    def _is_public(self, scope: Scope) -> bool:
        path = scope["path"]
        *folders, last = path.split("/")[1:] or [""]
        is_plain = "" not in folders and not {".", ".."} & {*folders, last} and not {"%", "\\"} & {*path}
        return scope["method"] in ("GET", "HEAD") and is_plain and path.startswith(self._public)


def _question(scope: Scope) -> dict[str, Any]:
    raw = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    query = scope.get("query_string", b"").decode("latin-1")
    question: dict[str, Any] = {
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in scope["headers"]],
        "method": scope.get("method", "GET"),
        "path": f"{path}?{query}" if query else path,
    }
    if client := scope.get("client"):
        question["peer"] = client[0]
    return question


class _Answering:
    """Sends an answer, with the correlation id.

    Holds an answer of the status 500 back until the application has ended: frameworks send one for an error that they raise again, and that
    error may have an answer of its own.
    """

    def __init__(self, send: Send, correlation_id: str) -> None:
        self._send = send
        self._header = (b"x-correlation-id", correlation_id.encode("latin-1"))
        self._held: list[Message] = []
        self.has_begun = False

    async def __call__(self, message: Message) -> None:
        if message["type"] in ("http.response.start", "websocket.accept"):
            headers = list(message.get("headers", ()))
            if not any(name.lower() == self._header[0] for name, _ in headers):
                headers.append(self._header)
            message = {**message, "headers": headers}
        if self._held or message.get("status") == 500:
            self._held.append(message)
            return
        self.has_begun = True
        await self._send(message)

    def drop(self) -> None:
        """Drops what is held back."""
        self._held = []

    async def flush(self) -> None:
        """Sends what is held back."""
        held, self._held = self._held, []
        for message in held:
            self.has_begun = True
            await self._send(message)


async def _refuse(kind: str, response: Response, send: Send) -> None:
    if kind == "websocket":
        # The server answers a handshake that is closed before it was accepted with 403.
        return await send({"type": "websocket.close", "code": 1008})
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    body = response.body.encode()
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
