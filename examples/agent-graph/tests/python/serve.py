"""Serving on a free port, and telling the test about it, a line of JSON at a time."""

import json
import logging
import socket

import uvicorn


def listen() -> tuple[socket.socket, str]:
    """A listener and the URL of its root. From now on nobody is turned away."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener, f"http://127.0.0.1:{listener.getsockname()[1]}/"


def tell(value) -> None:
    print(json.dumps(value), flush=True)


def run(app, listener: socket.socket, url: str) -> None:
    logging.disable()
    tell(url)
    uvicorn.Server(uvicorn.Config(app, log_config=None)).run(sockets=[listener])
