//! The values that every subject token must keep to.

use serde_json::Value;
use sts_jose::Claims;
use sts_protocol::{Act, Scope, ScopeToken, Tenant};

use super::SubjectError;
use crate::policy::{Authentication, MayAct};

/// Refuses a token that is bound to a key.
pub(super) fn check_unbound(claims: &Claims) -> Result<(), SubjectError> {
    if claims.get("cnf").is_some() { Err(SubjectError::Bound) } else { Ok(()) }
}

/// `act`, level by level.
pub(super) fn act(claims: &Claims) -> Result<Option<Act>, SubjectError> {
    claims.get("act").map(Act::from_value).transpose().map_err(SubjectError::Act)
}

/// `may_act`: an object with a string `sub`.
pub(super) fn may_act(claims: &Claims) -> Result<Option<MayAct>, SubjectError> {
    let Some(value) = claims.get("may_act") else { return Ok(None) };
    let sub = value.get("sub").and_then(Value::as_str).ok_or(SubjectError::MayAct)?;
    let iss = match value.get("iss") {
        None => None,
        Some(iss) => Some(iss.as_str().ok_or(SubjectError::MayAct)?.to_owned()),
    };
    Ok(Some(MayAct { iss, sub: sub.to_owned() }))
}

/// The tenant in a claim: a string, or an array of one.
pub(super) fn tenant(claims: &Claims, claim: &str) -> Result<Tenant, SubjectError> {
    let tenant = match claims.get(claim) {
        Some(Value::String(tenant)) => tenant,
        Some(Value::Array(tenants)) => match tenants.as_slice() {
            [Value::String(tenant)] => tenant,
            _ => return Err(SubjectError::TenantMissing),
        },
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) | None => {
            return Err(SubjectError::TenantMissing);
        }
    };
    Tenant::new(tenant).map_err(SubjectError::Tenant)
}

/// The scope in a claim: a string of tokens, or an array of them; absent or empty, none.
pub(super) fn scope(claims: &Claims, claim: &str) -> Result<Scope, SubjectError> {
    let malformed = |_error| SubjectError::Scope;
    match claims.get(claim) {
        None => Ok(Scope::default()),
        Some(Value::String(text)) if text.is_empty() => Ok(Scope::default()),
        Some(Value::String(text)) => text.parse().map_err(malformed),
        Some(Value::Array(tokens)) => {
            let token = |value: &Value| ScopeToken::new(value.as_str().unwrap_or_default()).map_err(malformed);
            tokens.iter().map(token).collect()
        }
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(SubjectError::Scope),
    }
}

/// `roles`; a claim of another shape is somebody else's and holds none.
pub(super) fn roles(claims: &Claims) -> Vec<String> {
    let roles = claims.strings("roles").ok().flatten().unwrap_or_default();
    roles.into_iter().map(str::to_owned).collect()
}

/// How the user authenticated; values of other shapes than RFC 9068 §2.2.1 has are left behind.
pub(super) fn authentication(claims: &Claims) -> Authentication {
    let get = |name: &str, fits: fn(&Value) -> bool| claims.get(name).filter(|value| fits(value)).cloned();
    Authentication {
        auth_time: get("auth_time", Value::is_number),
        acr: get("acr", Value::is_string),
        amr: get("amr", |amr| amr.as_array().is_some_and(|methods| methods.iter().all(Value::is_string))),
    }
}
