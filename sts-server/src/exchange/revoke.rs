//! Revocation (RFC 7009): revokes a token with every descendant, at once and on every server.

use std::sync::Arc;

use jiff::Timestamp;
use sts_jose::UnverifiedToken;
use sts_protocol::{AccessTokenClaims, Form, parameter};

use super::commit::{refuse, spend};
use super::describe::{describe_call, describe_client, describe_duration};
use super::refusal::RevokeError;
use super::request::refuse_not_honoured;
use super::{Call, Refusal, RequestError};
use crate::client_auth::{self, ProofEndpoint};
use crate::record::{AuditWriter, Event, EventKind};
use crate::registry::Agent;
use crate::service::{Sts, View};
use crate::storage::{RevocationKind, RevocationRow, forget_at};
use crate::verify::own_token;

/// The object of a revocation by an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// The kind of the object.
    pub kind: RevocationKind,
    /// The issuer in whose namespace `value` is a name, if the kind needs an issuer.
    pub issuer: Option<String>,
    /// The name of the object.
    pub value: String,
}

/// Answers a request to the revocation endpoint, after the commit is visible on this server.
///
/// A token that is expired, not ours or malformed needs no revocation: that is a success (RFC 7009
/// §2.2).
///
/// # Errors
/// [`Refusal`]; [`Refusal::NotTheClients`] for a token that was issued to another agent (RFC 7009
/// §2.1).
pub async fn revoke(sts: &Sts, call: &Call<'_>) -> Result<(), Refusal> {
    let view = sts.view();
    let form = Form::parse(call.body)?;
    let mut client = client_auth::authenticate(&view.client_context(), call.source, call.headers, &form).await?;
    let mut event = describe_call(EventKind::Revoked, call, view.now);
    describe_client(&mut event, &client);
    describe_duration(&mut event, call.trail);
    let proven = client.prove(&view.client_context(), call.headers, ProofEndpoint::Revocation);
    let claims = match proven.map_err(Refusal::from).and_then(|()| revocable(&view, &form, client.agent())) {
        Ok(claims) => claims,
        Err(refusal) => return Err(refuse(&view, call, refusal, event, client.single_use().to_vec()).await),
    };
    match spend(&view, &client).await {
        Ok(()) => {}
        // A single-use value is already spent, or its credential is revoked.
        Err(refusal @ (Refusal::Replayed(_) | Refusal::RevokedMeanwhile(_))) => {
            return Err(refuse(&view, call, refusal, event, Vec::new()).await);
        }
        Err(refusal) => return Err(refusal),
    }
    let Some(claims) = claims else { return Ok(()) };
    event.jti = Some(claims.jti.clone());
    event.txn = Some(claims.txn.clone());
    Ok(commit_revocation(sts, &row(claims, view.now), &event).await?)
}

/// Commits a revocation with its event, and returns when this server has read it.
async fn commit_revocation(sts: &Sts, row: &RevocationRow, event: &Event) -> Result<(), RevokeError> {
    let audit = AuditWriter::seal_alone(sts.master.audit(), &*sts.entropy, event);
    let (store, row) = (Arc::clone(&sts.store), row.clone());
    // Runs in a task of its own, so that a disconnect or a deadline does not cancel the commit.
    let committed = tokio::spawn(async move { store.revoke(&row, &[audit]).await });
    committed.await.or(Err(RevokeError::Ended))??;
    Ok(sts.refresh().await?)
}

/// Returns the claims of the token to revoke, or `None` if nothing needs a revocation.
fn revocable(view: &View<'_>, form: &Form, client: &Agent) -> Result<Option<AccessTokenClaims>, Refusal> {
    refuse_not_honoured(form)?;
    let token = form.get(parameter::TOKEN).ok_or(RequestError::Missing(parameter::TOKEN))?;
    let parsed = UnverifiedToken::parse(token).ok();
    let own = parsed.and_then(|token| own_token(&view.snapshot.ring, token, view.now).ok());
    match own.map(|own| own.claims) {
        Some(claims) if claims.client_id != client.id => Err(Refusal::NotTheClients),
        claims => Ok(claims),
    }
}

/// Returns the row that revokes a client's token. It is kept until the token would have expired.
fn row(claims: AccessTokenClaims, now: Timestamp) -> RevocationRow {
    RevocationRow {
        kind: RevocationKind::Token,
        issuer: Some(claims.iss),
        value: claims.jti,
        at: now,
        expires_at: forget_at(Timestamp::from_second(claims.exp).unwrap_or(Timestamp::MAX)),
        version: 0,
        txn: None,
    }
}
