//! The rules of an exchange: target, tenant, loop, scope, roles, lifetime.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sts_protocol::{AuthorizationDetail, Confirmation, Scope, Tenant};

use super::binding::bind;
use super::judgement::approve;
use super::{Chain, Judgement, Permit, PolicyError, Ruling, Subject, VerifiedSubject, details, scope};
use crate::approval::Approvals;
use crate::registry::{Agent, Delegation, Registry};
use crate::ttl::Ttl;

/// The input of the exchange rules: may `actor` call `target` for this subject?
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The registry, which holds the delegations.
    pub registry: &'a Registry,
    /// The authenticated agent.
    pub actor: &'a Agent,
    /// The keys that the agent has proven to hold.
    pub proven: &'a Confirmation,
    /// The agent that will receive the token.
    pub target: &'a Arc<Agent>,
    /// True if the target is on hold. The rules then refuse it like a disabled agent.
    pub target_is_held: bool,
    /// The actor chain of the new token.
    pub chain: &'a Chain,
    /// The requested scope; `None` requests all that is allowed.
    pub scope: Option<&'a Scope>,
    /// The requested authorization details; empty requests none.
    pub details: &'a [AuthorizationDetail],
    /// The approvals that persons have granted, or have not decided on.
    pub approvals: &'a Approvals,
    /// The tenant that `X-Tenant-ID` names, if the header is present.
    pub tenant_header: Option<&'a Tenant>,
    /// The maximum lifetime of any token.
    pub max_ttl: Ttl,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Returns the permit to mint a token for a verified subject, unless a person must approve it first.
///
/// # Errors
/// [`PolicyError`] names the first rule that refuses.
pub fn permit(question: &Question<'_>, subject: &VerifiedSubject) -> Result<Judgement<Permit>, PolicyError> {
    Ok(judge(question, subject.subject())?.map(Permit::new))
}

/// Returns the ruling on a subject, verified or supposed.
///
/// # Errors
/// [`PolicyError`] names the first rule that refuses.
pub fn judge(question: &Question<'_>, subject: &Subject) -> Result<Judgement<Ruling>, PolicyError> {
    let Question { actor, target, chain, .. } = *question;
    let delegation = delegation(question, subject)?;
    if question.tenant_header.is_some_and(|named| Some(named) != subject.tenant.as_ref()) {
        return Err(PolicyError::TenantHeaderMismatch);
    }
    if chain.repeats() && !delegation.reentrant {
        return Err(PolicyError::Loop { actor: actor.id.clone(), target: target.id.clone() });
    }
    let cnf = bind(actor, target, subject.binding, question.proven)?;
    let scope = scope::grant(&subject.scope, delegation, question.scope)?;
    let authorization_details = details::grant(&subject.details, &delegation.details, question.details)?;
    let latest = [latest(question.now, target, delegation, question.max_ttl), subject.expires_at].into_iter().min();
    let expires_at = whole_seconds(latest.unwrap_or(question.now), question.now)?;
    let (roles, dropped_roles) = subject.roles.iter().cloned().partition(|role| delegation.roles.contains(role));
    let ruling = Ruling {
        sub: subject.sub.clone(),
        principal: Some(subject.principal.clone()),
        client_id: actor.id.clone(),
        target: Arc::clone(target),
        delegation: Arc::clone(delegation),
        act: Some(chain.act().clone()),
        scope,
        authorization_details,
        roles,
        dropped_roles,
        tenant: subject.tenant.clone(),
        tenants: None,
        cnf,
        approval: None,
        expires_at,
        txn: subject.txn.clone(),
        parent: Some(subject.token.clone()),
        authentication: subject.authentication.clone(),
    };
    approve(ruling, question.approvals, question.now)
}

/// Returns the one delegation that covers actor, target, issuer and tenant.
fn delegation<'a>(question: &Question<'a>, subject: &Subject) -> Result<&'a Arc<Delegation>, PolicyError> {
    let Question { actor, target, .. } = *question;
    let tenant = subject.tenant.as_ref();
    check_target(target, question.target_is_held)?;
    let issuer = &subject.principal.iss;
    let mut covering = question
        .registry
        .delegations(&actor.id, &target.id)
        .iter()
        .filter(|delegation| !delegation.disabled && question.registry.covers_users_of(delegation, issuer))
        .peekable();
    if covering.peek().is_none() {
        return Err(PolicyError::NoDelegation {
            actor: actor.id.clone(),
            target: target.id.clone(),
            issuer: issuer.clone(),
        });
    }
    for agent in [actor, target] {
        if !agent.tenants.contain(tenant) {
            return Err(outside(tenant, format!("agent {:?}", agent.id)));
        }
    }
    let found = covering.find(|delegation| delegation.tenants.contain(tenant));
    found.ok_or_else(|| outside(tenant, format!("the delegation from {:?} to {:?}", actor.id, target.id)))
}

/// Refuses a target that is disabled or on hold.
pub(super) fn check_target(target: &Agent, is_held: bool) -> Result<(), PolicyError> {
    if target.disabled || is_held { Err(PolicyError::TargetDisabled(target.id.clone())) } else { Ok(()) }
}

/// Returns the refusal of a tenant, or of a missing tenant.
pub(super) fn outside(tenant: Option<&Tenant>, of: String) -> PolicyError {
    let tenant = tenant.map_or_else(|| "a token without a tenant".to_owned(), |tenant| format!("tenant {tenant:?}"));
    PolicyError::TenantOutside { tenant, of }
}

/// Returns the latest `exp` that target, delegation and service allow.
pub(super) fn latest(now: Timestamp, target: &Agent, delegation: &Delegation, max_ttl: Ttl) -> Timestamp {
    let ttl = delegation.max_ttl.map_or(target.token_ttl, |max| max.min(target.token_ttl)).min(max_ttl);
    now.checked_add(SignedDuration::from_secs(ttl.as_seconds())).unwrap_or(now)
}

/// Rounds `exp` down to a whole second. Fails unless it is later than `iat`, also a whole second.
pub(super) fn whole_seconds(latest: Timestamp, now: Timestamp) -> Result<Timestamp, PolicyError> {
    if latest.as_second() <= now.as_second() {
        return Err(PolicyError::NoLifetime);
    }
    Timestamp::from_second(latest.as_second()).or(Err(PolicyError::NoLifetime))
}
