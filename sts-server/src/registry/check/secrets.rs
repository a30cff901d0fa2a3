//! Hashes of empty secrets, whose detection costs one argon2id computation each.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;

use super::agents::of_an_empty_secret;
use crate::config::argon2id_cost;
use crate::fault::Fault;
use crate::registry::located::Entries;

pub(super) fn faults(entries: &Entries) -> Vec<Fault> {
    let mut faults = Vec::new();
    for agent in &entries.agents {
        let hashes = agent.entry.auth.as_ref().map_or(&[][..], |auth| auth.argon2_hashes());
        let is_of_nothing = |hash: &String| {
            argon2id_cost(hash).is_ok() && Argon2::default().verify_password(b"", hash.as_str()).is_ok()
        };
        if hashes.iter().any(is_of_nothing) {
            let message = of_an_empty_secret("client_secret_hash", &agent.entry.id);
            faults.push(agent.place.error("auth.client_secret_hash", message));
        }
    }
    faults
}
