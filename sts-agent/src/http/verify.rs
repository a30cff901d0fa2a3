//! `POST /v1/verify`: the caller of an inbound request.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use sts_client::inbound::PeerConnection;
use sts_client::{Caller, Kind, Possession, http};
use utoipa::ToSchema;

use super::answer::{self, Failure};
use super::{Api, asked};
use crate::header_pairs::HeaderPairs;
use crate::loaded::Presented;
use crate::traces;

/// An inbound request of the agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct VerifyRequest {
    /// All headers of the request, each as `[name, value]`.
    #[schema(value_type = Vec<Vec<String>>)]
    headers: HeaderPairs,
    /// The HTTP method of the request. A proof of possession (DPoP) needs it.
    method: Option<String>,
    /// The path and query of the request, as it arrived. A proof of possession (DPoP) needs it.
    path: Option<String>,
    /// The address of the peer of the connection. A client certificate needs it.
    peer: Option<String>,
}

/// The caller, and the key to the agent's calls on its behalf.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Verified {
    caller: VerifiedCaller,
    /// The headers to send as `inbound` with the agent's own calls, unchanged. They hold the
    /// caller's token.
    #[schema(value_type = Vec<Vec<String>>)]
    inbound: HeaderPairs,
}

/// The verified caller.
#[derive(Debug, Serialize, ToSchema)]
struct VerifiedCaller {
    /// `user`, or `service_account` for an agent on its own behalf.
    kind: &'static str,
    /// The principal, under the issuer that first named it.
    subject: Principal,
    /// The issuer of the token.
    issuer: String,
    /// The agent that acts now. Absent if the user calls directly.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<Principal>,
    /// The agents that acted before, the latest first. For the audit log only.
    prior_actors: Vec<Principal>,
    /// The verified tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<String>,
    /// The scopes of the token.
    scope: Vec<String>,
    /// The roles of the caller.
    roles: Vec<String>,
    /// The way in which the caller proved that it may use its token: `bearer`, `dpop` or
    /// `certificate`.
    possession: &'static str,
    /// The transaction id, which all hops after one first hop share.
    #[serde(skip_serializing_if = "Option::is_none")]
    txn: Option<String>,
    /// The identifier of the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<String>,
    /// The authentication context class of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    /// The time at which the token expires, in seconds since 1970.
    expires_at: i64,
    /// The identifier that joins the events of one user request.
    correlation_id: String,
    /// The idempotency key of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<String>,
}

/// A principal.
#[derive(Debug, Serialize, ToSchema)]
struct Principal {
    /// The issuer that names the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
    /// The name of the principal.
    sub: String,
}

/// Verifies the caller of an inbound request, or returns the refusal to answer it with.
#[utoipa::path(
    post,
    path = "/v1/verify",
    operation_id = "verify",
    request_body = VerifyRequest,
    responses((status = 200, description = "The caller.", body = Verified), Failure)
)]
pub(super) async fn verify(State(api): State<Api>, request: Request) -> Response {
    answer::timed("verify", async {
        let VerifyRequest { headers, method, path, peer } = asked::json(request.into_body()).await?;
        traces::join([&headers]);
        let presented = presented(method, path, peer)?;
        let (caller, inbound) = api.live.current().verify(headers, presented).await?;
        Ok(answer::json(&Verified { caller: VerifiedCaller::new(&caller), inbound }))
    })
    .await
}

/// Returns the parts of a request that the verification needs.
pub(super) fn presented(
    method: Option<String>,
    path: Option<String>,
    peer: Option<String>,
) -> Result<Presented, Failure> {
    let (method, path) = match (method, path) {
        (Some(method), Some(path)) => (asked::method(&method)?, path),
        (None, None) => return Ok(Presented::Headers),
        (Some(_), None) | (None, Some(_)) => return Err(Failure::invalid("method and path go together")),
    };
    let mut request = http::Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = path.parse().or(Err(Failure::invalid("path is no path of a request")))?;
    if let Some(peer) = peer {
        let address = peer.parse::<IpAddr>().or(Err(Failure::invalid("peer is no IP address")))?;
        request.extensions_mut().insert(PeerConnection::new(address));
    }
    Ok(Presented::Request(Box::new(request.into_parts().0)))
}

impl VerifiedCaller {
    fn new(caller: &Caller) -> Self {
        let principal =
            |actor: sts_client::Actor<'_>| Principal { iss: actor.iss.map(str::to_owned), sub: actor.sub.to_owned() };
        let subject = caller.subject();
        Self {
            kind: match caller.kind() {
                Kind::User => "user",
                Kind::ServiceAccount => "service_account",
            },
            subject: Principal { iss: Some(subject.iss.clone()), sub: subject.sub.clone() },
            issuer: caller.issuer().to_owned(),
            actor: caller.actor().map(principal),
            prior_actors: caller.prior_actors().for_audit().map(principal).collect(),
            tenant_id: caller.tenant().map(|tenant| tenant.as_str().to_owned()),
            scope: caller.scope().iter().map(ToString::to_string).collect(),
            roles: caller.roles().map(str::to_owned).collect(),
            possession: match caller.possession() {
                Possession::Bearer => "bearer",
                Possession::Dpop { .. } => "dpop",
                Possession::Certificate { .. } => "certificate",
                _ => "bound",
            },
            txn: caller.txn().map(str::to_owned),
            jti: caller.jti().map(str::to_owned),
            acr: caller.acr().map(str::to_owned),
            expires_at: caller.expires_at().as_second(),
            correlation_id: caller.correlation_id().as_str().to_owned(),
            idempotency_key: caller.idempotency_key().map(|key| key.as_str().to_owned()),
        }
    }
}
