"""The context of a call for agents in Python.

The local process `sts-agent` verifies callers and makes the headers of calls. This package carries the caller from the inbound request to the
outbound call, and asks the process. It holds no key and no secret, and decides nothing.

    app = agent_sts.Verified(app)                                   # inbound: any ASGI application
    http = httpx.AsyncClient(auth=agent_sts.httpx.OnBehalf())       # outbound: also httpx2 and requests
    asyncio.create_task(agent_sts.carry(work()))                    # work that outlives its request

Outside of a request there is no caller, and a call fails with `NoContext`.
"""

from ._asgi import Verified
from ._context import Caller, Context, Principal, authorization_details, caller, carry, current, of_headers, without_user
from ._errors import ApprovalRequired, Misconfigured, NoContext, NoRoute, Refused, Response, StsError, Unavailable
from ._process import Process

__all__ = [
    "ApprovalRequired",
    "Caller",
    "Context",
    "Misconfigured",
    "NoContext",
    "NoRoute",
    "Principal",
    "Process",
    "Refused",
    "Response",
    "StsError",
    "Unavailable",
    "Verified",
    "authorization_details",
    "caller",
    "carry",
    "current",
    "of_headers",
    "without_user",
]
