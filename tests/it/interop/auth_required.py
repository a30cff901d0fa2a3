"""The A2A SDK sends a message to an agent. Prints, as JSON, the task, its state, and the approval for which it waits.

usage: auth_required.py URL TOKEN [TASK]
"""

import asyncio
import json
import sys

import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers import get_data_parts, get_message_text, new_text_message
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, SendMessageRequest, TaskState


async def send(url: str, token: str, task_id: str | None = None) -> dict:
    card = AgentCard(
        name="coordinator",
        description="Buys",
        version="1.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
    )
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {token}"}, trust_env=False) as http:
        client = await create_client(card, ClientConfig(httpx_client=http, streaming=False))
        request = SendMessageRequest(message=new_text_message("buy", task_id=task_id))
        async for event in client.send_message(request):
            task = event.task
    status = task.status
    return {
        "task": task.id,
        "state": TaskState.Name(status.state),
        "text": get_message_text(status.message),
        "approvals": get_data_parts(status.message.parts),
    }


print(json.dumps(asyncio.run(send(*sys.argv[1:]))))
