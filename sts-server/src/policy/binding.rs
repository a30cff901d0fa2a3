//! The keys that a token is bound to.

use sts_protocol::Confirmation;

use super::PolicyError;
use crate::registry::Agent;

/// Returns the keys that a token of `actor` for `target` is bound to, given the keys that the actor has proven.
///
/// A token whose parent is bound is bound too, unless its target takes bearer tokens alone. It is bound to the actor's
/// own key, never to a key of the parent.
///
/// # Errors
/// [`PolicyError`]: `BearerOnly`, `ProofRequired`, `CertificateRequired` or `BindingDowngrade`.
pub(super) fn bind(
    actor: &Agent,
    target: &Agent,
    parent: ParentBinding,
    proven: &Confirmation,
) -> Result<Option<Confirmation>, PolicyError> {
    if target.bearer_only {
        if actor.dpop_bound_access_tokens || actor.tls_client_certificate_bound_access_tokens {
            return Err(PolicyError::BearerOnly { actor: actor.id.clone(), target: target.id.clone() });
        }
        return Ok(None);
    }
    let demands_proof = [
        (actor, actor.dpop_bound_access_tokens, "dpop_bound_access_tokens"),
        (target, target.dpop_bound_access_tokens_required, "dpop_bound_access_tokens_required"),
    ];
    if proven.jkt.is_none()
        && let Some((agent, _, key)) = demands_proof.into_iter().find(|(_, demands, _)| *demands)
    {
        return Err(PolicyError::ProofRequired { agent: agent.id.clone(), key });
    }
    if actor.tls_client_certificate_bound_access_tokens && proven.x5t_s256.is_none() {
        return Err(PolicyError::CertificateRequired(actor.id.clone()));
    }
    match (parent, proven.is_empty()) {
        (ParentBinding::Bound, true) => Err(PolicyError::BindingDowngrade(actor.id.clone())),
        (ParentBinding::Bearer, true) => Ok(None),
        (ParentBinding::Bound | ParentBinding::Bearer, false) => Ok(Some(proven.clone())),
    }
}

/// The binding of the token that a token descends from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParentBinding {
    /// The subject token is bound to a key.
    Bound,
    /// The subject token is a bearer token, or there is none.
    Bearer,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agent(keys: &[&str]) -> Agent {
        let mut entry = serde_json::json!({ "id": "a" });
        for key in keys {
            entry[key] = true.into();
        }
        serde_json::from_value(entry).unwrap()
    }

    #[test]
    fn a_token_is_bound_to_what_its_actor_proves_unless_a_rule_refuses() {
        let dpop = || Confirmation { jkt: Some("key".to_owned()), x5t_s256: None };
        let certificate = || Confirmation { jkt: None, x5t_s256: Some("certificate".to_owned()) };
        let none = Confirmation::default;
        let (mine, tls) = ("dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens");
        let (theirs, bearer) = ("dpop_bound_access_tokens_required", "bearer_only");
        let (bound, unbound) = (ParentBinding::Bound, ParentBinding::Bearer);
        type Row<'a> = (&'a [&'a str], &'a [&'a str], ParentBinding, Confirmation, Result<Confirmation, &'a str>);
        let rows: [Row<'_>; 18] = [
            (&[], &[], unbound, none(), Ok(none())),
            (&[], &[], unbound, dpop(), Ok(dpop())),
            (&[], &[], unbound, certificate(), Ok(certificate())),
            (&[], &[], bound, none(), Err("binding_downgrade")),
            (&[], &[], bound, dpop(), Ok(dpop())),
            (&[], &[], bound, certificate(), Ok(certificate())),
            (&[mine], &[], unbound, none(), Err("proof_required")),
            (&[mine], &[], unbound, certificate(), Err("proof_required")),
            (&[mine], &[], bound, dpop(), Ok(dpop())),
            (&[tls], &[], unbound, dpop(), Err("certificate_required")),
            (&[tls], &[], unbound, certificate(), Ok(certificate())),
            (&[], &[theirs], unbound, none(), Err("proof_required")),
            (&[], &[theirs], unbound, dpop(), Ok(dpop())),
            (&[theirs], &[], unbound, none(), Ok(none())),
            (&[], &[bearer], bound, dpop(), Ok(none())),
            (&[], &[bearer], bound, none(), Ok(none())),
            (&[mine], &[bearer], unbound, dpop(), Err("target_bearer_only")),
            (&[tls], &[bearer], bound, certificate(), Err("target_bearer_only")),
        ];
        for (actor, target, parent, proven, expected) in rows {
            let found = bind(&agent(actor), &agent(target), parent, &proven);
            let found = found.map(Option::unwrap_or_default).map_err(|error| error.reason());
            assert_eq!(found, expected, "{actor:?} {target:?} {parent:?} {proven:?}");
        }
    }
}
