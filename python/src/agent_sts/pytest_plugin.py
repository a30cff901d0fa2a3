"""A stand-in for `sts-agent` in the tests of an agent: the fixture `sts_agent`. No server, no key, no network.

    def test_stock(sts_agent, client):
        answer = client.get("/stock", headers={"Authorization": f"Bearer {sts_agent.token('alice', tenant_id='acme')}"})
        assert sts_agent.calls == [("GET", "https://inventory.shop.example/stock", "alice")]
"""

from __future__ import annotations

import json
import secrets
import socketserver
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from . import _context
from ._process import Process

Answer = tuple[int, Any]
_CREDENTIALS = ("authorization", "cookie", "dpop", "x-tenant-id", "x-correlation-id", "x-delegation-fallback")


class StandIn:
    """Answers as `sts-agent` does, for the callers that a test makes up."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.calls: list[tuple[str, str, str | None]] = []
        self._callers: dict[str, dict[str, Any]] = {}
        self._fixed: dict[str, Answer] = {}

    def token(
        self,
        sub: str,
        *,
        tenant_id: str | None = None,
        scope: Iterable[str] = (),
        roles: Iterable[str] = (),
        actor: str | None = None,
        kind: str = "user",
    ) -> str:
        """A bearer token of that caller."""
        token = secrets.token_urlsafe(16)
        caller: dict[str, Any] = {
            "kind": kind,
            "subject": {"iss": "https://login.example", "sub": sub},
            "issuer": "https://sts.example",
            "prior_actors": [],
            "scope": sorted(scope),
            "roles": sorted(roles),
            "possession": "bearer",
            "expires_at": int(time.time()) + 300,
        }
        if tenant_id is not None:
            caller["tenant_id"] = tenant_id
        if actor is not None:
            caller["actor"] = {"iss": "https://sts.example", "sub": actor}
        self._callers[token] = caller
        return token

    def refuse(self, code: str = "invalid_target") -> None:
        """Refuses all calls from now on."""
        response = {"status": 403, "headers": [["content-type", "application/json"]], "body": '{"type":"forbidden"}'}
        self.answer_with("/v1/headers", 403, {"error": "refused", "code": code, "message": f"refused: {code}", "response": response})

    def be_unavailable(self) -> None:
        """Has no token for any call from now on."""
        response = {"status": 424, "headers": [["content-type", "application/json"]], "body": '{"type":"failed_dependency"}'}
        body = {"error": "unavailable", "message": "no token is available now", "response": response}
        self.answer_with("/v1/headers", 503, body)

    def answer_with(self, path: str, status: int, body: Any) -> None:
        """Answers a question with this from now on."""
        self._fixed[path] = (status, body)

    def answer(self, path: str, question: dict[str, Any]) -> Answer:
        """The answer to a question."""
        if path in self._fixed:
            return self._fixed[path]
        if path == "/v1/verify":
            return self._verify(question["headers"])
        if path == "/v1/forget":
            return 200, {"repeat": False}
        caller = self._caller(question["inbound"]) if "inbound" in question else None
        if "inbound" in question and caller is None:
            return _refusal()
        sub = caller["subject"]["sub"] if caller else None
        self.calls.append((question["method"], question["url"], sub))
        headers = [pair for pair in question["headers"] if pair[0].lower() not in _CREDENTIALS]
        headers.append(["authorization", f"Bearer for-{sub}"])
        return 200, {"headers": headers, "credential": "exchanged"}

    def _verify(self, headers: list[list[str]]) -> Answer:
        caller = self._caller(headers)
        if caller is None:
            return _refusal()
        correlation_id = next((value for name, value in headers if name.lower() == "x-correlation-id"), secrets.token_hex(8))
        inbound = [pair for pair in headers if pair[0].lower() != "x-correlation-id"]
        inbound.append(["x-correlation-id", correlation_id])
        return 200, {"caller": {**caller, "correlation_id": correlation_id}, "inbound": inbound}

    def _caller(self, headers: list[list[str]]) -> dict[str, Any] | None:
        tokens = [value for name, value in headers if name.lower() == "authorization"]
        return self._callers.get(tokens[0].removeprefix("Bearer ")) if len(tokens) == 1 else None


def _refusal() -> Answer:
    headers = [["content-type", "application/json"], ["www-authenticate", "Bearer"]]
    response = {"status": 401, "headers": headers, "body": '{"error_description":"a bearer token is required"}'}
    return 403, {"error": "refused", "message": "the caller is refused", "response": response}


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, stand_in: StandIn) -> None:
        self.stand_in = stand_in
        super().__init__(stand_in.path, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        question = json.loads(self.rfile.read(int(self.headers["content-length"])))
        status, body = self.server.stand_in.answer(self.path, question)
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def address_string(self) -> str:
        return "a unix socket"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Writes no log."""


@pytest.fixture
def sts_agent(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A stand-in for `sts-agent`, which all of this package asks for the time of a test."""
    # A socket's path has at most 108 bytes, which the folder of a test may exceed.
    with tempfile.TemporaryDirectory(prefix="sts") as folder:
        stand_in = StandIn(str(Path(folder) / "agent.sock"))
        with _Server(stand_in) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
            thread.start()
            monkeypatch.setattr(_context, "_DEFAULT", [Process(stand_in.path)])
            yield stand_in
            server.shutdown()
            thread.join()
