//! The rules of a service account: an agent that calls on its own behalf.

use std::sync::Arc;

use jiff::Timestamp;
use sts_protocol::{AuthorizationDetail, Confirmation, Scope, Tenant};

use super::binding::bind;
use super::exchange::{check_target, latest, outside, whole_seconds};
use super::{Authentication, HeldDetails, HeldScope, ParentBinding, Permit, PolicyError, Ruling, details, scope};
use crate::registry::{Agent, Delegation, Registry, Tenants};
use crate::ttl::Ttl;

/// The input of the service-account rules: may `actor` call `target` on its own behalf?
#[derive(Debug, Clone)]
pub struct ServiceAccountQuestion<'a> {
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
    /// The requested scope; `None` requests all that is allowed.
    pub scope: Option<&'a Scope>,
    /// The requested authorization details; empty requests none.
    pub details: &'a [AuthorizationDetail],
    /// The tenants of the actor that are on hold. The token must not forward them.
    pub held_tenants: Vec<&'a Tenant>,
    /// The single tenant to narrow the token to, if `X-Tenant-ID` is present.
    pub tenant_header: Option<&'a Tenant>,
    /// The maximum lifetime of any token.
    pub max_ttl: Ttl,
    /// The time of the decision.
    pub now: Timestamp,
}

/// Returns the permit to mint a token for the agent itself.
///
/// # Errors
/// [`PolicyError`] names the first rule that refuses.
pub fn permit_service_account(question: &ServiceAccountQuestion<'_>) -> Result<Permit, PolicyError> {
    judge_service_account(question).map(Permit::new)
}

/// Returns the ruling on an agent that acts on its own behalf. It has no `act` and no `tenant_id`,
/// and lists the tenants that the token may forward.
///
/// # Errors
/// [`PolicyError`] names the first rule that refuses.
pub fn judge_service_account(question: &ServiceAccountQuestion<'_>) -> Result<Ruling, PolicyError> {
    let ServiceAccountQuestion { actor, target, .. } = question;
    check_target(target, question.target_is_held)?;
    let delegation = delegation(question)?;
    let tenants = tenants(question, delegation)?;
    let cnf = bind(actor, target, ParentBinding::Bearer, question.proven)?;
    let scope =
        without_approval(delegation, question, scope::grant(&HeldScope::OfDelegation, delegation, question.scope)?)?;
    let authorization_details = details::grant(&HeldDetails::OfDelegation, &delegation.details, question.details)?;
    if delegation.approval.as_ref().is_some_and(|rule| rule.covers(&scope, &authorization_details)) {
        return Err(PolicyError::ApprovalWithoutUser(actor.id.clone()));
    }
    let expires_at = whole_seconds(latest(question.now, target, delegation, question.max_ttl), question.now)?;
    Ok(Ruling {
        sub: actor.id.clone(),
        principal: None,
        client_id: actor.id.clone(),
        target: Arc::clone(target),
        delegation: Arc::clone(delegation),
        act: None,
        scope,
        authorization_details,
        roles: Vec::new(),
        dropped_roles: Vec::new(),
        tenant: None,
        tenants: Some(tenants),
        cnf,
        approval: None,
        expires_at,
        txn: None,
        parent: None,
        authentication: Authentication::default(),
    })
}

/// Returns the scope without what needs an approval, if the request did not name its scope.
fn without_approval(
    delegation: &Delegation,
    question: &ServiceAccountQuestion<'_>,
    scope: Scope,
) -> Result<Scope, PolicyError> {
    let Some(rule) = delegation.approval.as_ref().filter(|_| question.scope.is_none()) else { return Ok(scope) };
    let rest: Scope = scope.iter().filter(|token| !rule.scopes.contains(token)).cloned().collect();
    if rest.is_empty() { Err(PolicyError::ScopeEmpty) } else { Ok(rest) }
}

fn delegation<'a>(question: &ServiceAccountQuestion<'a>) -> Result<&'a Arc<Delegation>, PolicyError> {
    let (actor, target) = (question.actor.id.clone(), question.target.id.clone());
    let enabled = || {
        let delegations = question.registry.delegations(&actor, &target).iter();
        delegations.filter(|delegation| !delegation.disabled)
    };
    if enabled().next().is_none() {
        return Err(PolicyError::NoDelegation { issuer: "the agent itself".to_owned(), actor, target });
    }
    let own = || enabled().filter(|delegation| delegation.service_account);
    if own().next().is_none() {
        return Err(PolicyError::NotAServiceAccount { actor, target });
    }
    let covers = |delegation: &&Arc<Delegation>| {
        question.tenant_header.is_none_or(|tenant| delegation.tenants.contain(Some(tenant)))
    };
    let mut covering = own().filter(covers);
    match (covering.next(), covering.next()) {
        (Some(delegation), None) => Ok(delegation),
        (None, _) => Err(outside(question.tenant_header, format!("the delegation from {actor:?} to {target:?}"))),
        (Some(_), Some(_)) => Err(PolicyError::SeveralDelegations { actor, target }),
    }
}

/// Returns the tenants that the token may forward. A token that may forward none has no tenant, and
/// is allowed only if target and delegation allow every tenant.
fn tenants(question: &ServiceAccountQuestion<'_>, delegation: &Delegation) -> Result<Vec<Tenant>, PolicyError> {
    let ServiceAccountQuestion { actor, target, tenant_header, held_tenants, .. } = question;
    let within = |tenant: &&Tenant| {
        [&actor.tenants, &target.tenants, &delegation.tenants].iter().all(|set| set.contain(Some(tenant)))
            && tenant_header.is_none_or(|named| named == *tenant)
            && !held_tenants.contains(tenant)
    };
    let tenants: Vec<Tenant> = actor.forward_tenants.iter().filter(within).cloned().collect();
    let restricted = [&target.tenants, &delegation.tenants].iter().any(|set| **set != Tenants::Any);
    if tenants.is_empty() && (restricted || tenant_header.is_some()) {
        return Err(outside(*tenant_header, format!("the service account of {:?}", actor.id)));
    }
    Ok(tenants)
}
