//! `/admin/v1/revocations`: the revocations.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::{ReadProblems, WriteProblems};
use super::pages::Page;
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{Denied, Named, NotRevoked, RevocationDone, StandingRevocation};
use crate::config::Role;
use crate::document::FieldFault;

/// A page of the revocations in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevocationList {
    /// The revocations, ordered by the name of their object.
    revocations: Vec<StandingRevocation>,
    /// The `after` of the next page. Absent if there is no next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// Lists the revocations in force.
#[utoipa::path(
    get,
    path = "/revocations",
    operation_id = "list_revocations",
    tag = "revocations",
    params(
        ("limit" = Option<u32>, Query, description = "The maximum number of elements, 1 to 1000.", minimum = 1, maximum = 1000),
        ("after" = Option<String>, Query, description = "`next` of the answer before. Without it, the list begins.")
    ),
    responses((status = 200, description = "A page of the revocations in force.", body = RevocationList), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let request = asked.page()?;
        let Page { elements, next } = request.page(api.administration.revocations().await?, key);
        Ok::<_, Refused>(answer::json(&RevocationList { revocations: elements, next }))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Returns the place of a revocation in the list. A token may be revoked alone and with others.
fn key(revocation: &StandingRevocation) -> String {
    let (kind, name) = revocation.name();
    let issuer = revocation.issuer.as_deref().unwrap_or_default();
    format!("{kind}\n{name}\n{issuer}\n{}\n{:?}", revocation.at, revocation.expires_at)
}

/// Revokes a token, a transaction, or the tokens of a user, an agent, a tenant or the agents of an
/// owner.
///
/// The revocation applies here before the response, and on every server within a second. With
/// `hold`, tokens of the user, agent or tenant that are issued later are refused too.
#[utoipa::path(
    post,
    path = "/revocations",
    operation_id = "revoke",
    tag = "revocations",
    request_body = Named,
    responses((status = 200, description = "The revocation is in force.", body = RevocationDone), WriteProblems)
)]
pub(super) async fn revoke(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let named = Named::read(&asked.object()?)?;
        let done = api.administration.revoke_named(&named, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::json(&done))
    };
    call::answer(api, request, Role::Operator, act).await
}

/// Lifts exactly the named revocation.
#[utoipa::path(
    delete,
    path = "/revocations",
    operation_id = "lift_revocation",
    tag = "revocations",
    params(
        ("jti" = Option<String>, Query, description = "A token."),
        ("txn" = Option<String>, Query, description = "A transaction."),
        ("sub" = Option<String>, Query, description = "A user."),
        ("agent" = Option<String>, Query, description = "An agent."),
        ("tenant" = Option<String>, Query, description = "A tenant."),
        ("owner" = Option<String>, Query, description = "The owner of agents."),
        ("issuer" = Option<String>, Query, description = "The issuer of the token or user, as in the revocation.")
    ),
    responses((status = 204, description = "The revocation is lifted."), WriteProblems)
)]
pub(super) async fn lift(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let query = asked.query(&["jti", "txn", "sub", "agent", "tenant", "owner", "issuer"])?;
        let get = |name: &str| query.get(name).map(str::to_owned);
        let named = Named {
            jti: get("jti"),
            txn: get("txn"),
            sub: get("sub"),
            agent: get("agent"),
            tenant: get("tenant"),
            owner: get("owner"),
            issuer: get("issuer"),
            ..Named::default()
        };
        let in_query = |error: NotRevoked| match error {
            NotRevoked::Wrong(wrong) => Denied::Parameters(vec![FieldFault::of(wrong.parameter, wrong.message)]),
            error => error.into(),
        };
        if !api.administration.lift_named(&named, &asked.by).await.map_err(in_query)? {
            return Err(Denied::NotFound.into());
        }
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::gone())
    };
    call::answer(api, request, Role::Operator, act).await
}
