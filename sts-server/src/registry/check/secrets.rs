//! Hashes of empty secrets, where finding them takes as long as checking a secret does.

use argon2::Argon2;
use argon2::password_hash::PasswordVerifier as _;

use super::agents::of_an_empty_secret;
use crate::config::argon2id_cost;
use crate::fault::Fault;
use crate::registry::located::Entries;

pub(super) fn faults(entries: &Entries) -> Vec<Fault> {
    let mut faults = Vec::new();
    for agent in &entries.agents {
        let Some(hash) = agent.entry.auth.as_ref().and_then(|auth| auth.client_secret_hash.as_deref()) else {
            continue;
        };
        if argon2id_cost(hash).is_ok() && Argon2::default().verify_password(b"", hash).is_ok() {
            let message = of_an_empty_secret("client_secret_hash", &agent.entry.id);
            faults.push(agent.place.error("auth.client_secret_hash", message));
        }
    }
    faults
}
