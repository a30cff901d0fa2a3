//! An exchange that may need the approval of a person, and the wait for it
//! (draft-ietf-oauth-deferred-token-response). No other module knows the wire of deferred answers.

use std::time::Duration;

use secrecy::SecretString;
use serde_json::{Map, Value};

use super::answer::{self, Reply};
use super::error::{ExchangeError, Outage};
use super::flaw::Flaw;
use super::issued::IssuedToken;
use super::request::{self, Completion, Post};
use super::{Call, ExchangeRequest, StsInner, target};
use crate::call::OnApproval;

/// The name of an exchange in logs and metrics.
const EXCHANGE: &str = "token-exchange";

/// The default time limit of a wait.
pub(super) const DEADLINE: Duration = Duration::from_secs(5 * 60);

/// The pause between polls if the STS names none.
const INTERVAL: u64 = 5;

/// The shortest and the longest pause between polls that the STS may name, in seconds.
const INTERVALS: (u64, u64) = (1, 60);

/// The addition to the pause each time the STS asks for slower polls (RFC 8628 §3.5).
const SLOWER: Duration = Duration::from_secs(5);

/// The codes after which a deferral code gets no token, although the approval may still be granted.
const NO_LONGER_VALID: [&str; 2] = ["invalid_grant", "expired_token"];

/// The members of a deferred answer. It has no Debug, because it holds the code.
struct Deferral {
    code: SecretString,
    expires_in: Duration,
    interval: Duration,
}

impl Deferral {
    fn read(body: &Map<String, Value>) -> Result<Self, Flaw> {
        let code = body.get("deferral_code").and_then(Value::as_str).filter(|code| !code.is_empty());
        let expires_in = body.get("expires_in").and_then(Value::as_u64).ok_or(Flaw::Member("expires_in"))?;
        let interval = match body.get("interval") {
            None => INTERVAL,
            Some(interval) => interval.as_u64().ok_or(Flaw::Member("interval"))?,
        };
        Ok(Self {
            code: code.ok_or(Flaw::Member("deferral_code"))?.into(),
            expires_in: Duration::from_secs(expires_in),
            interval: Duration::from_secs(interval.clamp(INTERVALS.0, INTERVALS.1)),
        })
    }
}

impl StsInner {
    /// Exchanges a token, and waits for an approval if the route says so.
    pub(super) async fn exchange(&self, request: &ExchangeRequest<'_>) -> Result<IssuedToken, ExchangeError> {
        match request.route.on_approval {
            OnApproval::Report => self.ask_now(request).await,
            OnApproval::Wait => self.wait(request).await,
        }
    }

    async fn ask_now(&self, request: &ExchangeRequest<'_>) -> Result<IssuedToken, ExchangeError> {
        let post = request::exchange(&self.issuer, request, Completion::Immediate);
        let ExchangeRequest { subject, route, correlation_id } = *request;
        let call = Call { request: EXCHANGE, audience: target(route), correlation_id };
        self.call(call, || async { self.token(&post, route, Some(subject)).await?.settled() }).await
    }

    async fn attempt(
        &self,
        name: &'static str,
        request: &ExchangeRequest<'_>,
        post: &Post,
    ) -> Result<Reply<IssuedToken>, ExchangeError> {
        let ExchangeRequest { subject, route, correlation_id } = *request;
        let call = Call { request: name, audience: target(route), correlation_id };
        self.call(call, || self.token(post, route, Some(subject))).await
    }

    async fn wait(&self, request: &ExchangeRequest<'_>) -> Result<IssuedToken, ExchangeError> {
        let post = request::exchange(&self.issuer, request, Completion::Deferred);
        let body = match self.attempt(EXCHANGE, request, &post).await? {
            Reply::Pending(body) => body,
            settled => return settled.settled(),
        };
        let deferral = Deferral::read(&body).map_err(|flaw| answer::refused(&flaw))?;
        if let Some(token) = self.poll(request, &deferral).await? {
            return Ok(token);
        }
        // The approval outlives the wait, so the agent reports it. If it was granted meanwhile, this
        // exchange passes.
        self.ask_now(request).await.map_err(|error| match error {
            // The STS has required an approval, so its outage must not lead to another credential.
            ExchangeError::Outage(outage) => Outage::Undecided(outage).into(),
            error => error,
        })
    }

    /// Polls until the STS decides. Returns `None` if it does not decide in time.
    async fn poll(
        &self,
        request: &ExchangeRequest<'_>,
        deferral: &Deferral,
    ) -> Result<Option<IssuedToken>, ExchangeError> {
        let post = request::poll(&deferral.code, request.correlation_id);
        let life =
            Duration::try_from(self.clock.now().duration_until(request.subject.expires_at())).unwrap_or_default();
        let limit = deferral.expires_in.min(life).min(self.approval_deadline);
        let deadline = tokio::time::sleep(limit).deadline();
        let (mut interval, mut retry_after) = (deferral.interval, Duration::ZERO);
        loop {
            // A `Retry-After` is for the next pause alone.
            let pause = tokio::time::sleep(interval.max(std::mem::take(&mut retry_after)));
            if pause.deadline() >= deadline {
                return Ok(None);
            }
            pause.await;
            match self.attempt("deferred", request, &post).await {
                Ok(Reply::Done(token)) => return Ok(Some(token)),
                // A poll that fails in an outage is repeated like one without a decision.
                Ok(Reply::Pending(_)) | Err(ExchangeError::Outage(_)) => {}
                Ok(Reply::SlowDown) => interval = interval.saturating_add(SLOWER),
                Err(ExchangeError::Overloaded { retry_after: named }) => {
                    interval = interval.saturating_add(SLOWER);
                    retry_after = named.unwrap_or_default();
                }
                Err(ExchangeError::Refused { code }) if NO_LONGER_VALID.contains(&code.as_str()) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }
}
