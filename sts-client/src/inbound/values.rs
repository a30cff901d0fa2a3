//! The values that the tokens of every issuer must keep to.

use serde_json::Value;
use sts_jose::Claims;
use sts_protocol::{Scope, ScopeToken, Tenant};

use super::refusal::Why;

/// The tenant in a claim: a string, or an array of one.
pub(super) fn tenant(claims: &Claims, claim: &str) -> Result<Tenant, Why> {
    let tenant = match claims.get(claim) {
        Some(Value::String(tenant)) => tenant,
        Some(Value::Array(tenants)) => match tenants.as_slice() {
            [Value::String(tenant)] => tenant,
            _ => return Err(Why::TenantClaim),
        },
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            return Err(Why::TenantClaim);
        }
    };
    // The cause says no more than that it is none.
    Tenant::new(tenant).or(Err(Why::TenantClaim))
}

/// The scope in a claim: a string of tokens, or an array of them; absent or empty, none.
pub(super) fn scope(claims: &Claims, claim: &str) -> Result<Scope, Why> {
    match claims.get(claim) {
        None => Ok(Scope::default()),
        Some(Value::String(text)) if text.is_empty() => Ok(Scope::default()),
        Some(Value::String(text)) => text.parse().map_err(Why::Scope),
        Some(Value::Array(tokens)) => {
            let token = |value: &Value| ScopeToken::new(value.as_str().unwrap_or_default()).map_err(Why::Scope);
            tokens.iter().map(token).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(Why::ScopeType),
    }
}

/// The roles in `roles`: a string, or an array of them. A value of another type yields none, for it grants nothing.
pub(super) fn roles(claims: &Claims) -> Vec<String> {
    let roles = claims.strings("roles").ok().flatten().unwrap_or_default();
    roles.into_iter().map(str::to_owned).collect()
}
