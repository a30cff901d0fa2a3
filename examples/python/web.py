"""Serves one handler at /stock, and turns what may go wrong into answers."""

import socket
import sys

import httpx
import jwt
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import sts


def unauthorized(_: Request, error: Exception) -> JSONResponse:
    print(f"401: {error}", file=sys.stderr)
    return JSONResponse({"error": "invalid_token"}, 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'})


def forbidden(_: Request, error: Exception) -> JSONResponse:
    print(f"403: {error}", file=sys.stderr)
    return JSONResponse({"error": "forbidden"}, 403)


def unavailable(_: Request, error: Exception) -> JSONResponse:
    print(f"503: {error}", file=sys.stderr)
    return JSONResponse({"error": "unavailable"}, 503)


def unreachable(_: Request, error: Exception) -> JSONResponse:
    print(f"424: {error}", file=sys.stderr)
    return JSONResponse({"error": "failed_dependency"}, 424)


# Without the keys of the service a token can be neither accepted nor refused: that is an outage.
ANSWERS = {
    jwt.PyJWTError: unauthorized,
    jwt.PyJWKClientConnectionError: unavailable,
    sts.Forbidden: forbidden,
    httpx.HTTPError: unreachable,
}


def serve(handler, port: int) -> None:
    app = Starlette(routes=[Route("/stock", handler)], exception_handlers=ANSWERS)
    listener = socket.create_server(("127.0.0.1", port))
    print(f"listening on 127.0.0.1:{port}", flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
