//! The reach of a revocation: what it would refuse now, counted before it is made.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Administration, AuditOutcome, AuditQuery};
use crate::exchange::Revocation;
use crate::record::{Event, EventKind, event_of};
use crate::registry::class_of;
use crate::storage::{AuditOrder, RevocationKind, StorageError};

/// The maximum number of events that are counted, and that are read at once.
const COUNTED: usize = 20_000;
const PAGE: u32 = 1000;

/// The valid tokens that a revocation would refuse.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// The number of tokens.
    pub tokens: usize,
    /// The users that they are of.
    pub users: BTreeSet<String>,
    /// The agents that they are for.
    pub targets: BTreeSet<String>,
    /// True if there may be more, because the count ended at its limit.
    pub is_more: bool,
}

impl Administration {
    /// Counts the valid tokens of this service that revocations of one kind would refuse, from their
    /// events.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn reach(&self, revocations: &[Revocation]) -> Result<Reached, StorageError> {
        let Some(revocation) = revocations.first() else { return Ok(Reached::default()) };
        let value = || Some(revocation.value.clone());
        let now = self.now();
        let mut query = AuditQuery { outcome: Some(AuditOutcome::Allowed), ..AuditQuery::default() };
        match revocation.kind {
            RevocationKind::Transaction => query.txn = value(),
            RevocationKind::Tenant => query.tenant = value(),
            RevocationKind::Subject => query.sub = value(),
            // A token is revoked with those exchanged from it, which are of its transaction.
            RevocationKind::Token | RevocationKind::TokenAlone => {
                query.txn = self.transaction_of(&revocation.value).await?
            }
            // An agent is revoked wherever it stands in a chain.
            RevocationKind::Agent => {}
        }
        // The newest are valid for longest. Tokens exchanged from one follow it.
        let order = match revocation.kind {
            RevocationKind::Token | RevocationKind::TokenAlone => AuditOrder::OldestFirst,
            _ => AuditOrder::NewestFirst,
        };
        let mut filter = self.audit_filter(&query, order);
        let longest = SignedDuration::from_secs(self.config.limits.max_ttl.as_seconds());
        filter.since = now.checked_sub(longest).ok();
        let (mut reached, mut read) = (Reached::default(), 0_usize);
        let mut descendants = BTreeSet::from([revocation.value.clone()]);
        loop {
            let page = self.audit(&filter, PAGE).await?;
            read = read.saturating_add(page.rows.len());
            for event in page.rows.iter().filter_map(|row| event_of(&row.row)) {
                if event.event == EventKind::TokenIssued
                    && revocations.iter().any(|revocation| is_reached(revocation, &event, &mut descendants))
                {
                    reached.add(event, now.as_second());
                }
            }
            filter.after_id = page.next;
            reached.is_more = page.next.is_some() && read >= COUNTED;
            if page.next.is_none() || reached.is_more {
                return Ok(reached);
            }
        }
    }

    /// Returns the transaction of a token that was issued here.
    async fn transaction_of(&self, jti: &str) -> Result<Option<String>, StorageError> {
        let query =
            AuditQuery { jti: Some(jti.to_owned()), outcome: Some(AuditOutcome::Allowed), ..AuditQuery::default() };
        let mut filter = self.audit_filter(&query, AuditOrder::NewestFirst);
        loop {
            let page = self.audit(&filter, PAGE).await?;
            let found = page.rows.iter().find_map(|row| event_of(&row.row)?.txn);
            if found.is_some() || page.next.is_none() {
                return Ok(found);
            }
            filter.after_id = page.next;
        }
    }
}

impl Reached {
    fn add(&mut self, event: Event, now: i64) {
        if event.exp.is_none_or(|exp| exp <= now) {
            return;
        }
        self.tokens = self.tokens.saturating_add(1);
        self.users.extend(event.sub);
        self.targets.extend(event.target);
    }
}

/// Returns true if the revocation refuses the token of this event. `descendants` collects the tokens
/// that were exchanged from a revoked one.
fn is_reached(revocation: &Revocation, event: &Event, descendants: &mut BTreeSet<String>) -> bool {
    let Revocation { kind, issuer, value } = revocation;
    match kind {
        RevocationKind::Transaction | RevocationKind::Tenant => true,
        RevocationKind::Subject => issuer.as_ref().is_none_or(|issuer| event.subject_issuer.as_ref() == Some(issuer)),
        RevocationKind::Agent => {
            event.actors.iter().any(|actor| actor == value || class_of(actor).is_some_and(|class| class == *value))
        }
        RevocationKind::Token | RevocationKind::TokenAlone => {
            let is_of = |jti: &Option<String>| jti.as_ref().is_some_and(|jti| descendants.contains(jti));
            let is_reached = is_of(&event.jti) || is_of(&event.parent_jti);
            if is_reached {
                descendants.extend(event.jti.clone());
            }
            is_reached
        }
    }
}
