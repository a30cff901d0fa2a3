//! Tokens of ours.

use serde_json::Value;
use sts_jose::{UnverifiedToken, VerifiedToken, typ_fits};
use sts_protocol::{AccessTokenClaims, TokenType};

use super::{Context, SubjectError, values};
use crate::keys::KeyRing;
use crate::policy::{Authentication, HeldScope, Subject, VerifiedSubject};
use crate::registry::Agent;
use crate::storage::TokenReference;

/// The `typ` of the tokens that this service mints (RFC 9068 §2.1).
const OWN_TYP: &[&str] = &["at+jwt"];

/// A token of ours that is alive.
#[derive(Debug)]
pub struct OwnToken {
    /// What it says.
    pub claims: AccessTokenClaims,
    token: VerifiedToken,
    times: sts_jose::Times,
}

/// Verifies a token of ours: signature, kind, times, claims. Not its address, and not whether it stands revoked.
///
/// # Errors
/// [`SubjectError`]: `NotOurs`, `Typ`, `Time` or `Claims`.
pub fn own_token(ring: &KeyRing, token: UnverifiedToken<'_>, now: jiff::Timestamp) -> Result<OwnToken, SubjectError> {
    let token = ring.verify(token).ok_or(SubjectError::NotOurs)?;
    if !typ_fits(token.header().typ.as_deref(), OWN_TYP) {
        return Err(SubjectError::Typ);
    }
    let times = token.claims().times(now).map_err(SubjectError::Time)?;
    let claims =
        serde_json::from_value(Value::Object(token.claims().as_map().clone())).map_err(SubjectError::Claims)?;
    Ok(OwnToken { claims, token, times })
}

pub(super) fn subject(
    context: &Context<'_>,
    token: UnverifiedToken<'_>,
    declared: TokenType,
    presenter: &Agent,
) -> Result<VerifiedSubject, SubjectError> {
    let own = own_token(context.ring, token, context.now)?;
    if !typ_fits(own.token.header().typ.as_deref(), declared.allowed_typ()) {
        return Err(SubjectError::Typ);
    }
    values::check_unbound(own.token.claims())?;
    let claims = own.claims;
    let (Some(act), Some(principal)) = (claims.act, claims.sub_id) else { return Err(SubjectError::ServiceAccount) };
    if !presenter.is_addressed_by(&claims.aud) {
        return Err(SubjectError::NotAddressed(presenter.id.clone()));
    }
    let issuer = context.registry.issuer(&principal.iss).filter(|issuer| !issuer.disabled);
    let issuer = issuer.ok_or(SubjectError::PrincipalIssuer)?;
    if !issuer.tenants.contain(claims.tenant_id.as_ref()) {
        return Err(SubjectError::TenantOutside);
    }
    if context.registry.agent(act.current().sub).is_none_or(|agent| agent.disabled) {
        return Err(SubjectError::CurrentActor);
    }
    let subject = Subject {
        token: TokenReference { iss: claims.iss, jti: claims.jti },
        sub: claims.sub,
        principal,
        scope: HeldScope::Scope(claims.scope),
        roles: claims.roles,
        tenant: claims.tenant_id,
        act: Some(act),
        may_act: None,
        issued_at: own.times.iat,
        expires_at: own.times.exp,
        txn: Some(claims.txn),
        authentication: Authentication { auth_time: claims.auth_time, acr: claims.acr, amr: claims.amr },
    };
    Ok(VerifiedSubject::new(&own.token, subject))
}
