"""The coordinator: asks the inventory on behalf of its caller."""

import agent_sts.httpx
import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

http = httpx.AsyncClient(auth=agent_sts.httpx.OnBehalf())


async def stock(request):
    answer = (await http.get("http://127.0.0.1:9001/stock")).raise_for_status()
    return PlainTextResponse(f"{agent_sts.caller().subject.sub} asked, {answer.text}")


app = agent_sts.Verified(Starlette(routes=[Route("/stock", stock)]))
uvicorn.run(app, port=9000)
