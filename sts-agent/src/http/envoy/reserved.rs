//! The headers that only sts-client and this process may set.

use std::sync::LazyLock;

use sts_client::http::{HeaderMap, HeaderName};
use sts_client::{STRIPPED_HEADERS, X_CORRELATION_ID, X_DELEGATION_FALLBACK, X_TENANT_ID};

use crate::contexts::CONTEXT;

/// The mark of a verified request of sts-client.
const X_STS_VERIFIED: HeaderName = HeaderName::from_static("x-sts-verified");

/// Headers of this process alone, which pass no proxy.
pub(super) const OF_THIS_PROCESS: [HeaderName; 2] = [X_STS_VERIFIED, CONTEXT];

/// The claims of a verified request. The agent gets none that was not verified.
pub(super) static CLAIMS: [HeaderName; 5] =
    [X_TENANT_ID, X_CORRELATION_ID, X_DELEGATION_FALLBACK, X_STS_VERIFIED, CONTEXT];

/// The headers that an outbound call has only from sts-client, or that this process uses itself.
pub(super) static STRIPPED: LazyLock<Vec<HeaderName>> =
    LazyLock::new(|| STRIPPED_HEADERS.iter().cloned().chain([CONTEXT]).collect());

/// Removes the headers that CGI and WSGI confuse with a reserved one: they read `_` for `-`.
pub(super) fn remove_twins(headers: &mut HeaderMap) {
    let is_twin = |name: &&HeaderName| {
        let text = name.as_str();
        text.contains('_') && STRIPPED.iter().any(|reserved| *reserved == *text.replace('_', "-"))
    };
    let twins: Vec<HeaderName> = headers.keys().filter(is_twin).cloned().collect();
    for twin in twins {
        headers.remove(twin);
    }
}
