//! The keys that a token must be bound to, by the words of the specification alone.

use sts_protocol::Confirmation;
use sts_tests::model::{Agent, Credential};

use super::sent::{Proof, Sent};

/// The keys of the actor that count: that of its proof, and its certificate where it authenticates with that or its entry says so.
pub(super) fn proven(actor: &Agent, sent: &Sent) -> Confirmation {
    let jkt = match &sent.proof {
        Proof::Good(jkt) => Some(jkt.clone()),
        Proof::None | Proof::Bad => None,
    };
    let counts =
        actor.credential == Credential::Certificate || actor.says("tls_client_certificate_bound_access_tokens");
    Confirmation { jkt, x5t_s256: sent.certificate.clone().filter(|_| counts) }
}

/// The keys that a token is bound to: the actor's, unless the target takes bearer tokens alone.
pub(super) fn binding(
    (actor, target): (&Agent, &Agent),
    parent_is_bound: bool,
    sent: &Sent,
) -> Result<Option<Confirmation>, &'static str> {
    let must_prove = actor.says("dpop_bound_access_tokens");
    let must_certify = actor.says("tls_client_certificate_bound_access_tokens");
    if target.says("bearer_only") {
        return if must_prove || must_certify { Err("invalid_target") } else { Ok(None) };
    }
    let must_prove = must_prove || target.says("dpop_bound_access_tokens_required");
    let proven = proven(actor, sent);
    let lacks = must_prove && proven.jkt.is_none()
        || must_certify && proven.x5t_s256.is_none()
        || parent_is_bound && proven.is_empty();
    if lacks { Err("invalid_request") } else { Ok(Some(proven).filter(|proven| !proven.is_empty())) }
}
