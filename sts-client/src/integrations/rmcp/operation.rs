//! The operation of an MCP message.

use ::rmcp::model::{ClientJsonRpcMessage, ClientRequest};
use serde_json::Value;

use crate::dedup::DedupKey;

/// Returns the name of the tool that a message calls.
pub(super) fn tool(message: &ClientJsonRpcMessage) -> Option<&str> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let ClientRequest::CallToolRequest(call) = &request.request else { return None };
    Some(&call.params.name)
}

/// Returns the operation of a tool call: `tools/call`, the name of the tool and a digest of its
/// arguments. Returns `None` for any other message.
///
/// The id of the message and its `_meta` are excluded, because they differ between attempts.
pub(super) fn of(message: &ClientJsonRpcMessage) -> Option<String> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let ClientRequest::CallToolRequest(call) = &request.request else { return None };
    let arguments = Value::Object(call.params.arguments.clone().unwrap_or_default());
    let digest = DedupKey::of_json("tools/call", &arguments).to_hex();
    Some(format!("tools/call:{}:{digest}", call.params.name))
}
