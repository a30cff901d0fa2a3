"""The coordinator: verifies the user's token, and asks the inventory on behalf of the user."""

from starlette.responses import PlainTextResponse

import sts
import web

INVENTORY = "http://127.0.0.1:9001/stock"


def stock(request):
    token, claims = sts.verify_user(request.headers)
    correlation_id = sts.correlation(request.headers)
    exchanged = sts.exchange(token, "coordinator", "inventory", correlation_id)
    headers = {"Authorization": f"Bearer {exchanged}", "X-Correlation-ID": correlation_id}
    answer = sts.HTTP.get(INVENTORY, headers=headers)
    answer.raise_for_status()
    return PlainTextResponse(f"{claims['sub']} asked, {answer.text}")


web.serve(stock, port=9000)
