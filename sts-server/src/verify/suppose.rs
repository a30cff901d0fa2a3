//! A subject that an operator supposes, for `explain`: the checks that need no token.

use jiff::SignedDuration;
use sts_protocol::{Act, Scope, SubjectId, Tenant};

use super::{Context, SubjectError, values};
use crate::policy::{Authentication, HeldScope, Subject};
use crate::registry::ScopesFrom;
use crate::storage::TokenReference;

/// What an operator says of a user and their token.
#[derive(Debug, Clone)]
pub struct SupposedSubject {
    /// The issuer that names the user.
    pub issuer: String,
    /// The user, as that issuer names it.
    pub sub: String,
    /// The tenant.
    pub tenant: Option<Tenant>,
    /// What the token holds; absent, what the issuer's entry says.
    pub scope: Option<Scope>,
    /// The roles.
    pub roles: Vec<String>,
    /// The agents that have acted so far, the last one first.
    pub actors: Vec<String>,
}

/// The subject that a token of this description would be read as; it lives for an hour.
///
/// # Errors
/// [`SubjectError`] when no such token would be accepted from anybody.
pub fn suppose(context: &Context<'_>, supposed: SupposedSubject) -> Result<Subject, SubjectError> {
    let issuer = context.registry.issuer(&supposed.issuer).filter(|issuer| !issuer.disabled);
    let issuer = issuer.ok_or(SubjectError::PrincipalIssuer)?;
    let sub = format!("{}{}", issuer.subject_prefix, supposed.sub);
    if !values::is_name(&supposed.sub) || !values::is_name(&sub) {
        return Err(SubjectError::Sub);
    }
    if context.registry.agent(&sub).is_some() {
        return Err(SubjectError::SubIsAnAgent);
    }
    let tenant = issuer.tenant.clone().or(supposed.tenant);
    if !issuer.tenants.contain(tenant.as_ref()) {
        return Err(SubjectError::TenantOutside);
    }
    let earliest_first = supposed.actors.iter().rev();
    let act = earliest_first.fold(None, |prior, actor| Some(Act::wrap(context.issuer, actor, prior)));
    let scope = match (supposed.scope, issuer.scopes_from) {
        (Some(scope), _) => HeldScope::Scope(scope),
        (None, ScopesFrom::Delegation) => HeldScope::OfDelegation,
        (None, ScopesFrom::Token) => HeldScope::Scope(Scope::default()),
    };
    Ok(Subject {
        token: TokenReference { iss: supposed.issuer.clone(), jti: "supposed".to_owned() },
        sub,
        principal: SubjectId { iss: supposed.issuer, sub: supposed.sub },
        scope,
        roles: supposed.roles,
        tenant,
        act,
        may_act: None,
        issued_at: Some(context.now),
        expires_at: context.now.checked_add(SignedDuration::from_hours(1)).unwrap_or(context.now),
        txn: None,
        authentication: Authentication::default(),
    })
}
