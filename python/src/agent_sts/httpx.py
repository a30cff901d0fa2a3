"""Outbound calls by httpx: `httpx.AsyncClient(auth=agent_sts.httpx.OnBehalf())`, and so for `httpx.Client`."""

from __future__ import annotations

import httpx

from ._flow import Flow


class OnBehalf(Flow, httpx.Auth):
    """Makes every call of a client on behalf of the caller of the request. One client serves all requests."""
