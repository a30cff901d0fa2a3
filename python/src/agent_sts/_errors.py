"""The reasons why a request is not served, or a call is not made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Response:
    """An answer of the agent to its own caller."""

    status: int
    headers: list[tuple[str, str]]
    body: str


class StsError(Exception):
    """The base of all errors. `response` is what the agent answers to its own caller."""

    def __init__(self, message: str, *, code: str | None = None, response: Response | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.response = response or _internal()


class NoContext(StsError):
    """A call outside of a request, or after its end. Use `carry` for work that outlives a request, `without_user` for none."""


class Refused(StsError):
    """The caller or its call is refused. `code` is the OAuth error code. The same request fails again."""


class ApprovalRequired(StsError):
    """A person must approve the call first, on the page `interaction_uri`. The same call passes once the approval is granted.

    `approver` is `user` or `operator`, or None if the service names none.
    """

    def __init__(
        self, message: str, *, approval_id: str, interaction_uri: str, approver: str | None = None, response: Response | None = None
    ) -> None:
        super().__init__(message, code="interaction_required", response=response)
        self.approval_id = approval_id
        self.interaction_uri = interaction_uri
        self.approver = approver


class NoRoute(StsError):
    """No route of the agent's file names the target."""


class Misconfigured(StsError):
    """The agent's file, or the use of this package, is wrong."""


class Unavailable(StsError):
    """There is no answer now: the service, or `sts-agent` itself, cannot be reached. A later try may succeed."""

    def __init__(self, message: str, *, retry_after: int | None = None, response: Response | None = None) -> None:
        super().__init__(message, response=response or _unavailable())
        self.retry_after = retry_after


def _internal() -> Response:
    return Response(500, [("content-type", "application/json")], '{"error":"server_error"}')


def _unavailable() -> Response:
    headers = [("content-type", "application/json"), ("retry-after", "5")]
    return Response(503, headers, '{"error":"temporarily_unavailable"}')


def of_answer(status: int, answer: Any) -> StsError:
    """The error that an answer of `sts-agent` other than 2xx stands for."""
    if not isinstance(answer, dict):
        return Unavailable(f"sts-agent answered with status {status} and no JSON")
    message = str(answer.get("message", f"status {status}"))
    code, response = answer.get("code"), None
    if isinstance(given := answer.get("response"), dict):
        response = Response(given["status"], [(name, value) for name, value in given["headers"]], given["body"])
    kind = answer.get("error")
    if kind == "unavailable":
        return Unavailable(message, retry_after=answer.get("retry_after_seconds"), response=response)
    if kind == "approval_required" and isinstance(approval := answer.get("approval"), dict):
        name, page = approval.get("id"), approval.get("interaction_uri")
        if isinstance(name, str) and isinstance(page, str):
            approver = approval.get("approver")
            return ApprovalRequired(message, approval_id=name, interaction_uri=page, approver=approver, response=response)
    kinds: dict[Any, type[StsError]] = {"refused": Refused, "no_route": NoRoute}
    return kinds.get(kind, Misconfigured)(message, code=code, response=response)
