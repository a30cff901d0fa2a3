//! Tokens that this service minted.

use jiff::Timestamp;
use serde::Deserialize as _;
use sts_jose::{Slot, UnverifiedToken, VerifiedToken};
use sts_protocol::{AccessTokenClaims, TokenType};

use super::{SubjectError, VerifyContext, values};
use crate::declared_slot::declared_slot;
use crate::keys::KeyRing;
use crate::policy::{Authentication, HeldDetails, HeldScope, Subject, VerifiedSubject};
use crate::record::Standing;
use crate::registry::{Agent, Delegation, Registry};
use crate::storage::TokenReference;

/// A token of this service that is valid now.
#[derive(Debug)]
pub struct OwnToken {
    /// The claims of the token.
    pub claims: AccessTokenClaims,
    token: VerifiedToken,
    times: sts_jose::Times,
}

/// Verifies a token of this service: signature, kind, times and claims. Does not check its address
/// or revocations.
///
/// # Errors
/// [`SubjectError`]: `NotOurs`, `Typ`, `Time` or `Claims`.
pub fn own_token(ring: &KeyRing, token: UnverifiedToken<'_>, now: Timestamp) -> Result<OwnToken, SubjectError> {
    let token = ring.verify(token).ok_or(SubjectError::NotOurs)?;
    if !Slot::IssuedToken.accepts(token.header().typ.as_deref()) {
        return Err(SubjectError::Typ);
    }
    let times = token.claims().times(now).map_err(SubjectError::Time)?;
    let claims = AccessTokenClaims::deserialize(token.claims().as_map()).map_err(SubjectError::Claims)?;
    Ok(OwnToken { claims, token, times })
}

/// Checks that the registry entries behind a token of this service still allow it. These are the
/// issuer of its user with the asserted tenant, the agent that it was issued to, and the
/// delegation.
///
/// # Errors
/// [`SubjectError`]: `PrincipalIssuer`, `TenantOutside`, `CurrentActor` or `Delegation`.
pub fn check_parties(registry: &Registry, claims: &AccessTokenClaims) -> Result<(), SubjectError> {
    if let Some(principal) = &claims.sub_id {
        let issuer = registry.issuer(&principal.iss).filter(|issuer| !issuer.disabled);
        if !issuer.ok_or(SubjectError::PrincipalIssuer)?.tenants.contain(claims.tenant_id.as_ref()) {
            return Err(SubjectError::TenantOutside);
        }
    }
    if registry.acting(&claims.client_id).is_none_or(|agent| agent.disabled) {
        return Err(SubjectError::CurrentActor);
    }
    let target = registry.target([claims.aud.as_str()].into_iter()).ok().flatten();
    let delegations = target.map_or(&[][..], |target| registry.delegations(&claims.client_id, &target.id));
    if delegations.iter().any(|delegation| allows(registry, delegation, claims)) {
        return Ok(());
    }
    Err(SubjectError::Delegation)
}

/// Returns true if a delegation between the token's agent and target covers the token. It must
/// cover the user's issuer and tenant, or the service account.
fn allows(registry: &Registry, delegation: &Delegation, claims: &AccessTokenClaims) -> bool {
    if delegation.disabled {
        return false;
    }
    let Some(principal) = &claims.sub_id else {
        let mut tenants = claims.tenant_ids.iter().flatten().map(Some).peekable();
        let none = tenants.peek().is_none().then_some(None);
        return delegation.service_account && tenants.chain(none).all(|tenant| delegation.tenants.contain(tenant));
    };
    registry.covers_users_of(delegation, &principal.iss) && delegation.tenants.contain(claims.tenant_id.as_ref())
}

/// Returns the properties of a token of this service that a revocation can match.
#[must_use]
pub fn own_standing(claims: &AccessTokenClaims) -> Standing {
    let mut agents = Standing::agents_of(claims.act.as_ref(), &claims.iss);
    agents.push(claims.client_id.clone());
    let tenants = claims.tenant_id.iter().chain(claims.tenant_ids.iter().flatten());
    Standing {
        token: TokenReference { iss: claims.iss.clone(), jti: claims.jti.clone() },
        lineage: None,
        txn: Some(claims.txn.clone()),
        principal: claims.sub_id.as_ref().map(|principal| (principal.iss.clone(), principal.sub.clone())),
        sub: claims.sub.clone(),
        agents,
        tenants: tenants.map(ToString::to_string).collect(),
        issued_at: Timestamp::from_second(claims.iat).ok(),
    }
}

pub(super) fn subject(
    context: &VerifyContext<'_>,
    token: UnverifiedToken<'_>,
    declared: TokenType,
    presenter: &Agent,
) -> Result<VerifiedSubject, SubjectError> {
    let own = own_token(context.ring, token, context.now)?;
    if !declared_slot(declared).accepts(own.token.header().typ.as_deref()) {
        return Err(SubjectError::Typ);
    }
    let binding = values::binding(own.token.claims())?;
    let claims = own.claims;
    if claims.act.is_some() && !presenter.is_addressed_by(&claims.aud) {
        return Err(SubjectError::NotAddressed(presenter.id.clone()));
    }
    check_parties(context.registry, &claims)?;
    let (Some(act), Some(principal)) = (claims.act, claims.sub_id) else { return Err(SubjectError::ServiceAccount) };
    let subject = Subject {
        token: TokenReference { iss: claims.iss, jti: claims.jti },
        sub: claims.sub,
        principal,
        scope: HeldScope::Scope(claims.scope),
        details: HeldDetails::Details(claims.authorization_details),
        roles: claims.roles,
        tenant: claims.tenant_id,
        act: Some(act),
        may_act: None,
        issued_at: own.times.iat,
        expires_at: own.times.exp,
        txn: Some(claims.txn),
        binding,
        authentication: Authentication { auth_time: claims.auth_time, acr: claims.acr, amr: claims.amr },
    };
    Ok(VerifiedSubject::new(&own.token, subject))
}
