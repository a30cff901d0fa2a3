//! The last uses of delegations and agents, and the entries that are not used any more.

use std::borrow::Cow;
use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Denied, Records};
use crate::record::{EventKind, cut, event_of};
use crate::registry::{Delegation, Registry};
use crate::storage::{AuditFilter, StorageError};

/// The number of events that are read at once, and of reads, for the uses that no server has counted
/// yet.
const PAGE: u32 = 1000;
const PAGES: usize = 200;

/// The last uses of some delegations: the tokens that were issued under them.
#[derive(Debug, Clone, Default)]
pub struct Uses {
    used: HashMap<String, Timestamp>,
    /// False while some events are not counted.
    is_whole: bool,
}

/// The entries without a use since a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Unused {
    /// The time.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// The agents, then the delegations, each ordered by id.
    pub entries: Vec<UnusedEntry>,
}

/// An agent or a delegation without a use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnusedEntry {
    /// `agent` or `delegation`.
    pub kind: Cow<'static, str>,
    /// The id of the entry within its kind.
    pub id: String,
    /// The person or team that answers for the entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// True if the entry is disabled, or has expired.
    pub disabled: bool,
    /// The time of the last token. Absent if there was none in 400 days.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
}

/// The last use of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastUse {
    /// The time of the last token.
    At(Timestamp),
    /// No token was issued in 400 days.
    Never,
    /// No use is known, and some events are not counted yet.
    Uncounted,
}

impl Uses {
    /// Returns the last use of any of these delegations.
    #[must_use]
    pub fn last<'a>(&self, delegations: impl Iterator<Item = &'a Delegation>) -> LastUse {
        match delegations.filter_map(|delegation| self.of(delegation)).max() {
            Some(at) => LastUse::At(at),
            None if self.is_whole => LastUse::Never,
            None => LastUse::Uncounted,
        }
    }

    fn of(&self, delegation: &Delegation) -> Option<Timestamp> {
        // Events have long names cut.
        self.used.get(cut(&delegation.id).as_ref()).copied()
    }
}

impl Records {
    /// Returns the last uses of these delegations. Events that no server has counted yet are read up
    /// to a small number. Where very many were not counted, a use may be missing, and [`Uses::last`]
    /// says so.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn uses(&self, delegations: &[&Delegation]) -> Result<Uses, StorageError> {
        self.uses_within(delegations, 1).await
    }

    async fn uses_within(&self, delegations: &[&Delegation], pages: usize) -> Result<Uses, StorageError> {
        let names: Vec<_> = delegations.iter().map(|delegation| cut(&delegation.id)).collect();
        let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
        let counted = self.store.delegation_uses(&names).await?;
        let mut uses = Uses { used: counted.used.into_iter().collect(), is_whole: false };
        let mut filter = AuditFilter { after_id: counted.counted_through, ..AuditFilter::default() };
        for _ in 0..pages {
            let page = self.audit(&filter, PAGE).await?;
            for event in page.rows.iter().filter_map(|row| event_of(&row.row)) {
                if let (EventKind::TokenIssued, Some(delegation)) = (event.event, event.delegation) {
                    let last = uses.used.entry(delegation).or_insert(event.at);
                    *last = event.at.max(*last);
                }
            }
            filter.after_id = page.next;
            if page.next.is_none() {
                uses.is_whole = counted.is_whole;
                break;
            }
        }
        Ok(uses)
    }

    /// Returns the agents and the delegations that were not used in this number of days.
    ///
    /// # Errors
    /// [`Denied::Uncounted`] while too many events are not counted, or an error of the database.
    pub async fn unused(&self, days: u16) -> Result<Unused, Denied> {
        let now = self.now();
        let since = now.checked_sub(SignedDuration::from_hours(i64::from(days) * 24)).unwrap_or(Timestamp::MIN);
        let (registry, _faults) = Registry::of(&self.store.entries().await?, &Registry::default(), now);
        let mut delegations: Vec<&Delegation> = registry.all_delegations().collect();
        let uses = self.uses_within(&delegations, PAGES).await?;
        if !uses.is_whole {
            return Err(Denied::Uncounted);
        }
        let mut of_agents: HashMap<&str, Timestamp> = HashMap::new();
        for delegation in &delegations {
            let Some(at) = uses.of(delegation) else { continue };
            for agent in [&delegation.actor, &delegation.target] {
                let last = of_agents.entry(agent).or_insert(at);
                *last = at.max(*last);
            }
        }
        let mut agents: Vec<_> = registry.agents().collect();
        agents.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        delegations.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        let agents = agents.into_iter().map(|agent| UnusedEntry {
            kind: "agent".into(),
            id: agent.id.clone(),
            owner: agent.owner.clone(),
            disabled: agent.disabled,
            last_used_at: of_agents.get(agent.id.as_str()).copied(),
        });
        let delegations = delegations.into_iter().map(|delegation| UnusedEntry {
            kind: "delegation".into(),
            id: delegation.id.clone(),
            owner: delegation.owner.clone(),
            disabled: delegation.disabled,
            last_used_at: uses.of(delegation),
        });
        let is_unused = |entry: &UnusedEntry| entry.last_used_at.is_none_or(|at| at < since);
        Ok(Unused { since, entries: agents.chain(delegations).filter(is_unused).collect() })
    }
}
