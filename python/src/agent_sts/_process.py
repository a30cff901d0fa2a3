"""Questions to the local process: HTTP/1.1 over a unix socket or loopback, from threads and from asyncio."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
from collections import deque
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from ._errors import Misconfigured, Unavailable, of_answer

DEFAULT_PLACE = "/run/agent-sts/agent.sock"
TIMEOUT = 30.0
MAX_HEAD_BYTES = 64 * 1024
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection(http.client.HTTPConnection):
    """A connection to a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("sts-agent", timeout=TIMEOUT)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Process:
    """The local process `sts-agent`.

    `place` is what its `--listen` says: the path of a socket, or a loopback address; without it the variable `STS_AGENT`, or
    `/run/agent-sts/agent.sock`. A loopback address needs the bearer file, or the variable `STS_AGENT_BEARER_FILE`.
    """

    def __init__(self, place: str | None = None, bearer_file: str | os.PathLike[str] | None = None) -> None:
        text = place or os.environ.get("STS_AGENT") or DEFAULT_PLACE
        self._path: str | None = None
        self._address = ("", 0)
        self._bearer_file = bearer_file or os.environ.get("STS_AGENT_BEARER_FILE")
        stripped = text.removeprefix("http://").rstrip("/")
        if text.startswith("unix:") or "/" in stripped:
            self._path = text.removeprefix("unix:")
        else:
            host, separator, port = stripped.rpartition(":")
            if not separator or host not in ("127.0.0.1", "[::1]") or not port.isdigit():
                raise Misconfigured(f"{text!r} is neither the path of a socket nor an address of this machine alone")
            self._address = (host.strip("[]"), int(port))
        self._place = text
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._idle_async: WeakKeyDictionary[asyncio.AbstractEventLoop, deque[Streams]] = WeakKeyDictionary()
        self._pid = os.getpid()

    def ask(self, path: str, question: dict[str, Any]) -> Any:
        """The answer to a question; an error of this package for any other than 2xx. Blocks the thread."""
        body = json.dumps(question).encode()
        self._after_fork()
        while True:
            is_reused = bool(self._idle)
            try:
                connection = self._idle.pop() if is_reused else self._connect()
            except IndexError:
                continue
            try:
                connection.request("POST", path, body, self._headers())
                response = connection.getresponse()
                status, answer = response.status, response.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                # The process closes connections that wait: another one tells if it is there.
                if is_reused and not isinstance(error, TimeoutError):
                    continue
                raise self._unreachable(error) from error
            self._idle.append(connection)
            return _read(status, answer)

    async def ask_async(self, path: str, question: dict[str, Any]) -> Any:
        """As `ask`, without blocking the event loop of asyncio."""
        body = json.dumps(question).encode()
        self._after_fork()
        idle = self._idle_async.setdefault(asyncio.get_running_loop(), deque())
        while True:
            is_reused = bool(idle)
            try:
                streams = idle.pop() if is_reused else await self._open()
            except OSError as error:
                raise self._unreachable(error) from error
            try:
                status, answer = await asyncio.wait_for(_exchange(streams, path, self._headers(), body), TIMEOUT)
            except (OSError, EOFError, ValueError, asyncio.TimeoutError) as error:
                streams[1].close()
                if is_reused and not isinstance(error, (TimeoutError, asyncio.TimeoutError)):
                    continue
                raise self._unreachable(error) from error
            except BaseException:
                # A cancelled question may be answered still: its connection must not serve another.
                streams[1].close()
                raise
            idle.append(streams)
            return _read(status, answer)

    def _connect(self) -> http.client.HTTPConnection:
        if self._path is not None:
            return _Connection(self._path)
        return http.client.HTTPConnection(*self._address, timeout=TIMEOUT)

    async def _open(self) -> Streams:
        if self._path is not None:
            return await asyncio.open_unix_connection(self._path, limit=MAX_HEAD_BYTES)
        return await asyncio.open_connection(*self._address, limit=MAX_HEAD_BYTES)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._path is None:
            if self._bearer_file is None:
                raise Misconfigured("a loopback address needs the bearer file: STS_AGENT_BEARER_FILE")
            try:
                headers["Authorization"] = f"Bearer {Path(self._bearer_file).read_text().strip()}"
            except OSError as error:
                raise Unavailable(f"the bearer file cannot be read: {error}") from error
        return headers

    def _after_fork(self) -> None:
        if self._pid != os.getpid():
            self._idle, self._idle_async, self._pid = deque(), WeakKeyDictionary(), os.getpid()

    def _unreachable(self, error: BaseException) -> Unavailable:
        return Unavailable(f"sts-agent cannot be reached at {self._place}: {error or type(error).__name__}")


def _read(status: int, body: bytes) -> Any:
    try:
        answer = json.loads(body) if body else None
    except ValueError:
        answer = None
    if not 200 <= status < 300:
        raise of_answer(status, answer)
    return answer


async def _exchange(streams: Streams, path: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
    reader, writer = streams
    lines = [f"POST {path} HTTP/1.1", "Host: sts-agent", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ")[1])
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if status == 204:
        return status, b""
    return status, await reader.readexactly(int(fields["content-length"]))
