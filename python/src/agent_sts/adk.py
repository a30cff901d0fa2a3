"""Agents with google-adk: `McpToolset(connection_params=…, header_provider=agent_sts.adk.header_provider(url))`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ._context import current


def header_provider(url: str) -> Callable[[Any], dict[str, str]]:
    """The headers of each call to the MCP server at `url`, on behalf of the caller of the request."""

    def headers(_context: Any) -> dict[str, str]:
        return dict(current().headers("POST", url))

    return headers
