"""A tool server with FastMCP, which asks its supplier over HTTP."""

import httpx
from fastmcp import FastMCP

SUPPLIER = "https://inventory.shop.example/stock/"
http = httpx.AsyncClient()
mcp = FastMCP("warehouse")


@mcp.tool
async def stock(product: str) -> str:
    """How much of a product is left."""
    answer = await http.get(SUPPLIER + product)
    return answer.text


app = mcp.http_app(path="/mcp")
