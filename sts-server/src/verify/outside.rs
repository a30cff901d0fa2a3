//! Tokens of outside issuers: the first hop of a chain.

use sts_jose::{Claims, UnverifiedToken};
use sts_protocol::{Act, SubjectId, Tenant, TokenType, is_name};

use super::{SubjectError, VerifyContext, values};
use crate::declared_slot::declared_slot;
use crate::keys::OutsideToken;
use crate::policy::{HeldScope, Subject, VerifiedSubject};
use crate::registry::{Agent, Issuer, ScopesFrom};

pub(super) async fn subject(
    context: &VerifyContext<'_>,
    token: UnverifiedToken<'_>,
    declared: TokenType,
    presenter: &Agent,
) -> Result<VerifiedSubject, SubjectError> {
    let believed = context.trusted.believe(context.registry, token, context.now).await.map_err(SubjectError::Trust)?;
    let typ = believed.token.header().typ.as_deref();
    if !believed.issuer.issuer.slot(declared_slot(declared)).accepts(typ) {
        return Err(SubjectError::Typ);
    }
    let claims = believed.token.claims();
    check_kind(context, &believed)?;
    check_address(&believed.issuer.issuer, claims, presenter)?;
    let subject = read(context, &believed)?;
    Ok(VerifiedSubject::new(&believed.token, subject))
}

/// Rejects the token of a workload, and the token of another service's service account: neither
/// belongs to a user.
fn check_kind(context: &VerifyContext<'_>, believed: &OutsideToken) -> Result<(), SubjectError> {
    if !context.registry.is_user_issuer(&believed.issuer.issuer.issuer) {
        return Err(SubjectError::WorkloadIssuer);
    }
    let claims = believed.token.claims();
    if claims.get("tenant_ids").is_some() && claims.get("act").is_none() {
        return Err(SubjectError::ServiceAccount);
    }
    Ok(())
}

fn read(context: &VerifyContext<'_>, believed: &OutsideToken) -> Result<Subject, SubjectError> {
    let OutsideToken { issuer: named_issuer, token, times } = believed;
    let issuer = &named_issuer.issuer;
    let claims = token.claims();
    let named = issuer.subject(claims)?.ok_or(SubjectError::Sub)?;
    let sub = format!("{}{named}", issuer.subject_prefix);
    if !is_name(&named) || !is_name(&sub) {
        return Err(SubjectError::Sub);
    }
    if context.registry.is_name_of_another_issuer(&issuer.issuer, &sub) {
        return Err(SubjectError::SubOfAnotherIssuer);
    }
    Ok(Subject {
        token: believed.reference()?,
        sub,
        principal: SubjectId { iss: named_issuer.iss().to_owned(), sub: named.into_owned() },
        scope: match issuer.scopes_from {
            ScopesFrom::Delegation => HeldScope::OfDelegation,
            ScopesFrom::Token => HeldScope::Scope(values::scope(claims, issuer.scope_claim())?),
        },
        details: values::details(claims),
        roles: values::roles(claims, &issuer.roles_claim),
        tenant: tenant(issuer, claims)?,
        act: act(context.issuer, claims)?,
        may_act: values::may_act(claims)?,
        issued_at: times.iat,
        expires_at: times.exp,
        txn: None,
        binding: values::binding(claims)?,
        authentication: values::authentication(claims),
    })
}

/// Checks that the token is addressed to the agent that presents it.
fn check_address(issuer: &Issuer, claims: &Claims, presenter: &Agent) -> Result<(), SubjectError> {
    if issuer.audience_claim.address(claims, |audience| presenter.may_present(audience))? {
        Ok(())
    } else {
        Err(SubjectError::NotAddressed(presenter.id.clone()))
    }
}

pub(super) fn tenant(issuer: &Issuer, claims: &Claims) -> Result<Option<Tenant>, SubjectError> {
    let tenant = match (&issuer.tenant, &issuer.tenant_claim) {
        (Some(tenant), _) => Some(tenant.clone()),
        (None, Some(claim)) => Some(values::tenant(claims, claim)?),
        (None, None) => None,
    };
    if issuer.tenants.contain(tenant.as_ref()) { Ok(tenant) } else { Err(SubjectError::TenantOutside) }
}

/// Reads the prior chain, which may not name an actor of this service.
fn act(our_issuer: &str, claims: &Claims) -> Result<Option<Act>, SubjectError> {
    let act = values::act(claims)?;
    let claims_us = act.iter().flat_map(Act::actors).any(|actor| actor.iss == Some(our_issuer));
    if claims_us { Err(SubjectError::ActClaimsUs) } else { Ok(act) }
}
