"""Outbound calls by httpx2: `httpx2.AsyncClient(auth=agent_sts.httpx2.OnBehalf())`, and so for `httpx2.Client`."""

from __future__ import annotations

import httpx2

from ._flow import Flow


class OnBehalf(Flow, httpx2.Auth):
    """Makes every call of a client on behalf of the caller of the request. One client serves all requests."""
