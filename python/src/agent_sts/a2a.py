"""Agents with the A2A SDK.

Around the application: `Verified(app)`. Around the executor: `OnBehalf(executor)`, because the SDK runs executors in tasks of their own. For
calls to other agents, give the client factory an `httpx.AsyncClient(auth=agent_sts.httpx.OnBehalf())`.
"""

from __future__ import annotations

from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue

from ._context import of_headers
from ._errors import NoContext
from ._process import Process


class OnBehalf(AgentExecutor):
    """Runs an executor within the context of the request whose message it executes."""

    def __init__(self, executor: AgentExecutor, *, process: Process | None = None) -> None:
        self._executor = executor
        self._process = process

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Executes the message."""
        with of_headers(_headers(context), process=self._process):
            await self._executor.execute(context, event_queue)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """Cancels the task."""
        with of_headers(_headers(context), process=self._process):
            await self._executor.cancel(context, event_queue)


def _headers(context: RequestContext) -> dict[str, str]:
    state = context.call_context.state if context.call_context else {}
    headers: dict[str, str] | None = state.get("headers")
    if not headers:
        raise NoContext("the A2A request has no headers: put agent_sts.Verified around the application")
    return dict(headers)
