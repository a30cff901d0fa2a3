//! The tokens of an STS (RFC 9068, with `act`, `sub_id`, `tenant_id` or `tenant_ids`).

use serde::Deserialize as _;
use sts_jose::Claims;
use sts_protocol::{AccessTokenClaims, SubjectId, is_name};

use super::Named;
use super::tenant::Tenants;
use super::why::Why;

/// Reads the claims of a token that an STS has signed. A token with `act` belongs to a user; a
/// token without `act` belongs to an agent.
pub(super) fn read(claims: &Claims) -> Result<Named, Why> {
    // The cause is dropped because it repeats the values of claims.
    let claims = AccessTokenClaims::deserialize(claims.as_map()).or(Err(Why::Claims))?;
    if !is_name(&claims.sub) {
        return Err(Why::Sub);
    }
    let AccessTokenClaims { iss, sub, client_id, scope, act, sub_id, tenant_id, tenant_ids, txn, roles, .. } = claims;
    let (tenants, subject) = match (&act, tenant_id, tenant_ids) {
        (Some(_), tenant, None) => {
            (Tenants::OfUser(tenant), sub_id.unwrap_or_else(|| SubjectId { iss, sub: sub.clone() }))
        }
        (None, None, tenants) if sub == client_id && sub_id.is_none() => {
            (Tenants::OfServiceAccount(tenants.unwrap_or_default()), SubjectId { iss, sub: sub.clone() })
        }
        (Some(_) | None, _, _) => return Err(Why::Contradiction),
    };
    Ok(Named { sub, subject, act, tenants, scope, roles, txn: Some(txn) })
}
