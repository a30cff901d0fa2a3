"""The flow of one outbound call, which httpx and httpx2 share."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from ._context import Context, Headers, current


class Flow:
    """Sets the headers of each call on behalf of the caller of the request.

    A target that refuses the token is asked once more with another, if `sts-agent` says so.
    """

    requires_request_body = False
    requires_response_body = False

    def sync_auth_flow(self, request: Any) -> Generator[Any, Any, None]:
        """The flow of a client that blocks."""
        context, asked, body = _begin(request)
        _set(request, context.headers(*asked, body))
        response = yield request
        if response.status_code == 401 and context.refused(asked[1], _sent(request), 401, _got(response)) and body is not None:
            _set(request, context.headers(*asked, body))
            yield request

    async def async_auth_flow(self, request: Any) -> AsyncGenerator[Any, Any]:
        """The flow of a client of asyncio."""
        context, asked, body = _begin(request)
        _set(request, await context.headers_async(*asked, body))
        response = yield request
        if response.status_code != 401:
            return
        if await context.refused_async(asked[1], _sent(request), 401, _got(response)) and body is not None:
            _set(request, await context.headers_async(*asked, body))
            yield request


def _begin(request: Any) -> tuple[Context, tuple[str, str, Headers], bytes | None]:
    asked = (request.method, str(request.url), _sent(request))
    try:
        body: bytes | None = request.content
    except RuntimeError:
        # A stream, which can be sent once.
        body = None
    return current(), asked, body


def _sent(request: Any) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]


def _got(response: Any) -> Headers:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.headers.raw]


def _set(request: Any, headers: Headers) -> None:
    request.headers = type(request.headers)([(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers])
