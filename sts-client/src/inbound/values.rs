//! Claim values that every issuer writes in the same form.

use std::borrow::Cow;

use sts_jose::{ClaimSelectors, Claims};
use sts_protocol::{Scope, ScopeToken, Tenant};

use super::why::Why;

/// Reads the tenant, which must be a single value.
pub(super) fn tenant(claims: &Claims, selectors: &ClaimSelectors) -> Result<Tenant, Why> {
    // Neither cause carries more detail than the variant.
    let tenant = selectors.one(claims).or(Err(Why::TenantClaim))?.ok_or(Why::TenantClaim)?;
    Tenant::new(&tenant).or(Err(Why::TenantClaim))
}

/// Reads the scope: a string of scope tokens, or an array of them. An absent or empty claim is the
/// empty scope.
pub(super) fn scope(claims: &Claims, selectors: &ClaimSelectors) -> Result<Scope, Why> {
    // The cause is dropped because it only names the selector, which the configuration contains.
    let Some(scope) = selectors.texts(claims).or(Err(Why::ScopeType))? else { return Ok(Scope::default()) };
    scope.words().map(ScopeToken::new).collect::<Result<_, _>>().map_err(Why::Scope)
}

/// Reads the roles. A claim of another type yields no roles, which grants nothing.
pub(super) fn roles(claims: &Claims, selectors: &ClaimSelectors) -> Vec<String> {
    selectors.names(claims).into_iter().map(Cow::into_owned).collect()
}
