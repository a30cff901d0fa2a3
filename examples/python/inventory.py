"""The inventory: verifies the token of an agent, and says for whom it acts."""

from starlette.responses import PlainTextResponse

import sts
import web


def stock(request):
    _, claims = sts.verify_agent(request.headers, audience="inventory")
    sts.require_scope(claims, "stock:read")
    return PlainTextResponse(f"{sts.acting(claims)} acts for {claims['sub']} of {claims['tenant_id']}: 7 bolts")


web.serve(stock, port=9001)
