//! Warnings of entries that have expired, or will soon.

use jiff::{SignedDuration, Timestamp};

use crate::fault::Fault;
use crate::registry::RegistryFile;
use crate::registry::located::Place;

/// The time before an expiry from which it is soon.
pub const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);

/// Returns a warning for each enabled agent and delegation of a registry file that has expired, or
/// will within [`SOON`].
#[must_use]
pub fn expiring(registry: &RegistryFile, now: Timestamp) -> Vec<Fault> {
    let entries = registry.entries();
    let agents = entries.agents.iter().filter(|agent| !agent.entry.disabled);
    let agents = agents.map(|agent| (&agent.place, agent.entry.expires_at, format!("agent {:?}", agent.entry.id)));
    let delegations = entries.delegations.iter().filter(|delegation| !delegation.entry.disabled);
    let delegations = delegations.map(|delegation| {
        let entry = &delegation.entry;
        (&delegation.place, entry.expires_at, format!("the delegation of {:?} to {:?}", entry.actor, entry.target))
    });
    agents.chain(delegations).filter_map(|(place, at, name)| warning(place, at?, &name, now)).collect()
}

fn warning(place: &Place, at: Timestamp, name: &str, now: Timestamp) -> Option<Fault> {
    let left = at.duration_since(now);
    if left > SOON {
        return None;
    }
    let day = at.strftime("%Y-%m-%d %H:%M:%SZ");
    let message = if left <= SignedDuration::ZERO {
        format!("{name} expired at {day} and is disabled")
    } else {
        format!("{name} expires at {day}, in {} hours", left.as_hours())
    };
    Some(place.warning("expires_at", message).with_help("set a later time, or remove the entry"))
}
