//! The answers of targets, for an HTTP client without an integration.

use http::{HeaderMap, StatusCode};
use url::Url;

use super::challenge;
use crate::call::CallContext;
use crate::propagate::Propagator;

impl Propagator {
    /// Returns true if a call that was `sent` with these headers may be sent once more, with new
    /// headers of [`Propagator::apply_as`]. Its target must have refused the token, or have asked for
    /// another nonce in the proof. Drops the token that was refused, and keeps the nonce that the
    /// target gave.
    ///
    /// For an HTTP client without an integration. Call it for an answer with the status 401.
    ///
    /// ```
    /// # use sts_client::{CallContext, Propagator, url::Url};
    /// use sts_client::http::{HeaderMap, StatusCode};
    ///
    /// async fn may_repeat(
    ///     propagator: &Propagator,
    ///     (context, url): (&CallContext, &Url),
    ///     sent: &HeaderMap,
    ///     (status, headers): (StatusCode, &HeaderMap),
    /// ) -> bool {
    ///     status == StatusCode::UNAUTHORIZED && propagator.may_repeat(context, url, sent, (status, headers)).await
    /// }
    /// ```
    pub async fn may_repeat(
        &self,
        context: &CallContext,
        url: &Url,
        sent: &HeaderMap,
        (status, headers): (StatusCode, &HeaderMap),
    ) -> bool {
        self.learn_nonce(url, headers);
        match challenge::refusal(status, headers) {
            Some(refusal) => self.drop_sent(context, url, sent, refusal).await,
            None => false,
        }
    }
}
