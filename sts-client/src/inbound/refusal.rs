//! Refusals of inbound requests. The only place that makes statuses, challenges and bodies of
//! refusals.

use std::sync::Arc;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;
use sts_jose::TimeError;
use sts_jose::dpop::ProofError;

use super::why::{Row, Why};
use crate::call::{Challenges, Scheme};
use crate::events::{Boundary, BoundaryOutcome};
use crate::exchange::ExchangeError;
use crate::possession::{DPOP_NONCE, USE_DPOP_NONCE};

/// The default retry interval during an outage.
const RETRY_AFTER_OUTAGE: Duration = Duration::from_secs(5);

/// A refused request (RFC 6750 §3, RFC 9449 §7.1). Cloning is cheap.
///
/// The response contains only a fixed text for each row of this table; the cause is for the log.
/// Neither contains a token or the value of a claim.
///
/// | status | `error` | when |
/// |---|---|---|
/// | 401 | – | no token |
/// | 400 | `invalid_request` | `Authorization` or `X-Tenant-ID` repeated or malformed |
/// | 401 | `invalid_token` | the token is bad, expired, from an unknown issuer, for another audience, or bound to a key that the caller does not prove |
/// | 401 | `invalid_dpop_proof` | the proof of a bound token is missing, malformed, of another request, or was used before |
/// | 401 | `use_dpop_nonce` | the proof needs the nonce in `DPoP-Nonce` |
/// | 403 | `insufficient_scope` | the token lacks a scope, or the caller may not speak for the tenant |
/// | 403 | `insufficient_authorization_details` | no authorization detail of the token permits the action |
/// | 503 | `temporarily_unavailable` | the token cannot be verified now: the keys or the STS are unreachable |
///
/// ```
/// # use sts_client::{Caller, inbound::Refusal};
/// async fn stock(caller: Caller) -> Result<&'static str, Refusal> {
///     caller.require_scope("stock:read")?;
///     Ok("7 bolts")
/// }
/// ```
#[derive(Debug, Clone, thiserror::Error)]
#[error("the request is refused: {}", .why.reason())]
pub struct Refusal {
    #[source]
    why: Arc<Why>,
    challenges: Arc<Challenges>,
    /// The scheme that the request used.
    scheme: Scheme,
}

impl Why {
    /// Returns the boundary at which the request was refused, and the outcome.
    pub(super) fn at(&self) -> (Boundary, BoundaryOutcome) {
        match self.row() {
            Row::Absent | Row::Request | Row::Token | Row::Proof | Row::Nonce => {
                (Boundary::Identity, BoundaryOutcome::Refused(self.reason()))
            }
            Row::Scope | Row::Details | Row::Tenant => {
                (Boundary::Authorization, BoundaryOutcome::Refused(self.reason()))
            }
            Row::Unavailable => (Boundary::Identity, BoundaryOutcome::Unavailable(self.reason())),
        }
    }

    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::NoToken => "token_missing",
            Self::OtherScheme => "other_scheme",
            Self::AuthorizationRepeated => "authorization_repeated",
            Self::AuthorizationMalformed => "authorization_malformed",
            Self::TenantHeaderMalformed => "tenant_header_malformed",
            Self::Parse(_) => "token_malformed",
            Self::Claim(_) | Self::Claims | Self::Time(TimeError::Claim(_)) => "claim_malformed",
            Self::IssuerMissing => "issuer_missing",
            Self::IssuerUnknown => "issuer_unknown",
            Self::Algorithm => "algorithm",
            Self::KeyUnknown => "key_unknown",
            Self::KeysUnusable => "keys_unusable",
            Self::Signature(_) => "signature",
            Self::Typ => "typ",
            Self::Bound | Self::Confirmation => "bound",
            Self::NotBound => "not_bound",
            Self::DpopRequired => "dpop_required",
            Self::Certificate => "certificate",
            Self::ProofMissing => "proof_missing",
            Self::ProofRepeated => "proof_repeated",
            Self::ProofWithoutRequest => "proof_without_request",
            Self::Proof(ProofError::Method | ProofError::Uri) | Self::ProofUrl(_) => "proof_of_another_request",
            Self::Proof(ProofError::AccessToken | ProofError::OtherKey) => "proof_of_another_key",
            Self::Proof(ProofError::TooOld | ProofError::IssuedInFuture) => "proof_time",
            Self::Proof(_) => "proof_malformed",
            Self::ProofNonce(_) => "proof_nonce",
            Self::ProofReplayed => "proof_replayed",
            Self::Audience => "not_addressed",
            Self::Time(TimeError::ExpMissing) => "exp_missing",
            Self::Time(TimeError::Expired) => "expired",
            Self::Time(TimeError::NotYetValid | TimeError::IssuedInFuture) => "not_yet_valid",
            Self::TooOld => "too_old",
            Self::Sub => "sub",
            Self::Act(_) | Self::ActClaimsSts => "act",
            Self::TenantClaim => "tenant_claim",
            Self::TenantOutside => "tenant_outside",
            Self::Scope(_) | Self::ScopeType => "scope_claim",
            Self::Contradiction => "contradiction",
            Self::Inactive => "inactive",
            Self::ScopeMissing(_) => "insufficient_scope",
            Self::ActionMissing(_) => "insufficient_authorization_details",
            Self::TenantContradicted => "tenant_contradicted",
            Self::TenantForbidden => "tenant_forbidden",
            Self::TenantMissing => "tenant_missing",
            Self::KeysUnavailable(_) => "keys_unavailable",
            Self::Introspection(_) => "introspection_unavailable",
            Self::ReplayStore(_) => "replay_store_unavailable",
        }
    }
}

impl Row {
    fn status(self) -> StatusCode {
        match self {
            Self::Absent | Self::Token | Self::Proof | Self::Nonce => StatusCode::UNAUTHORIZED,
            Self::Request => StatusCode::BAD_REQUEST,
            Self::Scope | Self::Details | Self::Tenant => StatusCode::FORBIDDEN,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn error(self) -> Option<&'static str> {
        match self {
            // RFC 6750 §3.1: a request without authentication information gets no error code.
            Self::Absent => None,
            Self::Request => Some("invalid_request"),
            Self::Token => Some("invalid_token"),
            Self::Proof => Some("invalid_dpop_proof"),
            Self::Nonce => Some(USE_DPOP_NONCE),
            Self::Scope | Self::Tenant => Some("insufficient_scope"),
            // draft-ietf-oauth-rar-metadata-remediation; RFC 6750 has no code for it.
            Self::Details => Some("insufficient_authorization_details"),
            Self::Unavailable => Some("temporarily_unavailable"),
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Absent => "a bearer token is required",
            Self::Request => "the Authorization or X-Tenant-ID header is repeated or malformed",
            Self::Token => "the token is malformed, expired, revoked, not trusted or not meant for this resource",
            Self::Proof => {
                "the DPoP proof is missing, malformed, too old, not for this request and token, or was used before"
            }
            Self::Nonce => "the DPoP proof must have the nonce of this answer",
            Self::Scope => "the token lacks a scope that is required",
            Self::Details => "the token does not permit this action with these values",
            Self::Tenant => "the token does not speak for this tenant",
            Self::Unavailable => "the token cannot be verified at this time",
        }
    }
}

impl Refusal {
    pub(super) fn new(why: Why, challenges: Arc<Challenges>, scheme: Scheme) -> Self {
        Self { why: Arc::new(why), challenges, scheme }
    }

    /// Returns the status of the response: 400, 401, 403 or 503.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// assert!(refusal.status().is_client_error() || refusal.status().is_server_error());
    /// # }
    /// ```
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.why.row().status()
    }

    /// Returns the reason, as a stable name for logs and metrics.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// println!("refused: {}", refusal.reason());
    /// # }
    /// ```
    #[must_use]
    pub fn reason(&self) -> &'static str {
        self.why.reason()
    }

    /// Returns the error code; `None` if the request has no bearer token (RFC 6750 §3.1).
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// println!("error {}", refusal.error().unwrap_or("-"));
    /// # }
    /// ```
    #[must_use]
    pub fn error(&self) -> Option<&'static str> {
        self.why.row().error()
    }

    /// Returns the challenges (RFC 6750 §3, RFC 9449 §7.1): one for each scheme that the agent accepts,
    /// the scheme of the request first, with the error. They name the resource metadata (RFC 9728
    /// §5.1) if the verifier has any. Returns `None` during an outage, because another token would not
    /// help.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// println!("{:?}", refusal.www_authenticate());
    /// # }
    /// ```
    #[must_use]
    pub fn www_authenticate(&self) -> Option<HeaderValue> {
        let row = self.why.row();
        if row == Row::Unavailable {
            return None;
        }
        let mut reason = Vec::new();
        if let Some(error) = row.error() {
            reason.push(format!("error=\"{error}\", error_description=\"{}\"", row.description()));
        }
        if let Why::ScopeMissing(scope) = self.why.as_ref() {
            // A scope token contains no quotation mark and no backslash (RFC 6749 §3.3).
            reason.push(format!("scope=\"{scope}\""));
        }
        let challenges = self.challenges.schemes(self.scheme).into_iter().map(|scheme| {
            let mut parameters = std::mem::take(&mut reason);
            if let (Scheme::Dpop, Some(algs)) = (scheme, &self.challenges.algs) {
                parameters.push(format!("algs=\"{algs}\""));
            }
            if let Some(url) = &self.challenges.resource_metadata {
                parameters.push(format!("resource_metadata=\"{url}\""));
            }
            format!("{} {}", scheme.as_str(), parameters.join(", ")).trim_end().to_owned()
        });
        HeaderValue::from_str(&challenges.collect::<Vec<_>>().join(", ")).ok()
    }

    /// Returns the nonce that the next proof must have, for the header `DPoP-Nonce` (RFC 9449 §9);
    /// `None` unless [`Self::error`] is `use_dpop_nonce`.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// assert_eq!(refusal.dpop_nonce().is_some(), refusal.error() == Some("use_dpop_nonce"));
    /// # }
    /// ```
    #[must_use]
    pub fn dpop_nonce(&self) -> Option<HeaderValue> {
        let Why::ProofNonce(nonce) = self.why.as_ref() else { return None };
        HeaderValue::from_str(nonce).ok()
    }

    /// Returns the body: JSON with `error_description`, and with `error` if there is an error code.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// println!("{}", refusal.body());
    /// # }
    /// ```
    #[must_use]
    pub fn body(&self) -> String {
        let row = self.why.row();
        match row.error() {
            Some(error) => json!({ "error": error, "error_description": row.description() }),
            None => json!({ "error_description": row.description() }),
        }
        .to_string()
    }

    /// Returns the time after which the client should retry; `None` unless the cause is an outage.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// # fn answer(refusal: &Refusal) {
    /// println!("{:?}", refusal.retry_after());
    /// # }
    /// ```
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        if self.why.row() != Row::Unavailable {
            return None;
        }
        let Why::Introspection(ExchangeError::Overloaded { retry_after }) = self.why.as_ref() else {
            return Some(RETRY_AFTER_OUTAGE);
        };
        Some(retry_after.unwrap_or(RETRY_AFTER_OUTAGE))
    }

    /// Returns the description that the caller receives: a fixed ASCII text for each row of the
    /// table, without a token or a claim.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// fn close_reason(refusal: &Refusal) -> &'static str {
    ///     refusal.description()
    /// }
    /// ```
    #[must_use]
    pub fn description(&self) -> &'static str {
        self.why.row().description()
    }

    /// Returns the gRPC status code of this refusal:
    /// - 16 `UNAUTHENTICATED` for 400 and 401;
    /// - 7 `PERMISSION_DENIED` for 403;
    /// - 8 `RESOURCE_EXHAUSTED` for 503 if the STS is overloaded;
    /// - 14 `UNAVAILABLE` for any other 503.
    ///
    /// [`Verifier::layer`](crate::Verifier::layer) sends it to requests with the content type
    /// `application/grpc`. A handler can convert it to a `tonic::Status`:
    ///
    /// ```
    /// # mod tonic {
    /// #     pub struct Code; impl From<i32> for Code { fn from(_: i32) -> Self { Code } }
    /// #     pub struct Status; impl Status { pub fn new(_: Code, _: &str) -> Self { Status } }
    /// # }
    /// # use sts_client::{Caller, inbound::Refusal};
    /// fn status(refusal: Refusal) -> tonic::Status {
    ///     tonic::Status::new(tonic::Code::from(refusal.grpc_code()), refusal.description())
    /// }
    ///
    /// fn stock(caller: &Caller) -> Result<(), tonic::Status> {
    ///     caller.require_scope("stock:read").map_err(status)
    /// }
    /// ```
    #[must_use]
    pub fn grpc_code(&self) -> i32 {
        match self.why.as_ref() {
            Why::Introspection(ExchangeError::Overloaded { .. }) => 8,
            why => match why.row() {
                Row::Absent | Row::Request | Row::Token | Row::Proof | Row::Nonce => 16,
                Row::Scope | Row::Details | Row::Tenant => 7,
                Row::Unavailable => 14,
            },
        }
    }

    /// Returns [`Self::retry_after`] in whole seconds, rounded up.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after().map(whole_seconds)
    }

    /// Builds the complete response without the correlation id, which the layer adds.
    ///
    /// ```
    /// # use sts_client::inbound::Refusal;
    /// fn answer(refusal: &Refusal) -> sts_client::http::Response<Vec<u8>> {
    ///     refusal.to_response()
    /// }
    /// ```
    #[must_use]
    pub fn to_response<B: From<Vec<u8>>>(&self) -> Response<B> {
        let mut response = Response::new(B::from(self.body().into_bytes()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(challenge) = self.www_authenticate() {
            headers.insert(WWW_AUTHENTICATE, challenge);
        }
        if let Some(nonce) = self.dpop_nonce() {
            headers.insert(DPOP_NONCE, nonce);
        }
        if let Some(seconds) = self.retry_after_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

/// Rounds up, so that a client does not retry too early.
fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}
