"""Outcomes of the YAAgents SDK: its server's as they leave it, and ours as its client reads them.

Takes a JSON array of ours, {"status", "content_type", "body"}; prints {"theirs": [the same], "read": [what the client made of ours]}.
"""

import json
import sys

import httpx
from yaagents_client._exceptions import AgenticError
from yaagents_client._mapper import process_response
from yaagents_fastapi import AgenticResponse
from yaagents_fastapi.context import RequiredInput

IDS = {"correlation_id": "corr-1", "request_id": "req-1"}
SKU = RequiredInput(
    name="sku", location="body", type="string", required=True, question="Which one?", allowed_values=["a", "b"]
)


def theirs():
    responses = [
        AgenticResponse.success({"left": 3}, **IDS),
        AgenticResponse.created({"left": 3}, **IDS),
        AgenticResponse.accepted("op-1", "/operations/op-1", **IDS),
        AgenticResponse.clarification_required([SKU.to_dict()], **IDS),
        AgenticResponse.validation_failed([{"field": "sku", "message": "none such"}], **IDS),
        AgenticResponse.approval_required("the-token", message="ask finance", **IDS),
        AgenticResponse.forbidden(code="NO", message="no", **IDS),
        AgenticResponse.conflict(code="TAKEN", message="taken", conflicting_resource_id="order-7", **IDS),
        AgenticResponse.failed_dependency(code="DOWN", message="down", **IDS),
        AgenticResponse.error(code="BUG", message="bug", **IDS),
    ]
    for response in responses:
        yield {
            "status": response.status_code,
            "content_type": response.headers["content-type"],
            "body": response.body.decode(),
        }


def read(ours):
    response = httpx.Response(ours["status"], headers={"content-type": ours["content_type"]}, content=ours["body"])
    try:
        return {"kind": "payload", "body": process_response(response)}
    except AgenticError as error:
        return {"kind": type(error).__name__, "code": error.code, "body": error.body}


json.dump({"theirs": list(theirs()), "read": [read(ours) for ours in json.loads(sys.argv[1])]}, sys.stdout)
