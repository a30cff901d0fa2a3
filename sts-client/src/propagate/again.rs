//! A single repetition of a call whose target rejected the token.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::operation::OutboundOperation;
use super::{Credential, Propagator};
use crate::call::{CallContext, IDEMPOTENCY_KEY};
use crate::error::Error;

/// The parts of a sent call that its repetition needs.
pub(crate) struct Sent {
    context: CallContext,
    url: Url,
    credential: Credential,
    authorization: HeaderValue,
    key: Option<HeaderValue>,
}

#[cfg(feature = "reqwest")]
impl Sent {
    /// Returns the idempotency key of the call.
    pub(crate) fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }
}

impl Propagator {
    /// Calls [`Propagator::apply_as`], and returns the parts that a repetition of the call needs.
    pub(crate) async fn prepare(
        &self,
        context: CallContext,
        url: Url,
        headers: &mut HeaderMap,
        operation: OutboundOperation<'_>,
    ) -> Result<Sent, Error> {
        let credential = self.apply_as(&context, &url, headers, operation).await?;
        let authorization = headers.get(AUTHORIZATION).cloned();
        let authorization = authorization.ok_or_else(|| Error::misconfigured("the call carries no credential"))?;
        let key = headers.get(IDEMPOTENCY_KEY).cloned();
        Ok(Sent { context, url, credential, authorization, key })
    }

    /// Prepares `headers` for the same call with another token, after the target rejected the token
    /// as invalid. `headers` must be those from before the first call. Returns true if there is
    /// another token. On `false` the target's answer is the outcome.
    ///
    /// The agent's own token never replaces a delegated token here, because the target may have
    /// refused the user.
    pub(crate) async fn prepare_again(&self, sent: &Sent, headers: &mut HeaderMap) -> bool {
        if !self.drop_refused(&sent.context, &sent.url, &sent.authorization, sent.credential).await {
            return false;
        }
        if let Some(key) = &sent.key {
            headers.insert(IDEMPOTENCY_KEY, key.clone());
        }
        match self.apply_as(&sent.context, &sent.url, headers, OutboundOperation::Keyless).await {
            Ok(credential) => {
                let no_weaker = credential == sent.credential || credential == Credential::Exchanged;
                no_weaker && headers.get(AUTHORIZATION) != Some(&sent.authorization)
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, url = %sent.url.origin().ascii_serialization(), "no other token for a call whose target refused its token");
                false
            }
        }
    }
}
