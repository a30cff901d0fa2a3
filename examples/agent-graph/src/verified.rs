//! What an agent says of a caller that it verified.

use std::sync::{Mutex, MutexGuard, PoisonError};

use sts_client::{Caller, Kind};

/// The lines of all agents of this process while the acts are played. `None`: each is printed at once.
static KEPT: Mutex<Option<Vec<String>>> = Mutex::new(None);

/// Says it.
pub fn print(agent: &str, caller: &Caller) {
    say(format!("{agent:<11}  {}", words(caller)));
}

/// Says it of a call that stands in for one on a user's behalf.
pub fn print_fallback(agent: &str, caller: &Caller) {
    say(format!("{agent:<11}  {}; a fallback", words(caller)));
}

/// Keeps the lines from now on.
pub(crate) fn keep() {
    *kept() = Some(Vec::new());
}

/// Takes the lines that were kept.
pub(crate) fn take() -> Vec<String> {
    kept().as_mut().map(std::mem::take).unwrap_or_default()
}

/// Prints lines at once again.
pub(crate) fn print_again() {
    *kept() = None;
}

fn say(line: String) {
    match &mut *kept() {
        Some(lines) => lines.push(line),
        None => println!("{line}"),
    }
}

fn kept() -> MutexGuard<'static, Option<Vec<String>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

fn words(caller: &Caller) -> String {
    let who = match caller.kind() {
        Kind::User => caller.subject().sub.clone(),
        Kind::ServiceAccount => format!("service account {}", caller.subject().sub),
    };
    let actor = caller.actor().map_or_else(String::new, |actor| format!(" by {}", actor.sub));
    let prior = caller.prior_actors().to_string();
    let prior = if prior.is_empty() { String::new() } else { format!(" (before: {prior})") };
    let tenant = caller.tenant().map_or("none", |tenant| tenant.as_str());
    format!("{who}{actor}{prior} in {tenant}: {}", caller.scope())
}
