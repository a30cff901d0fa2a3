//! `/admin/v1/revocations`: the revocations.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;

use super::call::{self, Asked};
use super::openapi::{ReadProblems, WriteProblems};
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::{Denied, Named, RevocationDone, StandingRevocation, Wrong};
use crate::config::Role;
use crate::document::FieldFault;

/// The revocations in force.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RevocationList {
    /// The revocations, in no particular order.
    revocations: Vec<StandingRevocation>,
}

/// Lists the revocations in force.
#[utoipa::path(
    get,
    path = "/revocations",
    operation_id = "list_revocations",
    tag = "revocations",
    responses((status = 200, description = "The revocations in force.", body = RevocationList), ReadProblems)
)]
pub(super) async fn list(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::json(&RevocationList { revocations: api.administration.revocations().await? }))
    };
    call::answer(api, request, Role::Reader, act).await
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
        let in_body = |wrong: Wrong| {
            let pointer = if wrong.parameter.is_empty() { String::new() } else { format!("/{}", wrong.parameter) };
            Denied::Faults(vec![FieldFault::at(pointer, wrong.message)])
        };
        let each = api.administration.each_of(named).await?;
        let requests = each.iter().map(|named| named.request(api.administration.issuer()));
        let requests = requests.collect::<Result<Vec<_>, _>>().map_err(in_body)?;
        let done = api.administration.revoke_each(&requests, &asked.by).await?;
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
        ("issuer" = Option<String>, Query, description = "The issuer of the token or user, as in the revocation.")
    ),
    responses((status = 204, description = "The revocation is lifted."), WriteProblems)
)]
pub(super) async fn lift(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let query = asked.query(&["jti", "txn", "sub", "agent", "tenant", "issuer"])?;
        let get = |name: &str| query.get(name).map(str::to_owned);
        let named = Named {
            jti: get("jti"),
            txn: get("txn"),
            sub: get("sub"),
            agent: get("agent"),
            tenant: get("tenant"),
            issuer: get("issuer"),
            ..Named::default()
        };
        let in_query = |wrong: Wrong| Denied::Parameters(vec![FieldFault::of(wrong.parameter, wrong.message)]);
        let revocation = named.revocation(api.administration.issuer()).map_err(in_query)?;
        if !api.administration.lift(&revocation, &asked.by).await? {
            return Err(Denied::NotFound.into());
        }
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::gone())
    };
    call::answer(api, request, Role::Operator, act).await
}
