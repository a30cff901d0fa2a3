//! The handlers that the three kinds of entry share.

use axum::extract::Request;
use axum::response::Response;

use super::call::{self, Asked};
use super::refused::Refused;
use super::{AdminApi, answer};
use crate::admin::PutEntry;
use crate::config::Role;
use crate::storage::EntryKind;

/// Answers with all entries of a kind.
pub(super) async fn list(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::entries(api.administration.entries(kind).await?))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Answers with one entry.
pub(super) async fn get(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        Ok::<_, Refused>(answer::entry(&api.administration.entry(kind, &asked.id()?).await?))
    };
    call::answer(api, request, Role::Reader, act).await
}

/// Stores an entry. Answers after the commit is visible on this server. An operator may only
/// disable and enable; an admin may change everything.
pub(super) async fn put(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let (id, body, precondition) = (asked.id()?, asked.object()?, asked.precondition()?);
        let role = asked.operator.role;
        let put = PutEntry { kind, id: &id, body: &body, precondition: &precondition, role };
        let (outcome, entry) = api.administration.put_entry(&put, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::put(outcome, &entry))
    };
    call::answer(api, request, Role::Operator, act).await
}

/// Deletes an entry. Answers after the commit is visible on this server.
pub(super) async fn delete(api: AdminApi, request: Request, kind: EntryKind) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        asked.query(&[])?;
        let (id, precondition) = (asked.id()?, asked.precondition()?);
        api.administration.delete_entry(kind, &id, &precondition, &asked.by).await?;
        api.app.sts.refresh().await?;
        Ok::<_, Refused>(answer::gone())
    };
    call::answer(api, request, Role::Admin, act).await
}
