//! A hypothetical subject that an operator describes, for `explain`: the checks that need no token.

use jiff::SignedDuration;
use sts_protocol::{Act, Scope, SubjectId, Tenant, is_name};

use super::{SubjectError, VerifyContext};
use crate::keys::TrustError;
use crate::policy::{Authentication, HeldDetails, HeldScope, ParentBinding, Subject};
use crate::registry::{Issuer, IssuerNameError, ScopesFrom};
use crate::storage::TokenReference;

/// An operator's description of a user and their token.
#[derive(Debug, Clone)]
pub struct SupposedSubject {
    /// The issuer that names the user.
    pub issuer: String,
    /// The name of the user at that issuer.
    pub sub: String,
    /// The tenant of the user.
    pub tenant: Option<Tenant>,
    /// The scope of the token. If absent, the scope follows from the issuer's entry.
    pub scope: Option<Scope>,
    /// The roles of the user.
    pub roles: Vec<String>,
    /// The agents that have acted so far, the last agent first.
    pub actors: Vec<String>,
    /// The binding of the token.
    pub binding: ParentBinding,
}

/// Returns the subject of a token that fits this description and is valid for an hour. It does not
/// check revocations: [`super::check_standing`] does, because it knows the presenter.
///
/// # Errors
/// [`SubjectError`] if no agent could present such a token.
pub fn suppose(context: &VerifyContext<'_>, supposed: SupposedSubject) -> Result<Subject, SubjectError> {
    let unknown = || SubjectError::Trust(TrustError::Issuer(IssuerNameError::Unknown));
    let issuer = context.registry.issuer(&supposed.issuer).ok_or_else(unknown)?;
    if issuer.disabled {
        return Err(SubjectError::Trust(TrustError::IssuerDisabled));
    }
    let iss = issuer.supposed_iss(&supposed.issuer, supposed.tenant.as_ref());
    let sub = format!("{}{}", issuer.subject_prefix, supposed.sub);
    if !is_name(&supposed.sub) || !is_name(&sub) {
        return Err(SubjectError::Sub);
    }
    if !context.registry.is_user_issuer(&issuer.issuer) {
        return Err(SubjectError::WorkloadIssuer);
    }
    if context.registry.is_name_of_another_issuer(&issuer.issuer, &sub) {
        return Err(SubjectError::SubOfAnotherIssuer);
    }
    let tenant = tenant(issuer, supposed.tenant)?;
    let stands = |id: &String| context.registry.acting(id).is_some_and(|agent| !agent.disabled);
    if supposed.actors.first().is_some_and(|current| !stands(current)) {
        return Err(SubjectError::CurrentActor);
    }
    let earliest_first = supposed.actors.iter().rev();
    let act = earliest_first.fold(None, |prior, actor| Some(Act::wrap(context.issuer, actor, prior)));
    let scope = match (supposed.scope, issuer.scopes_from) {
        (Some(scope), _) => HeldScope::Scope(scope),
        (None, ScopesFrom::Delegation) => HeldScope::OfDelegation,
        (None, ScopesFrom::Token) => HeldScope::Scope(Scope::default()),
    };
    Ok(Subject {
        token: TokenReference { iss: iss.clone(), jti: "supposed".to_owned() },
        sub,
        principal: SubjectId { iss, sub: supposed.sub },
        scope,
        details: HeldDetails::OfDelegation,
        roles: supposed.roles,
        tenant,
        act,
        may_act: None,
        issued_at: Some(context.now),
        expires_at: context.now.checked_add(SignedDuration::from_hours(1)).unwrap_or(context.now),
        txn: None,
        binding: supposed.binding,
        authentication: Authentication::default(),
    })
}

/// Returns the tenant of the issuer's tokens: its fixed tenant, the value of its claim, or none.
/// Rejects any other tenant.
fn tenant(issuer: &Issuer, supposed: Option<Tenant>) -> Result<Option<Tenant>, SubjectError> {
    let tenant = match (&issuer.tenant, &issuer.tenant_claim, supposed) {
        (Some(fixed), _, None) => Some(fixed.clone()),
        (Some(fixed), _, Some(supposed)) if supposed == *fixed => Some(supposed),
        (None, Some(_), Some(supposed)) => Some(supposed),
        (None, Some(_), None) => return Err(SubjectError::TenantMissing),
        (None, None, None) => None,
        (Some(_), _, Some(_)) | (None, None, Some(_)) => return Err(SubjectError::TenantOutside),
    };
    if issuer.tenants.contain(tenant.as_ref()) { Ok(tenant) } else { Err(SubjectError::TenantOutside) }
}
