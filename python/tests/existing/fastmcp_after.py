"""A tool server with FastMCP, which asks its supplier over HTTP."""

import agent_sts.httpx
import httpx
from fastmcp import FastMCP

SUPPLIER = "https://inventory.shop.example/stock/"
http = httpx.AsyncClient(auth=agent_sts.httpx.OnBehalf())
mcp = FastMCP("warehouse")


@mcp.tool
async def stock(product: str) -> str:
    """How much of a product is left."""
    answer = await http.get(SUPPLIER + product)
    return answer.text


app = agent_sts.Verified(mcp.http_app(path="/mcp"))
