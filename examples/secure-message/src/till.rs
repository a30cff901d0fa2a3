//! The till: a server of tools. A token serves the one tool that it names, for one order and within its limits.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sts_client::inbound::{Issuer, Refusal};
use sts_client::{Caller, RequiredAction, Verifier};

/// Its id at the STS, and its audience.
pub const NAME: &str = "till";
/// The greatest refund that needs no approval.
pub const SMALL: u32 = 100;

/// The refund that is asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refund {
    /// The order that money is given back for.
    pub order: String,
    /// The amount.
    pub amount: u32,
}

impl Refund {
    /// The tool for it: a large refund is a tool of its own, which the registry can require an approval for.
    pub fn tool(&self) -> &'static str {
        if self.amount <= SMALL { "refund" } else { "refund_large" }
    }

    /// The action that a token must permit.
    fn action(&self) -> RequiredAction {
        RequiredAction::new(self.tool()).identifier(&self.order).limit("amount", self.amount)
    }
}

/// The orders that were paid back.
type Paid = Arc<Mutex<HashSet<String>>>;

/// Its HTTP server: for callers whose token is one of the STS for it.
pub fn router(sts: &str) -> anyhow::Result<Router> {
    let verifier = Verifier::builder([NAME]).issuer(Issuer::sts(sts)).build()?;
    let tools = Router::new().route("/refund", post(refund)).route("/delete_customer", post(delete_customer));
    Ok(tools.with_state(Paid::default()).layer(verifier.layer()))
}

/// Pays an order back once.
async fn refund(caller: Caller, State(paid): State<Paid>, Json(refund): Json<Refund>) -> Result<Response, Refusal> {
    caller.require_action(refund.action())?;
    let is_first = paid.lock().unwrap_or_else(PoisonError::into_inner).insert(refund.order);
    if is_first {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    Ok((StatusCode::CONFLICT, Json(json!({ "error": "already_refunded" }))).into_response())
}

async fn delete_customer(caller: Caller) -> Result<StatusCode, Refusal> {
    caller.require_action("delete_customer")?;
    Ok(StatusCode::NO_CONTENT)
}
