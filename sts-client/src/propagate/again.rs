//! A call that is made again, once, because its target has refused the token.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use url::Url;

use super::operation::OutboundOperation;
use super::{Credential, Propagator};
use crate::call::{CallContext, IDEMPOTENCY_KEY};
use crate::error::Error;

/// A call that has gone out, as far as it takes to make it again.
pub(crate) struct Sent {
    context: CallContext,
    url: Url,
    credential: Credential,
    authorization: HeaderValue,
    key: Option<HeaderValue>,
}

#[cfg(feature = "reqwest")]
impl Sent {
    /// The idempotency key that the call carries.
    pub(crate) fn key(&self) -> Option<&HeaderValue> {
        self.key.as_ref()
    }
}

impl Propagator {
    /// As [`Propagator::apply_as`], and remembers what may be needed again.
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

    /// Makes `headers`, which are those from before the call, those of the same call with another token, after its target has said that the
    /// token is invalid. Returns whether there is another token: `false` leaves the target's answer as the outcome.
    ///
    /// The agent's own token never comes in place of a delegated one here: the target may have refused the user.
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
