//! The authorization details that a call requests, with their text.

use std::sync::Arc;

use serde_json::json;
use sts_protocol::AuthorizationDetail;

/// Authorization details to request (RFC 9396). Their text is made once, because each call needs it
/// to find its token.
#[derive(Debug, Clone)]
pub(crate) struct RequestedDetails {
    elements: Arc<[AuthorizationDetail]>,
    text: Option<Arc<str>>,
}

impl RequestedDetails {
    pub(crate) fn new(elements: Vec<AuthorizationDetail>) -> Self {
        let text = (!elements.is_empty()).then(|| json!(elements).to_string().into());
        Self { elements: elements.into(), text }
    }

    pub(crate) fn elements(&self) -> &[AuthorizationDetail] {
        &self.elements
    }

    /// Returns the JSON text; `None` without elements.
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }
}
