//! The answers of targets, for an HTTP client without an integration.

use http::{HeaderMap, Method, StatusCode};
use url::Url;

use super::challenge;
use crate::call::CallContext;
use crate::error::Error;
use crate::propagate::{Credential, Destination, Propagator};

impl Propagator {
    /// Returns true if a call that was `sent` with these headers may be sent once more, with new
    /// headers of [`Propagator::apply_again`]. Its target must have refused the token, or have asked for
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

    /// Sets the `headers` of a call that is sent once more, after [`Self::may_repeat`] has returned true.
    /// `headers` must be those from before the first call; `first` are the headers and the credential
    /// with which it was sent. The call keeps its idempotency key.
    ///
    /// The agent's own token never replaces a delegated token here, because the target may have
    /// refused the user. On an error, the answer of the target is the outcome of the call.
    ///
    /// ```
    /// # use sts_client::{CallContext, Error, Propagator, url::Url};
    /// use sts_client::http::{HeaderMap, Method};
    /// use sts_client::propagate::Credential;
    ///
    /// async fn once_more(
    ///     propagator: &Propagator,
    ///     (context, url): (&CallContext, &Url),
    ///     first: (&HeaderMap, Credential),
    /// ) -> Result<HeaderMap, Error> {
    ///     let mut headers = HeaderMap::new();
    ///     propagator.apply_again(context, (&Method::GET, url), &mut headers, first).await?;
    ///     Ok(headers)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::Refused`] with `invalid_token` if there is no other token, or only one with less
    /// authority; otherwise as [`Propagator::apply`].
    pub async fn apply_again(
        &self,
        context: &CallContext,
        (method, url): (&Method, &Url),
        headers: &mut HeaderMap,
        first: (&HeaderMap, Credential),
    ) -> Result<Credential, Error> {
        let destination = Destination { method: Some(method), url, nonce: None };
        self.set_again(context, destination, headers, first).await
    }
}
