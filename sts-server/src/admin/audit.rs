//! Searches of the audit log, its retention, and the acknowledgement of its faults.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use jiff::{SignedDuration, Timestamp};
use thiserror::Error;

use super::{Administration, By, Records};
use crate::keys;
use crate::record::{self, AuditFault, EventKind, RetentionError, cut};
use crate::storage::{
    AuditField, AuditFilter, AuditHead, AuditMember, AuditOrder, AuditPage, AuditScan, StorageError, StoredAuditRow,
};
use crate::ttl::Ttl;

/// The number of portions of events that are summarized at once.
const SUMMARIES: u32 = 250;
const DAY_SECONDS: i64 = 24 * 60 * 60;

/// The filter of a search. An absent field matches all events.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Selects events about this user, as named in minted tokens.
    pub sub: Option<String>,
    /// Selects events of this agent: its requests, and its revocations.
    pub agent: Option<String>,
    /// Selects events of this tenant.
    pub tenant: Option<String>,
    /// Selects events about tokens for this agent.
    pub target: Option<String>,
    /// Selects events with this `X-Correlation-ID`.
    pub correlation_id: Option<String>,
    /// Selects events of this transaction.
    pub txn: Option<String>,
    /// Selects events of this token.
    pub jti: Option<String>,
    /// Selects events with this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Selects events at or after this time.
    pub since: Option<AuditTime>,
    /// Selects events at or before this time.
    pub until: Option<AuditTime>,
}

/// The outcome of the request that an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It was allowed: a token was issued, or a change was made.
    Allowed,
    /// It was refused.
    Refused,
}

/// A time: a span before now, such as `15m`, or a timestamp of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditTime {
    /// So long before now.
    Ago(Ttl),
    /// This time.
    At(Timestamp),
}

/// The text is not an [`AuditOutcome`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be allowed or refused")]
pub struct AuditOutcomeError;

/// The text is not an [`AuditTime`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be a span of time such as 15m or 24h, or a time such as 2026-01-31T12:00:00Z")]
pub struct AuditTimeError;

impl FromStr for AuditOutcome {
    type Err = AuditOutcomeError;

    fn from_str(text: &str) -> Result<Self, AuditOutcomeError> {
        match text {
            "allowed" => Ok(Self::Allowed),
            "refused" => Ok(Self::Refused),
            _ => Err(AuditOutcomeError),
        }
    }
}

impl FromStr for AuditTime {
    type Err = AuditTimeError;

    fn from_str(text: &str) -> Result<Self, AuditTimeError> {
        let span = text.parse().map(Self::Ago);
        span.or_else(|_| text.parse().map(Self::At)).or(Err(AuditTimeError))
    }
}

impl fmt::Display for AuditTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ago(span) => span.fmt(f),
            Self::At(time) => time.fmt(f),
        }
    }
}

impl AuditTime {
    /// Returns this time as a timestamp, so that every page of a search has the same limits.
    #[must_use]
    pub fn fixed(self, now: Timestamp) -> Self {
        Self::At(self.before(now))
    }

    fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => now.checked_sub(SignedDuration::from_secs(span.as_seconds())).unwrap_or(now),
            Self::At(time) => time,
        }
    }
}

impl AuditOutcome {
    /// Returns the name of the outcome.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
        }
    }

    fn kinds(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| kind.is_refusal() == (self == Self::Refused))
    }
}

impl Records {
    /// Returns the storage filter of a query made now, in this order.
    #[must_use]
    pub fn audit_filter(&self, query: &AuditQuery, order: AuditOrder) -> AuditFilter {
        let now = self.now();
        // Events store long names cut; the filter cuts them the same way.
        let name = |name: &Option<String>| name.as_deref().map(|name| cut(name).into_owned());
        AuditFilter {
            order,
            after_id: None,
            since: query.since.map(|time| time.before(now)),
            until: query.until.map(|time| time.before(now)),
            correlation_id: name(&query.correlation_id),
            txn: name(&query.txn),
            jti: name(&query.jti),
            members: query.members(),
            scan: AuditScan::default(),
        }
    }

    /// Returns a page of up to `limit` events, or fewer if they are large or far apart.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn audit(&self, filter: &AuditFilter, limit: u32) -> Result<AuditPage, StorageError> {
        self.store.audit(filter, limit).await
    }

    /// Returns rows in the order of their chains, after this place.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn audit_chain(
        &self,
        after: Option<(&str, i64)>,
        limit: u32,
    ) -> Result<Vec<StoredAuditRow>, StorageError> {
        self.store.audit_chain(after, limit).await
    }

    /// Returns the last row of each chain.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn audit_heads(&self) -> Result<Vec<AuditHead>, StorageError> {
        self.store.audit_heads().await
    }
}

impl Administration {
    /// Removes the events that are older than `audit.retain`. Returns the number of removed rows.
    ///
    /// A span of days removes whole days. The clock of this server and that of the database must
    /// agree that an event is old.
    ///
    /// # Errors
    /// [`RetentionError`].
    pub async fn shorten_audit(&self) -> Result<u64, RetentionError> {
        let Some(span) = self.config.audit.retain else { return Ok(0) };
        let now = self.now().min(self.store.state().await?.time);
        self.store.check_codes().await?;
        let keys = self.chain_keys().await?;
        record::shorten(&*self.store, &keys, cutoff(now, span)).await
    }

    /// Returns the keys that audit chains may be written under.
    ///
    /// # Errors
    /// [`StorageError`]; `Foreign` if the database is sealed under another master key.
    pub async fn chain_keys(&self) -> Result<Vec<hmac::Key>, StorageError> {
        let former = self.store.audit_keys().await?;
        keys::audit_keys(&self.master, &former)
            .map_err(|error| StorageError::Malformed { table: "audit_keys", reason: error.to_string() })
    }

    /// Summarizes events for searches. Returns the number of summarized segments. Ends early, to
    /// leave time for other maintenance; the next call continues.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn summarize_audit(&self) -> Result<u64, StorageError> {
        let mut summarized: u64 = 0;
        for _ in 0..SUMMARIES {
            let more = self.store.summarize_audit().await?;
            if more == 0 {
                break;
            }
            summarized = summarized.saturating_add(more);
        }
        Ok(summarized)
    }

    /// Records that an operator has explained a fault of the audit log. Returns the fault, or `None`
    /// if the row has no fault that is not acknowledged.
    ///
    /// # Errors
    /// [`StorageError`]; `Foreign` under another master key, whose event no server would accept.
    pub async fn acknowledge_audit(
        &self,
        (writer, sequence): (&str, i64),
        heads: &[AuditHead],
        why: &str,
        by: &By,
    ) -> Result<Option<AuditFault>, StorageError> {
        self.store.check_codes().await?;
        let report = record::verify(&*self.store, &self.chain_keys().await?, heads).await?;
        let is_named = |(fault, _): &(&AuditFault, &String)| fault.row() == (writer, sequence);
        let Some((fault, evidence)) = report.faults.iter().zip(&report.evidence).find(is_named) else {
            return Ok(None);
        };
        let row = self.audit_row(EventKind::AuditAcknowledged, by, |event| {
            event.row = Some(format!("{writer}:{sequence}"));
            event.evidence = Some(evidence.clone());
            event.reason = Some(fault.name().to_owned());
            event.detail = Some(why.to_owned());
        });
        self.store.append_audit(&[row]).await?;
        Ok(Some(fault.clone()))
    }
}

/// Returns the time before which events are old, at a whole multiple of the span, or of a day.
fn cutoff(now: Timestamp, span: Ttl) -> Timestamp {
    let span = span.as_seconds();
    let before = now.as_second().saturating_sub(span);
    let whole = before.saturating_sub(before.rem_euclid(span.clamp(1, DAY_SECONDS)));
    Timestamp::from_second(whole).unwrap_or(Timestamp::MIN)
}

impl AuditQuery {
    /// Returns the members of a matching event: of each list at least one.
    fn members(&self) -> Vec<Vec<AuditMember>> {
        let member = |field: AuditField, value: &str| AuditMember::new(field, &cut(value));
        let of_agent = |agent: &str| [AuditField::ClientId, AuditField::FirstActor].map(|field| member(field, agent));
        let of_outcome =
            |outcome: AuditOutcome| outcome.kinds().map(|kind| member(AuditField::Event, kind.as_str())).collect();
        let one = |field: AuditField, value: &Option<String>| value.as_deref().map(|value| vec![member(field, value)]);
        [
            one(AuditField::Sub, &self.sub),
            self.agent.as_deref().map(|agent| of_agent(agent).into()),
            one(AuditField::TenantId, &self.tenant),
            one(AuditField::Target, &self.target),
            self.outcome.map(of_outcome),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Event;

    fn selects(query: &AuditQuery, event: &Event) -> bool {
        let body = serde_json::to_string(event).unwrap();
        query.members().iter().all(|members| members.iter().any(|member| body.contains(member.text())))
    }

    #[test]
    fn a_name_is_found_in_its_field_alone() {
        let some = |text: &str| Some(text.to_owned());
        let mut event = Event::new(EventKind::TokenIssued, Timestamp::UNIX_EPOCH);
        event.sub = some("a \"quoted\" name");
        event.client_id = some("coordinator");
        event.target = some("inventory");
        event.actors = vec!["coordinator".to_owned(), "portal".to_owned()];
        event.detail = some("\"sub\":\"mallory\",\"event\":\"token.refused\"");
        let found = [
            AuditQuery { sub: some("a \"quoted\" name"), ..AuditQuery::default() },
            AuditQuery { agent: some("coordinator"), target: some("inventory"), ..AuditQuery::default() },
            AuditQuery { outcome: Some(AuditOutcome::Allowed), ..AuditQuery::default() },
        ];
        let not_found = [
            AuditQuery { sub: some("mallory"), ..AuditQuery::default() },
            AuditQuery { sub: some("a"), ..AuditQuery::default() },
            AuditQuery { agent: some("inventory"), ..AuditQuery::default() },
            AuditQuery { agent: some("portal"), ..AuditQuery::default() },
            AuditQuery { agent: some("coord"), ..AuditQuery::default() },
            AuditQuery { outcome: Some(AuditOutcome::Refused), ..AuditQuery::default() },
        ];
        assert!(found.iter().all(|query| selects(query, &event)));
        assert!(not_found.iter().all(|query| !selects(query, &event)));
        event.client_id = None;
        event.actors = vec!["inventory".to_owned()];
        event.event = EventKind::Revoked;
        assert!(selects(&AuditQuery { agent: some("inventory"), ..AuditQuery::default() }, &event));
    }

    #[test]
    fn a_retention_of_days_ends_with_a_day() {
        let now: Timestamp = "2026-01-31T12:34:56Z".parse().unwrap();
        for (span, before) in [
            ("30d", "2026-01-01T00:00:00Z"),
            ("36h", "2026-01-30T00:00:00Z"),
            ("1h", "2026-01-31T11:00:00Z"),
            ("1s", "2026-01-31T12:34:55Z"),
        ] {
            assert_eq!(cutoff(now, span.parse().unwrap()), before.parse().unwrap(), "{span}");
        }
    }

    #[test]
    fn times_are_spans_or_timestamps() {
        let now: Timestamp = "2026-01-31T12:00:00Z".parse().unwrap();
        for (text, time) in [("15m", "2026-01-31T11:45:00Z"), ("2026-01-31T13:00:00+02:00", "2026-01-31T11:00:00Z")] {
            let parsed: AuditTime = text.parse().unwrap();
            assert_eq!(parsed.before(now), time.parse().unwrap(), "{text}");
        }
        for text in ["", "yesterday", "0s", "2026-01-31"] {
            assert_eq!(text.parse::<AuditTime>(), Err(AuditTimeError), "{text}");
        }
    }
}
