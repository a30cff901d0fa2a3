"""The warehouse, with fastmcp and its own verifier.

usage: warehouse.py STS. Prints where it is, then the claims of each caller that it verified.
"""

import sys

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier
from fastmcp.server.dependencies import get_access_token, get_http_headers

import serve

STS = sys.argv[1]
verifier = JWTVerifier(
    jwks_uri=f"{STS}/oauth2/jwks", issuer=STS, audience="warehouse", algorithm="ES256", required_scopes=["bin:read"]
)
warehouse = FastMCP("warehouse", auth=verifier)


@warehouse.tool
def stock(product: str) -> str:
    """How much of a product is left."""
    claims = get_access_token().claims
    serve.tell(claims | {"mcp_session": get_http_headers(include_all=True).get("mcp-session-id")})
    packets = {"acme": 42}.get(claims.get("tenant_id"), 0)
    return f"{packets} packets of {product}"


listener, url = serve.listen()
serve.run(warehouse.http_app(path="/mcp"), listener, f"{url}mcp")
