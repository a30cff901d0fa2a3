"""The inventory: says who acts for whom."""

import agent_sts
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route


async def stock(request):
    caller = agent_sts.caller()
    return PlainTextResponse(f"{caller.actor.sub} acts for {caller.subject.sub} of {caller.tenant_id}: 7 bolts")


app = agent_sts.Verified(Starlette(routes=[Route("/stock", stock)]))
uvicorn.run(app, port=9001)
