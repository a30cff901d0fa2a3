//! The support agent: users talk to it, and it asks billing on their behalf, in sealed messages.

use axum::routing::get;
use axum::{Json, Router};
use http::{HeaderMap, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};
use sts_client::envelope::{AgentKeys, Capability, Envelopes, Message, Peer, Sealed};
use sts_client::inbound::Issuer;
use sts_client::{CallContext, CorrelationId, IdempotencyKey, Propagator, Route, Scope, Sts, SystemEntropy, Verifier};
use url::Url;

use crate::till::Refund;
use crate::{billing, till};

/// Its id at the STS.
pub const NAME: &str = "support";

/// The agent.
pub struct Support {
    verifier: Verifier,
    propagator: Propagator,
    envelopes: Envelopes,
    http: reqwest::Client,
    billing: Url,
    till: Url,
}

/// The URLs of the agents that it calls.
pub struct Places {
    /// The billing agent, whose keys are at `/jwks` there.
    pub billing: Url,
    /// The tools that pay.
    pub till: Url,
}

/// A call that is ready to go out: the headers that speak for the user, and the sealed message that belongs to them.
pub struct Call {
    /// The headers.
    pub headers: HeaderMap,
    /// The message, and what opens its answer.
    pub sealed: Sealed,
}

/// What it has to say.
pub struct Ask<'a> {
    /// What it asks for.
    pub capability: Capability,
    /// The scopes that it makes use of.
    pub scopes: &'a str,
    /// Names the operation.
    pub idempotency_key: &'a str,
    /// The payload.
    pub payload: Value,
    /// The authorization details that its token must have.
    pub details: Value,
}

impl Support {
    /// Sets it up for the agents at these places.
    pub async fn new(keys: AgentKeys, idp: &str, sts: Sts, places: Places) -> anyhow::Result<Self> {
        let Places { billing, till } = places;
        let users = Issuer::new(idp).tenant_claim("org_id").scope_claim("scope");
        let routes = [Route::to(billing.clone()).audience(billing::NAME), Route::to(till.clone()).audience(till::NAME)];
        let [to_billing, to_till] = routes;
        Ok(Self {
            verifier: Verifier::builder(["shop-app"]).issuer(users).build()?,
            propagator: Propagator::builder().sts(sts).route(to_billing).route(to_till).build().await?,
            envelopes: Envelopes::builder(NAME, keys).peer(Peer::at(billing::NAME, billing.join("/jwks")?)).build()?,
            http: reqwest::Client::builder().no_proxy().build()?,
            billing: billing.join("/messages")?,
            till,
        })
    }

    /// Its public keys, for everybody.
    pub fn router(keys: AgentKeys) -> Router {
        Router::new().route("/jwks", get(move || std::future::ready(Json(keys.jwks()))))
    }

    /// Gets ready to ask billing on a user's behalf: the user's token is verified and exchanged, and the message sealed for what came of
    /// it.
    pub async fn prepare(&self, user: &str, ask: &Ask<'_>) -> anyhow::Result<Call> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {user}"))?);
        let caller = self.verifier.verify(&headers).await?;
        let context =
            CallContext::from(&caller).with_authorization_details(serde_json::from_value(ask.details.clone())?);
        self.propagator.apply(&context, &self.billing, &mut headers).await?;
        let payload = serde_json::to_vec(&ask.payload)?;
        let message = Message {
            capability: ask.capability,
            scopes: ask.scopes.parse::<Scope>()?,
            trace_id: caller.correlation_id(),
            idempotency_key: &key(ask.idempotency_key)?,
            payload: &payload,
            payload_uri: None,
        };
        let sealed = self.envelopes.seal(billing::NAME, &headers, &message).await?;
        Ok(Call { headers, sealed })
    }

    /// The authorization details for a large draft, which a person must approve first. A token with them opens one message: of this key and
    /// exactly this payload.
    pub fn details_for_large(&self, idempotency_key: &str, refund: &billing::Refund) -> anyhow::Result<Value> {
        let payload = serde_json::to_vec(&json(refund)?)?;
        let identifier = self.envelopes.approval_identifier(&key(idempotency_key)?, &payload);
        Ok(json!([{
            "type": "message", "actions": [billing::DRAFT_LARGE], "identifier": identifier,
            "limits": { "cents": refund.cents },
        }]))
    }

    /// The headers of a refund on a user's behalf, with a token for this refund alone. Where a person must approve it first, the error is
    /// `Error::ApprovalRequired`.
    pub async fn headers_for_refund(&self, user: &str, refund: &Refund) -> anyhow::Result<HeaderMap> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {user}"))?);
        let caller = self.verifier.verify(&headers).await?;
        let details = json!([{
            "type": "mcp_tool", "actions": [refund.tool()], "identifier": refund.order, "limits": { "amount": refund.amount },
        }]);
        let context = CallContext::from(&caller).with_authorization_details(serde_json::from_value(details)?);
        self.propagator.apply(&context, &self.till, &mut headers).await?;
        Ok(headers)
    }

    /// Sends a message: what came back, or the error that did.
    pub async fn send(&self, headers: &HeaderMap, envelope: &str) -> anyhow::Result<Result<String, String>> {
        let request = self.http.post(self.billing.clone()).headers(headers.clone()).body(envelope.to_owned());
        let answer = request.send().await?;
        let is_success = answer.status().is_success();
        let text = answer.text().await?;
        if is_success {
            return Ok(Ok(text));
        }
        let body: Value = serde_json::from_str(&text)?;
        Ok(Err(body.get("error").and_then(Value::as_str).unwrap_or("no error").to_owned()))
    }
}

/// An idempotency key.
pub fn key(text: &str) -> anyhow::Result<IdempotencyKey> {
    IdempotencyKey::from_text(text).ok_or_else(|| anyhow::anyhow!("no idempotency key"))
}

/// A fresh id.
pub fn fresh_id() -> String {
    CorrelationId::random(&SystemEntropy).to_string()
}

/// A payload as JSON.
pub fn json(payload: &impl Serialize) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(payload)?)
}
