"""The real server and `sts-agent`, which the file that AGENT_STS_WORLD names describes."""

import asyncio
import json
import os
import socket
import threading
from pathlib import Path

import httpx
import pytest
import uvicorn

import agent_sts


class World:
    def __init__(self, described):
        self.tokens = described["tokens"]
        self.target = described["target"]
        self.process = agent_sts.Process(described["socket"])

    async def within(self, user, work):
        """Runs `work` within a verified request of a user, and returns what it returns."""
        outcome = []

        async def app(scope, receive, send):
            outcome.append(await work())
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        answer = await request(agent_sts.Verified(app, process=self.process), self.tokens[user])
        assert answer.status_code == 204, answer.text
        return outcome[0]


async def request(app, token=None, path="/", **named):
    """The answer of an application to a request with that token."""
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="https://agent.example") as client:
        return await client.get(path, headers=headers | named)


class Served:
    """An application on a real port: that of a URL, or a free one."""

    def __init__(self, app, url="http://127.0.0.1:0/"):
        port = int(url.rstrip("/").rpartition(":")[2])
        self._listener = socket.create_server(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self._server.serve([self._listener])), daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()


@pytest.fixture(scope="session")
def world():
    assert "AGENT_STS_WORLD" in os.environ, "run by `cargo test -p sts-tests --test it -- packages`"
    return World(json.loads(Path(os.environ["AGENT_STS_WORLD"]).read_text()))


@pytest.fixture
def real(world, monkeypatch):
    """The real process, as the one that the environment names."""
    monkeypatch.setattr(agent_sts._context, "_DEFAULT", [world.process])
    return world
