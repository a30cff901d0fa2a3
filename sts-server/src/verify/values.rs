//! The values that every subject token is checked for.

use std::borrow::Cow;

use serde_json::Value;
use sts_jose::{ClaimSelectors, Claims};
use sts_protocol::{Act, AuthorizationDetail, Scope, ScopeToken, Tenant};

use super::SubjectError;
use crate::policy::{Authentication, HeldDetails, MayAct, ParentBinding};

/// Reads `cnf`: an object with members. The key itself is not compared. The agent that the token is addressed to
/// presents it, and proves a key of its own.
pub(super) fn binding(claims: &Claims) -> Result<ParentBinding, SubjectError> {
    match claims.get("cnf") {
        None => Ok(ParentBinding::Bearer),
        Some(Value::Object(members)) if !members.is_empty() => Ok(ParentBinding::Bound),
        Some(_) => Err(SubjectError::Cnf),
    }
}

/// Reads `act`, level by level.
pub(super) fn act(claims: &Claims) -> Result<Option<Act>, SubjectError> {
    claims.get("act").map(Act::from_value).transpose().map_err(SubjectError::Act)
}

/// Reads `may_act`: an object with a string `sub`.
pub(super) fn may_act(claims: &Claims) -> Result<Option<MayAct>, SubjectError> {
    let Some(value) = claims.get("may_act") else { return Ok(None) };
    let sub = value.get("sub").and_then(Value::as_str).ok_or(SubjectError::MayAct)?;
    let iss = match value.get("iss") {
        None => None,
        Some(iss) => Some(iss.as_str().ok_or(SubjectError::MayAct)?.to_owned()),
    };
    Ok(Some(MayAct { iss, sub: sub.to_owned() }))
}

/// Reads the tenant, which must be a single value.
pub(super) fn tenant(claims: &Claims, selectors: &ClaimSelectors) -> Result<Tenant, SubjectError> {
    let tenant = selectors.one(claims).map_err(SubjectError::TenantClaim)?.ok_or(SubjectError::TenantMissing)?;
    Tenant::new(&tenant).map_err(SubjectError::Tenant)
}

/// Reads the scope: a string of tokens, or an array of tokens. An absent or empty claim is an empty
/// scope.
pub(super) fn scope(claims: &Claims, selectors: &ClaimSelectors) -> Result<Scope, SubjectError> {
    let Some(scope) = selectors.texts(claims).map_err(SubjectError::ScopeClaim)? else { return Ok(Scope::default()) };
    scope.words().map(ScopeToken::new).collect::<Result<_, _>>().map_err(SubjectError::Scope)
}

/// Reads the roles. A claim of any other shape has no roles.
pub(super) fn roles(claims: &Claims, selectors: &ClaimSelectors) -> Vec<String> {
    selectors.names(claims).into_iter().map(Cow::into_owned).collect()
}

/// Reads the authorization details of an outside token, if it has any. An element of another form
/// entitles to nothing.
pub(super) fn details(claims: &Claims) -> HeldDetails {
    let read = |element: &Value| serde_json::from_value::<AuthorizationDetail>(element.clone()).ok();
    match claims.get("authorization_details") {
        None | Some(Value::Null) => HeldDetails::OfDelegation,
        Some(details) => HeldDetails::Details(details.as_array().into_iter().flatten().filter_map(read).collect()),
    }
}

/// Reads the authentication of the user. Drops values whose shape does not fit RFC 9068 §2.2.1.
pub(super) fn authentication(claims: &Claims) -> Authentication {
    let get = |name: &str, fits: fn(&Value) -> bool| claims.get(name).filter(|value| fits(value)).cloned();
    Authentication {
        auth_time: get("auth_time", Value::is_number),
        acr: get("acr", Value::is_string),
        amr: get("amr", |amr| amr.as_array().is_some_and(|methods| methods.iter().all(Value::is_string))),
    }
}
