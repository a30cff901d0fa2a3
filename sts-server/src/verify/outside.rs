//! Tokens of outside issuers: the first hop of a chain.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sts_jose::{Claims, UnverifiedToken, VerifiedToken, typ_fits};
use sts_protocol::{Act, SubjectId, Tenant, TokenType};

use super::{Context, SubjectError, values};
use crate::keys::OutsideToken;
use crate::policy::{HeldScope, Subject, VerifiedSubject};
use crate::registry::{Agent, Issuer, ScopesFrom};
use crate::storage::TokenReference;

pub(super) async fn subject(
    context: &Context<'_>,
    token: UnverifiedToken<'_>,
    declared: TokenType,
    presenter: &Agent,
) -> Result<VerifiedSubject, SubjectError> {
    let believed = context.trusted.believe(context.registry, token, context.now).await.map_err(SubjectError::Trust)?;
    if !typ_fits(believed.token.header().typ.as_deref(), declared.allowed_typ()) {
        return Err(SubjectError::Typ);
    }
    let claims = believed.token.claims();
    values::check_unbound(claims)?;
    check_address(&believed.issuer, claims, presenter)?;
    let subject = read(context.issuer, &believed)?;
    Ok(VerifiedSubject::new(&believed.token, subject))
}

fn read(our_issuer: &str, believed: &OutsideToken) -> Result<Subject, SubjectError> {
    let OutsideToken { issuer, token, times } = believed;
    let claims = token.claims();
    let named = claims.string("sub")?.ok_or(SubjectError::Sub)?;
    let sub = format!("{}{named}", issuer.subject_prefix);
    if !values::is_name(named) || !values::is_name(&sub) {
        return Err(SubjectError::Sub);
    }
    Ok(Subject {
        token: reference(issuer, token)?,
        sub,
        principal: SubjectId { iss: issuer.issuer.clone(), sub: named.to_owned() },
        scope: match issuer.scopes_from {
            ScopesFrom::Delegation => HeldScope::OfDelegation,
            ScopesFrom::Token => HeldScope::Scope(values::scope(claims, issuer.scope_claim())?),
        },
        roles: values::roles(claims),
        tenant: tenant(issuer, claims)?,
        act: act(our_issuer, claims)?,
        may_act: values::may_act(claims)?,
        issued_at: times.iat,
        expires_at: times.exp,
        txn: None,
        authentication: values::authentication(claims),
    })
}

/// Binding: a token is accepted only from an agent that it is addressed to.
fn check_address(issuer: &Issuer, claims: &Claims, presenter: &Agent) -> Result<(), SubjectError> {
    let addressed = match issuer.audience_claim.as_str() {
        "aud" => claims.audience()?,
        other => claims.strings(other)?.unwrap_or_default(),
    };
    let fits =
        |audience: &&str| presenter.is_addressed_by(audience) || presenter.accepts.iter().any(|own| own == audience);
    if addressed.iter().any(fits) { Ok(()) } else { Err(SubjectError::NotAddressed(presenter.id.clone())) }
}

fn tenant(issuer: &Issuer, claims: &Claims) -> Result<Option<Tenant>, SubjectError> {
    let tenant = match (&issuer.tenant, &issuer.tenant_claim) {
        (Some(tenant), _) => Some(tenant.clone()),
        (None, Some(claim)) => Some(values::tenant(claims, claim)?),
        (None, None) => None,
    };
    if issuer.tenants.contain(tenant.as_ref()) { Ok(tenant) } else { Err(SubjectError::TenantOutside) }
}

/// The prior chain, which may not claim an actor of ours.
fn act(our_issuer: &str, claims: &Claims) -> Result<Option<Act>, SubjectError> {
    let act = values::act(claims)?;
    let claims_us = act.iter().flat_map(Act::actors).any(|actor| actor.iss == Some(our_issuer));
    if claims_us { Err(SubjectError::ActClaimsUs) } else { Ok(act) }
}

/// The name of a token: its `jti`, or else its digest.
fn reference(issuer: &Issuer, token: &VerifiedToken) -> Result<TokenReference, SubjectError> {
    let jti = match token.claims().string("jti")? {
        Some(jti) if values::is_name(jti) => jti.to_owned(),
        Some(_) => return Err(SubjectError::Jti),
        None => format!("sha256:{}", URL_SAFE_NO_PAD.encode(token.digest())),
    };
    Ok(TokenReference { iss: issuer.issuer.clone(), jti })
}
