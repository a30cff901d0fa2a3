//! The endpoints of the public listener: token (RFC 6749 §3.2, RFC 8693 §2), introspection (RFC
//! 7662 §2), revocation (RFC 7009 §2), and the public documents.
//!
//! The three endpoints that decide bypass the router, which would box every request about a dozen
//! times. All others go through it.

use std::pin::pin;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::get;
use http::header::{AUTHORIZATION, CONTENT_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use sts_protocol::parameter::DPOP;
use tower::ServiceExt as _;
use tower_http::cors::{Any, CorsLayer};

use super::answer::{self, IntakeFault, UsedHeader};
use super::body::{self, HeldBody};
use super::content_type::{Charset, FORM, charset, is_ascii};
use super::intake::{About, Intake, Observed, Unserved};
use super::peer::Peer;
use super::{App, approvals, health, jwks, metadata};
use crate::client_auth::{INTROSPECTION_PATH, REVOCATION_PATH, TOKEN_PATH};
use crate::error_kind::ErrorKind;
use crate::exchange::{self, Call, Claimed, Refusal, claimed_client};
use crate::telemetry::{Endpoint, RequestOutcome};

/// The endpoints for agents and verifiers.
#[derive(Debug, Clone)]
pub struct Agents {
    app: App,
    others: Router,
}

impl Agents {
    /// Creates the endpoints of a service.
    #[must_use]
    pub fn new(app: App) -> Self {
        // CORS for applications in browsers, which read the public documents. The endpoints that
        // decide have none.
        let documents = Router::new()
            .route("/oauth2/jwks", get(jwks::jwks))
            .route("/.well-known/oauth-authorization-server", get(metadata::metadata))
            .route("/.well-known/openid-configuration", get(metadata::openid))
            .layer(CorsLayer::new().allow_origin(Any).allow_methods([Method::GET]).allow_headers(Any));
        let others = documents
            .route(metadata::AUTHORIZATION_PATH, get(metadata::authorize).post(metadata::authorize))
            .route("/approvals/{id}", get(approvals::approval).post(approvals::approval))
            .route("/healthz", get(health::healthz))
            .route("/readyz", get(health::readyz))
            .with_state(app.clone());
        Self { app, others }
    }

    /// Answers a request. The endpoints that decide are boxed, so that an idle connection takes
    /// little memory.
    pub async fn answer(&self, request: Request<Body>, peer: &Peer) -> Response {
        let response = match request.uri().path() {
            TOKEN_PATH => Box::pin(decided(&self.app, Decides::Token, request, peer)).await,
            INTROSPECTION_PATH => Box::pin(decided(&self.app, Decides::Introspect, request, peer)).await,
            REVOCATION_PATH => Box::pin(decided(&self.app, Decides::Revoke, request, peer)).await,
            _ => by_router(&self.others, request, peer).await,
        };
        // Before a shutdown, peers must reconnect, which leads them to another server.
        if self.app.is_withdrawn() { answer::closing(response) } else { response }
    }
}

/// Answers a request through a router. Its handlers learn the source from [`Peer`].
pub(super) async fn by_router(router: &Router, mut request: Request<Body>, peer: &Peer) -> Response {
    request.extensions_mut().insert(peer.clone());
    router.clone().oneshot(request).await.unwrap_or_else(|never| match never {})
}

/// An endpoint that decides.
#[derive(Clone, Copy)]
enum Decides {
    Token,
    Introspect,
    Revoke,
}

impl Decides {
    fn endpoint(self) -> Endpoint {
        match self {
            Self::Token => Endpoint::Token,
            Self::Introspect => Endpoint::Introspect,
            Self::Revoke => Endpoint::Revoke,
        }
    }
}

impl From<Refusal> for Unserved<Refusal> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

async fn decided(app: &App, decides: Decides, request: Request<Body>, peer: &Peer) -> Response {
    let (mut head, body) = request.into_parts();
    drop_blank_headers(&mut head.headers);
    let intake = Intake::new(app, decides.endpoint(), &head, peer);
    let mut observed = Observed::begin(&intake);
    let mut held = HeldBody::default();
    let decided = {
        let work = pin!(async {
            held = read(&intake, body).await?;
            Ok(decide(decides, app, &call(&intake, &held)).await?)
        });
        intake.in_time(work).await
    };
    let response = match decided {
        Ok(response) => {
            observed.decided(RequestOutcome::Ok, None);
            response
        }
        Err(Unserved::Intake(fault)) => {
            observed.decided(fault.outcome(), Some(fault.reason()));
            intake.log_fault(fault);
            answer::intake_fault(fault)
        }
        Err(Unserved::Refused(refusal)) => {
            observed.decided(outcome(refusal.kind()), Some(refusal.reason()));
            refuse(&intake, &refusal, &held)
        }
    };
    let response = match app.sts.proof_nonce() {
        Some(nonce) => answer::with_nonce(response, &nonce),
        None => response,
    };
    intake.seal(response)
}

fn call<'a>(intake: &'a Intake<'_>, body: &'a HeldBody) -> Call<'a> {
    let Intake { head, correlation_id, source, certificate, trail, .. } = intake;
    Call { headers: &head.headers, body, correlation_id, source: *source, certificate: certificate.as_deref(), trail }
}

async fn decide(decides: Decides, app: &App, call: &Call<'_>) -> Result<Response, Refusal> {
    match decides {
        Decides::Token => exchange::token(&app.sts, call).await.map(|token| answer::json(&token)),
        Decides::Introspect => exchange::introspect(&app.sts, call).await.map(|token| answer::json(&token)),
        Decides::Revoke => exchange::revoke(&app.sts, call).await.map(|()| answer::empty()),
    }
}

fn refuse(intake: &Intake<'_>, refusal: &Refusal, body: &HeldBody) -> Response {
    if refusal.kind() == ErrorKind::Unavailable {
        intake.log_outage(refusal.reason(), refusal.detail());
    } else {
        intake.log_refusal(refusal.reason(), || About {
            detail: refusal.detail(),
            claimed_client_id: claimed_client(&intake.app.sts, &call(intake, body)),
            claimed: Claimed::of(refusal, body),
        });
    }
    let is_used = intake.head.headers.contains_key(AUTHORIZATION);
    answer::refusal(refusal, if is_used { UsedHeader::Authorization } else { UsedHeader::None })
}

fn outcome(kind: ErrorKind) -> RequestOutcome {
    match kind {
        ErrorKind::TooMany => RequestOutcome::Limited,
        ErrorKind::Unavailable => RequestOutcome::Unavailable,
        ErrorKind::Request
        | ErrorKind::Token
        | ErrorKind::Target
        | ErrorKind::Scope
        | ErrorKind::Details
        | ErrorKind::Interaction
        | ErrorKind::Pending
        | ErrorKind::PollRate
        | ErrorKind::Deferral
        | ErrorKind::Denied
        | ErrorKind::Grant
        | ErrorKind::UnsupportedGrant
        | ErrorKind::Client
        | ErrorKind::Proof
        | ErrorKind::ProofNonce
        | ErrorKind::Binding
        | ErrorKind::TokenSize => RequestOutcome::Refused,
    }
}

/// Reads the body. Checks the rate limit of the source before the first byte.
async fn read(intake: &Intake<'_>, body: Body) -> Result<HeldBody, Unserved<Refusal>> {
    if let Err(limited) = intake.app.sts.rates().admit_source(intake.source) {
        body::leave(intake.peer);
        return Err(Unserved::Refused(limited.into()));
    }
    let charset = check_head(intake).inspect_err(|_| body::leave(intake.peer))?;
    let body = intake.read(body).await.map_err(IntakeFault::from)?;
    if charset == Charset::AsciiCompatible && !is_ascii(&body) {
        return Err(IntakeFault::Charset.into());
    }
    Ok(body)
}

fn check_head(intake: &Intake<'_>) -> Result<Charset, IntakeFault> {
    let head = intake.head;
    if head.method != Method::POST {
        return Err(IntakeFault::Method);
    }
    // RFC 6749 §3.2: parameters are in the body, never in the URI.
    if head.uri.query().is_some() {
        return Err(IntakeFault::Query);
    }
    let charset = charset(&head.headers, FORM).ok_or(IntakeFault::ContentType)?;
    if head.headers.contains_key(CONTENT_ENCODING) {
        return Err(IntakeFault::ContentEncoding);
    }
    Ok(charset)
}

/// Drops empty headers, which count as absent like empty parameters. Keeps `DPoP`: a client that sends it expects a bound
/// token, so that an empty one is an invalid proof.
fn drop_blank_headers(headers: &mut HeaderMap) {
    let is_blank =
        |(name, value): &(&HeaderName, &HeaderValue)| value.as_bytes().trim_ascii().is_empty() && name.as_str() != DPOP;
    if headers.iter().any(|header| is_blank(&header)) {
        let kept = headers.iter().filter(|header| !is_blank(header));
        *headers = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    }
}
