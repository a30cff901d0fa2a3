"""Outbound calls by requests: `session.auth = agent_sts.requests.OnBehalf()`."""

from __future__ import annotations

from typing import Any

import requests
from requests.auth import AuthBase

from ._context import Call, Headers, current


# Headers of one call, which must not go to the place that it is redirected to.
_OF_ONE_CALL = frozenset(
    ("authorization", "cookie", "dpop", "idempotency-key", "proxy-authorization", "x-delegation-fallback", "x-tenant-id")
)


class OnBehalf(AuthBase):
    """Makes every call of a session on behalf of the caller of the request. One session serves all requests.

    A redirect is followed without a token: the place that a target names is no target of the agent.
    """

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # requests types neither `copy` nor `register_hook`.
        untyped: Any = request
        context = current()
        method, url = request.method or "GET", request.url or ""
        before = _pairs(request.headers)
        body = request.body.encode() if isinstance(request.body, str) else request.body
        body = b"" if body is None else body
        call = Call(method, url, before, body if isinstance(body, bytes) else None)
        sent = context.send(call)
        _set(request, sent.headers)

        def answered(response: requests.Response, **arguments: Any) -> requests.Response:
            # The answer to a redirected request, which has no token.
            if response.request is not request:
                return response
            response = again(response, **arguments)
            if response.is_redirect:
                # The session copies these headers for the place that it is redirected to.
                _set(request, [(name, value) for name, value in before if name.lower() not in _OF_ONE_CALL])
            return response

        def again(response: requests.Response, **arguments: Any) -> requests.Response:
            if response.status_code != 401:
                return response
            second = context.send_again(call, sent, 401, _pairs(response.headers))
            if second is None:
                return response
            _ = response.content
            response.close()
            repeated: requests.PreparedRequest = untyped.copy()
            repeated.hooks = {"response": []}
            _set(repeated, second.headers)
            connection: Any = getattr(response, "connection")
            answer: requests.Response = connection.send(repeated, **arguments)
            answer.history.append(response)
            answer.request = repeated
            return answer

        untyped.register_hook("response", answered)
        return request


def _pairs(headers: Any) -> Headers:
    return [(_text(name), _text(value)) for name, value in headers.items()]


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _set(request: requests.PreparedRequest, headers: Headers) -> None:
    request.headers.clear()
    for name, value in headers:
        request.headers[name] = f"{request.headers[name]}, {value}" if name in request.headers else value
