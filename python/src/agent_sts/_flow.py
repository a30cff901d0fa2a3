"""The flow of one outbound call, which httpx and httpx2 share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from ._context import Call, Headers, current


class Flow:
    """Sets the headers of each call on behalf of the caller of the request.

    A target that refuses the token is asked once more with another, if `sts-agent` says so.
    """

    requires_request_body = False
    requires_response_body = False

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """The flow of a client that blocks."""
        context, call = current(), _call(request)
        sent = context.send(call)
        _set(request, sent.headers)
        response = yield request
        if response.status_code == 401 and (again := context.send_again(call, sent, 401, _headers(response))):
            _set(request, again.headers)
            yield request

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """The flow of a client of asyncio."""
        context, call = current(), _call(request)
        sent = await context.send_async(call)
        _set(request, sent.headers)
        response = yield request
        if response.status_code == 401 and (again := await context.send_again_async(call, sent, 401, _headers(response))):
            _set(request, again.headers)
            yield request


def _call(request: Any) -> Call:
    try:
        body: bytes | None = request.content
    except RuntimeError:
        # A stream, which can be sent once.
        body = None
    return Call(request.method, str(request.url), _headers(request), body)


def _headers(message: Any) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in message.headers.raw]


def _set(request: Any, headers: Headers) -> None:
    request.headers = type(request.headers)([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
