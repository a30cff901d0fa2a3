//! The scope that a delegation grants, given the scope that the subject holds.

use sts_protocol::{Scope, ScopeToken};

use super::{HeldScope, PolicyError};
use crate::registry::{DelegatedScope, Delegation};

/// Returns the scope of a new token: the requested scope, or all that is allowed.
pub(super) fn grant(
    held: &HeldScope,
    delegation: &Delegation,
    requested: Option<&Scope>,
) -> Result<Scope, PolicyError> {
    let entitled = entitled(held, delegation);
    if entitled.is_empty() {
        return Err(PolicyError::ScopeEmpty);
    }
    let Some(requested) = requested else { return Ok(entitled) };
    match requested.iter().find(|token| !entitled.contains(token)) {
        Some(beyond) => Err(PolicyError::ScopeBeyond(beyond.to_string())),
        None => Ok(requested.clone()),
    }
}

fn entitled(held: &HeldScope, delegation: &Delegation) -> Scope {
    let holds = |token: &ScopeToken| match held {
        HeldScope::OfDelegation => is_plain(token, delegation),
        HeldScope::Scope(scope) => scope.contains(token),
    };
    let entitles = |scope: &&DelegatedScope| match scope {
        DelegatedScope::Plain(token) => holds(token),
        DelegatedScope::Derived(derived) => derived.from.iter().any(&holds),
    };
    delegation.scopes.iter().filter(entitles).map(|scope| scope.scope().clone()).collect()
}

fn is_plain(token: &ScopeToken, delegation: &Delegation) -> bool {
    delegation.scopes.iter().any(|scope| match scope {
        DelegatedScope::Plain(plain) => plain == token,
        DelegatedScope::Derived(_) => false,
    })
}
