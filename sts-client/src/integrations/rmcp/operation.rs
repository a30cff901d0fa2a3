//! Which operation a message is.

use ::rmcp::model::{ClientJsonRpcMessage, ClientRequest};
use serde_json::Value;

use crate::dedup::DedupKey;

/// The operation that a call of a tool is: `tools/call`, the tool's name and a digest of its arguments. `None` for every other message.
///
/// The message's own id and its `_meta` are not part of it: they differ from one try to the next.
pub(super) fn of(message: &ClientJsonRpcMessage) -> Option<String> {
    let ClientJsonRpcMessage::Request(request) = message else { return None };
    let ClientRequest::CallToolRequest(call) = &request.request else { return None };
    let arguments = Value::Object(call.params.arguments.clone().unwrap_or_default());
    let digest = DedupKey::of_json("tools/call", &arguments).to_hex();
    Some(format!("tools/call:{}:{digest}", call.params.name))
}
