//! What a caller hears when its request is not served.

/// Why a request is not served (RFC 6750 §3).
#[derive(Debug, Clone, thiserror::Error)]
#[error("skeleton")]
pub struct Refusal;
