//! The repetition of a call whose target rejected the token or its proof.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use url::Url;

use super::operation::OutboundOperation;
use super::proof::{Applied, Destination, Proven};
use super::{Credential, Propagator};
use crate::call::headers::strip;
use crate::call::{CallContext, IDEMPOTENCY_KEY, RefusalCode};
use crate::error::Error;
use crate::possession::DPOP;

/// The parts of a sent call that its repetition needs.
pub(crate) struct Sent {
    context: CallContext,
    method: Method,
    url: Url,
    credential: Credential,
    proven: Proven,
    key: Option<HeaderValue>,
    /// The nonce that the target gave in its answer.
    given_nonce: Option<Arc<str>>,
    is_repeated: Repeated,
}

/// The repetitions so far. A target causes each kind once.
#[derive(Clone, Copy, Default)]
struct Repeated {
    with_another_token: bool,
    with_another_nonce: bool,
}

/// The reason why a target rejects a call that may be repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TargetRefusal {
    /// The token is invalid (RFC 6750 §3.1).
    InvalidToken,
    /// The proof needs another nonce (RFC 9449 §9).
    NonceWanted,
}

#[cfg(feature = "reqwest")]
impl Sent {
    /// Returns the idempotency key of the call.
    pub(crate) fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }
}

#[cfg(any(feature = "a2a", feature = "rmcp"))]
impl Sent {
    /// Returns true if the target gave a nonce in its answer.
    pub(crate) fn has_given_nonce(&self) -> bool {
        self.given_nonce.is_some()
    }
}

impl Propagator {
    /// Sets the headers of a call like [`Propagator::apply_as`], and returns the parts that a
    /// repetition of the call needs.
    pub(crate) async fn prepare(
        &self,
        context: CallContext,
        (method, url): (Method, Url),
        headers: &mut HeaderMap,
        operation: OutboundOperation<'_>,
    ) -> Result<Sent, Error> {
        let destination = Destination { method: Some(&method), url: &url, nonce: None };
        let Applied { credential, proven } = self.set(&context, destination, headers, operation).await?;
        let key = headers.get(IDEMPOTENCY_KEY).cloned();
        Ok(Sent { context, method, url, credential, proven, key, given_nonce: None, is_repeated: Repeated::default() })
    }

    /// Keeps the nonce that the target gave in the answer to a call.
    pub(crate) fn learn_nonce_of(&self, sent: &mut Sent, headers: &HeaderMap) {
        if sent.proven.token.is_bound() {
            sent.given_nonce = self.0.nonces.learn(&sent.url, headers);
        }
    }

    /// Prepares `headers` for the same call, after the target rejected it for this reason. `headers`
    /// must be those from before the first call. Returns true if the call may be sent again: with
    /// another token, or with a proof that has another nonce, and once for each reason. On `false` the
    /// target's answer is the outcome.
    ///
    /// The agent's own token never replaces a delegated token here, because the target may have
    /// refused the user.
    pub(crate) async fn prepare_again(&self, sent: &mut Sent, refusal: TargetRefusal, headers: &mut HeaderMap) -> bool {
        let may_repeat = match refusal {
            TargetRefusal::NonceWanted => {
                let has_another = sent.given_nonce.is_some() && sent.given_nonce != sent.proven.nonce;
                has_another && !sent.is_repeated.with_another_nonce
            }
            TargetRefusal::InvalidToken => {
                !sent.is_repeated.with_another_token
                    && self
                        .drop_refused(&sent.context, &sent.url, sent.proven.token.authorization(), sent.credential)
                        .await
            }
        };
        if !may_repeat {
            return false;
        }
        if let Some(key) = &sent.key {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        // Calls to other targets of this origin may have brought other nonces meanwhile.
        let nonce = sent.given_nonce.as_ref();
        let destination = Destination { method: Some(&sent.method), url: &sent.url, nonce };
        let Applied { credential, proven } = match self
            .set(&sent.context, destination, headers, OutboundOperation::Keyless)
            .await
        {
            Ok(applied) => applied,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, url = %sent.url.origin().ascii_serialization(), "no other token for a call whose target refused its token");
                return false;
            }
        };
        let is_no_weaker = is_no_weaker(credential, sent.credential);
        let is_another = match refusal {
            TargetRefusal::InvalidToken => {
                sent.is_repeated.with_another_token = true;
                proven.token.authorization() != sent.proven.token.authorization()
            }
            TargetRefusal::NonceWanted => {
                sent.is_repeated.with_another_nonce = true;
                proven.nonce != sent.proven.nonce
            }
        };
        sent.proven = proven;
        is_no_weaker && is_another
    }

    /// Sets the headers of a repetition by the rules of [`Self::prepare_again`], from the headers and the
    /// credential with which the call was sent.
    pub(crate) async fn set_again(
        &self,
        context: &CallContext,
        destination: Destination<'_>,
        headers: &mut HeaderMap,
        (sent, credential): (&HeaderMap, Credential),
    ) -> Result<Credential, Error> {
        if let Some(key) = sent.get(IDEMPOTENCY_KEY) {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        let applied = self.set(context, destination, headers, OutboundOperation::Keyless).await?;
        let is_another = sent.contains_key(DPOP) || sent.get(AUTHORIZATION) != headers.get(AUTHORIZATION);
        if is_another && is_no_weaker(applied.credential, credential) {
            return Ok(applied.credential);
        }
        strip(headers);
        Err(Error::Refused { code: RefusalCode::INVALID_TOKEN })
    }

    /// Returns true if the last answer to a probe of a URL is too old, or there is none.
    #[cfg(feature = "a2a")]
    pub(crate) fn is_probe_due(&self, url: &Url) -> bool {
        self.0.nonces.is_probe_due(url, self.0.clock.now())
    }

    /// Keeps the answer of a target to a probe: its nonce, or that it wants none.
    #[cfg(any(feature = "a2a", feature = "rmcp"))]
    pub(crate) fn probed(&self, sent: &Sent) {
        self.0.nonces.probed(&sent.url, sent.given_nonce.clone(), self.0.clock.now());
    }

    /// Drops the token that a call with these headers carried, if the target refused it for that.
    /// Returns true if the call may be sent again with other headers.
    pub(crate) async fn drop_sent(
        &self,
        context: &CallContext,
        url: &Url,
        sent: &HeaderMap,
        refusal: TargetRefusal,
    ) -> bool {
        let Some(token) = sent.get(AUTHORIZATION) else { return false };
        match refusal {
            TargetRefusal::NonceWanted => sent.contains_key(DPOP),
            TargetRefusal::InvalidToken => {
                self.drop_refused(context, url, token, Credential::Exchanged).await
                    || self.drop_refused(context, url, token, Credential::ServiceAccount).await
            }
        }
    }

    /// Returns the headers of a GET request to the target of a call, with the token of the call and
    /// a proof of its own; `None` for a bearer token.
    #[cfg(any(feature = "a2a", feature = "rmcp"))]
    pub(crate) fn probe(&self, sent: &Sent) -> Option<(Url, HeaderMap)> {
        let nonce = self.0.nonces.newest(&sent.url);
        let proof = sent.proven.token.prove((&Method::GET, &sent.url), nonce).ok()??;
        let authorization = sent.proven.token.authorization().clone();
        Some((sent.url.clone(), HeaderMap::from_iter([(AUTHORIZATION, authorization), (DPOP, proof.header)])))
    }
}

/// Returns true if the credential `next` has no less authority than that of the call.
fn is_no_weaker(next: Credential, first: Credential) -> bool {
    next == first || next == Credential::Exchanged
}
