//! The values that the tokens of every issuer must keep to.

use std::borrow::Cow;

use sts_jose::{ClaimSelectors, Claims};
use sts_protocol::{Scope, ScopeToken, Tenant};

use super::refusal::Why;

/// The tenant: one value.
pub(super) fn tenant(claims: &Claims, selectors: &ClaimSelectors) -> Result<Tenant, Why> {
    // The causes say no more than that it is none.
    let tenant = selectors.one(claims).or(Err(Why::TenantClaim))?.ok_or(Why::TenantClaim)?;
    Tenant::new(&tenant).or(Err(Why::TenantClaim))
}

/// The scope: a string of tokens, or an array of them; absent or empty, none.
pub(super) fn scope(claims: &Claims, selectors: &ClaimSelectors) -> Result<Scope, Why> {
    // The cause names the selector, which the configuration knows.
    let Some(scope) = selectors.texts(claims).or(Err(Why::ScopeType))? else { return Ok(Scope::default()) };
    scope.words().map(ScopeToken::new).collect::<Result<_, _>>().map_err(Why::Scope)
}

/// The roles. A claim of another shape holds none, for it grants nothing.
pub(super) fn roles(claims: &Claims, selectors: &ClaimSelectors) -> Vec<String> {
    selectors.names(claims).into_iter().map(Cow::into_owned).collect()
}
