//! The billing agent: drafts refunds for whoever brings a sealed message, and the token of a user who may have one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sts_client::envelope::{AgentKeys, Capability, Envelopes, Needs, OpenError, Peer, Reason, ServeError};
use sts_client::events::EventSinks;
use sts_client::inbound::Issuer;
use sts_client::{Caller, ScopeToken, Verifier};
use url::Url;

/// Its id at the STS, and its audience.
pub const NAME: &str = "billing";

/// The action of a large draft, for which the registry requires an approval.
pub const DRAFT_LARGE: &str = "draft_large";

/// What it is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Refund {
    /// The order that money is given back for.
    pub order: String,
    /// How much.
    pub cents: u32,
}

/// What it answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drafted {
    /// The draft's number.
    pub draft: u32,
}

/// The agent.
#[derive(Clone)]
pub struct Billing {
    envelopes: Envelopes,
    drafts: Arc<AtomicU32>,
}

impl Billing {
    /// Declares once what each capability needs. The keys of the other agent are found where that publishes them.
    pub fn new(keys: AgentKeys, support_keys: Url, sinks: EventSinks) -> anyhow::Result<Self> {
        let draft = || ScopeToken::new("refund:draft");
        let large = Needs::scopes([draft()?])
            .approved_action(DRAFT_LARGE, |action, refund: &Refund| action.limit("cents", refund.cents));
        let envelopes = Envelopes::builder(NAME, keys)
            .peer(Peer::at("support", support_keys))
            .capability(Capability::Read, Needs::scopes([ScopeToken::new("refund:read")?]))
            .capability(Capability::ToolCall, Needs::scopes([draft()?]))
            .capability(Capability::WorkflowCommand, large)
            .events(sinks)
            .build()?;
        Ok(Self { envelopes, drafts: Arc::default() })
    }

    /// Its HTTP server: messages of callers whose token the verifier let in, and its public keys for everybody.
    pub fn router(&self, verifier: &Verifier) -> Router {
        let keys = self.envelopes.keys().clone();
        let messages = Router::new().route("/messages", post(receive)).with_state(self.clone()).layer(verifier.layer());
        messages.route("/jwks", get(move || std::future::ready(Json(keys.jwks()))))
    }

    /// How many refunds were drafted.
    pub fn drafts(&self) -> u32 {
        self.drafts.load(Ordering::Relaxed)
    }

    /// Its envelopes.
    pub fn envelopes(&self) -> &Envelopes {
        &self.envelopes
    }

    async fn draft(&self, _refund: Refund) -> Result<Drafted, std::convert::Infallible> {
        Ok(Drafted { draft: self.drafts.fetch_add(1, Ordering::Relaxed) + 1 })
    }
}

/// Whom it believes: the STS alone.
pub fn verifier(sts: &str, sinks: EventSinks) -> anyhow::Result<Verifier> {
    Ok(Verifier::builder([NAME]).issuer(Issuer::sts(sts)).events(sinks).build()?)
}

/// A message: opened or refused, and if opened, served.
async fn receive(caller: Caller, State(billing): State<Billing>, envelope: String) -> Response {
    let opened = match billing.envelopes.open(&envelope, &caller).await {
        Ok(opened) => opened,
        Err(error) => return refuse(&error),
    };
    match opened.serve(move |refund| async move { billing.draft(refund).await }).await {
        Ok(answer) => answer.into_response(),
        Err(ServeError::Schema(_)) => say(StatusCode::UNPROCESSABLE_ENTITY, "validation_error"),
        Err(ServeError::Handler(never)) => match never {},
        Err(ServeError::Seal(_) | ServeError::Panicked) => say(StatusCode::INTERNAL_SERVER_ERROR, "not_answered"),
    }
}

/// A refusal says which; an outage says that it is one.
fn refuse(error: &OpenError) -> Response {
    let status = match error.reason() {
        Some(Reason::ApprovalRequired) => StatusCode::PRECONDITION_FAILED,
        Some(Reason::Replay) => StatusCode::CONFLICT,
        Some(Reason::MissingTraceOrIdempotency) => StatusCode::BAD_REQUEST,
        Some(_) => StatusCode::FORBIDDEN,
        None => StatusCode::SERVICE_UNAVAILABLE,
    };
    say(status, error.as_str())
}

fn say(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}
