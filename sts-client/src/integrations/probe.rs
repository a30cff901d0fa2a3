//! A request that asks a target for a nonce, for libraries that do not show the headers of an answer.

use http::StatusCode;
use http::header::{ACCEPT, HeaderValue};

use crate::integrations::challenge;
use crate::propagate::Propagator;
use crate::propagate::again::{Sent, TargetRefusal};

/// Sends a GET request with the token of a refused call, and keeps the nonce of the answer. Returns
/// the reason why the target refuses that too. Returns `None` if the call carried a bearer token, if
/// there is no answer, or if the target accepts the proof.
///
/// A target that wants another nonce refuses before it reads the request. GET is safe: a target
/// that accepts the proof does nothing.
pub(super) async fn ask(propagator: &Propagator, sent: &mut Sent) -> Option<TargetRefusal> {
    let (url, mut headers) = propagator.probe(sent)?;
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let client = propagator.http_client().ok()?;
    let answer = client.get(url).headers(headers).send().await.ok()?;
    propagator.learn_nonce_of(sent, answer.headers());
    if sent.has_given_nonce() || wants_no_nonce(answer.status()) {
        propagator.probed(sent);
    }
    challenge::refusal(answer.status(), answer.headers())
}

/// Returns true if an answer without a nonce shows that the target wants none. After an outage or a
/// refusal of the token, it may still want one.
fn wants_no_nonce(status: StatusCode) -> bool {
    !matches!(status.as_u16(), 401 | 408 | 429 | 500..)
}
