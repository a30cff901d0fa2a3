"""An agent with the A2A SDK, which asks its supplier over HTTP."""

import httpx
from a2a.helpers import get_message_text, new_text_message
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

SUPPLIER = "https://inventory.shop.example/stock/"
http = httpx.AsyncClient()


class Inventory(AgentExecutor):
    async def execute(self, context, event_queue):
        answer = await http.get(SUPPLIER + get_message_text(context.message))
        await event_queue.enqueue_event(new_text_message(answer.text, context_id=context.context_id))

    async def cancel(self, context, event_queue):
        raise NotImplementedError


card = AgentCard(
    name="inventory",
    description="Knows the stock",
    version="1.0",
    supported_interfaces=[AgentInterface(url="/", protocol_binding="JSONRPC", protocol_version="1.0")],
    capabilities=AgentCapabilities(),
    default_input_modes=["text/plain"],
    default_output_modes=["text/plain"],
    skills=[AgentSkill(id="stock", name="stock", description="How much of a product is left", tags=["stock"])],
)
handler = DefaultRequestHandler(Inventory(), InMemoryTaskStore(), card)
app = Starlette(routes=create_agent_card_routes(card) + create_jsonrpc_routes(handler, "/"))
