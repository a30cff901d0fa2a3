//! What an agent prints of a caller that it verified.

use http::HeaderValue;
use sts_client::{Caller, Kind};

/// Prints it.
pub fn print(agent: &str, caller: &Caller) {
    println!("  {agent:<11} verified: {}", words(caller));
}

/// Prints it, of a call that says that it stands in for one on a user's behalf.
pub fn print_fallback(agent: &str, caller: &Caller, instead: &HeaderValue) {
    let instead = instead.to_str().unwrap_or_default();
    println!("  {agent:<11} verified: {}, fallback {}", words(caller), instead.escape_debug());
}

fn words(caller: &Caller) -> String {
    let who = match caller.kind() {
        Kind::User => format!("user {}", caller.subject().sub),
        Kind::ServiceAccount => format!("service account {}", caller.subject().sub),
    };
    let actor = caller.actor().map_or_else(|| "nobody".to_owned(), |actor| actor.sub.to_owned());
    let prior = caller.prior_actors().to_string();
    let prior = if prior.is_empty() { String::new() } else { format!(" (before: {prior})") };
    let tenant = caller.tenant().map_or("none", |tenant| tenant.as_str());
    format!("{who}, actor {actor}{prior}, tenant {tenant}, scope {}", caller.scope())
}
