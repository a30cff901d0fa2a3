//! The key that a token must be bound to, by the words of the specification alone.

use sts_tests::model::Agent;

use super::sent::Proof;

/// The key that a token is bound to: the actor's, unless the target takes bearer tokens alone.
pub(super) fn binding(
    (actor, target): (&Agent, &Agent),
    parent_is_bound: bool,
    proof: &Proof,
) -> Result<Option<String>, &'static str> {
    let must = actor.says("dpop_bound_access_tokens");
    let jkt = match proof {
        Proof::Good(jkt) => Some(jkt.clone()),
        Proof::None | Proof::Bad => None,
    };
    if target.says("bearer_only") {
        return if must { Err("invalid_target") } else { Ok(None) };
    }
    let must = must || target.says("dpop_bound_access_tokens_required") || parent_is_bound;
    if must && jkt.is_none() { Err("invalid_request") } else { Ok(jkt) }
}
