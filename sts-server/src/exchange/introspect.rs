//! Introspection (RFC 7662) of tokens that this service issued.

use sts_jose::UnverifiedToken;
use sts_protocol::{AccessTokenClaims, Confirmation, Form, IntrospectedToken, IntrospectionResponse, parameter};

use super::commit::spend;
use super::lineage::refuses;
use super::request::refuse_not_honoured;
use super::{Call, Refusal, RequestError};
use crate::client_auth::{self, ProofEndpoint};
use crate::registry::Agent;
use crate::service::{Snapshot, SnapshotError, Sts, View};
use crate::verify::{check_parties, own_standing, own_token};

/// Answers a request to the introspection endpoint: the content of the token, or exactly
/// `{"active":false}`.
///
/// # Errors
/// [`Refusal`] if the request is malformed or its client is not authenticated; never because of the
/// token.
pub async fn introspect(sts: &Sts, call: &Call<'_>) -> Result<IntrospectionResponse, Refusal> {
    let form = Form::parse(call.body)?;
    sts.refresh_if_stale().await?;
    sts.confirm()?;
    let view = sts.view();
    let context = view.client_context();
    let mut client = client_auth::authenticate(&context, call.source, call.headers, &form).await?;
    client.prove(&context, call.headers, ProofEndpoint::Introspection)?;
    spend(&view, &client).await?;
    refuse_not_honoured(&form)?;
    let token = form.get(parameter::TOKEN).ok_or(RequestError::Missing(parameter::TOKEN))?;
    Ok(match active(&view, token, client.agent()).await? {
        Some(claims) => {
            let token_type = Confirmation::token_type(claims.cnf.as_ref()).to_owned();
            IntrospectionResponse { active: true, token: Some(IntrospectedToken { token_type, claims }) }
        }
        None => IntrospectionResponse::default(),
    })
}

/// Returns the claims of a token that is ours, unexpired, in good standing, and visible to the
/// agent that asks.
async fn active(view: &View<'_>, token: &str, asker: &Agent) -> Result<Option<AccessTokenClaims>, SnapshotError> {
    let parsed = UnverifiedToken::parse(token).ok();
    let own = parsed.and_then(|token| own_token(&view.snapshot.ring, token, view.now).ok());
    let may_know = |claims: &AccessTokenClaims| asker.is_addressed_by(&claims.aud) || claims.client_id == asker.id;
    let known = own.map(|own| own.claims).filter(|claims| may_know(claims) && stands(&view.snapshot, claims));
    let Some(claims) = known else { return Ok(None) };
    let refused = refuses(view, &mut own_standing(&claims)).await?;
    Ok(refused.is_none().then_some(claims))
}

/// Returns true if the entries that the token depends on still allow it: the user's issuer, the
/// agent, the target and the delegation.
fn stands(snapshot: &Snapshot, claims: &AccessTokenClaims) -> bool {
    let target = snapshot.registry.target([claims.aud.as_str()].into_iter()).ok().flatten();
    let receives = |target: &Agent| !target.disabled && !snapshot.revocations.holds_agent(&target.id);
    target.is_some_and(|target| receives(target)) && check_parties(&snapshot.registry, claims).is_ok()
}
