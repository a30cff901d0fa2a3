//! The chain of actors, extended by the agent that acts now.

use sts_protocol::{Act, Actor};

use super::{MayAct, PolicyError, Subject};
use crate::registry::Agent;

/// The actor chain of a token to be minted, and the facts that the rules need about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    act: Act,
    repeats: bool,
}

impl Chain {
    /// Returns the `act` claim: the actor, with the prior chain unchanged inside.
    #[must_use]
    pub fn act(&self) -> &Act {
        &self.act
    }

    /// Returns true if the actor was already in the prior chain.
    #[must_use]
    pub fn repeats(&self) -> bool {
        self.repeats
    }
}

/// Puts `actor` in front of the subject's chain. The caller has authenticated the actor; `issuer`
/// is ours, the namespace of its id.
///
/// # Errors
/// [`PolicyError::MayActMismatch`] if the subject token names another actor;
/// [`PolicyError::ChainTooDeep`] if the chain would have more than `limit` actors.
pub fn extend(subject: &Subject, actor: &Agent, issuer: &str, limit: usize) -> Result<Chain, PolicyError> {
    if subject.may_act.as_ref().is_some_and(|may_act| !names(may_act, actor, issuer)) {
        return Err(PolicyError::MayActMismatch);
    }
    let depth = 1 + subject.act.as_ref().map_or(0, Act::depth);
    if depth > limit {
        return Err(PolicyError::ChainTooDeep { depth, limit });
    }
    let this = Actor { iss: Some(issuer), sub: &actor.id };
    let repeats = subject.act.as_ref().is_some_and(|act| act.actors().any(|prior| prior == this));
    Ok(Chain { act: Act::wrap(issuer, &actor.id, subject.act.clone()), repeats })
}

/// Returns true if `may_act` names the agent: by its id in our namespace, or by one of its
/// workloads in the namespace of the workload's issuer.
fn names(may_act: &MayAct, actor: &Agent, issuer: &str) -> bool {
    let by_id = may_act.sub == actor.id && may_act.iss.as_ref().is_none_or(|iss| iss == issuer);
    let mut workloads = actor.auth.iter().flat_map(|auth| &auth.workload);
    by_id || workloads.any(|known| may_act.iss.as_ref() == Some(&known.issuer) && may_act.sub == known.subject)
}
