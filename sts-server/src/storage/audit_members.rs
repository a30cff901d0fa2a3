//! The members of an event that a search selects by, and the summaries that lead to them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::KEY_TEXT_BYTES;

/// The number of ids that a summary covers.
pub(super) const SUMMARY_IDS: i64 = 256;

/// The bits of a filter for each value. With [`digest_of`] eight bits are set for a value, so that
/// one filter of 300 holds a value that it was not made of.
const BITS_PER_VALUE: usize = 12;

/// The longest filter that a search reads, in bytes. Longer than that of 256 events, which have nine
/// values each. It bounds the memory of a search.
const LONGEST_FILTER: usize = 4096;

/// The kind of the event of an issued token.
const ISSUED: &str = "token.issued";

/// The filter that holds every value.
const HOLDS_ALL: &[u8] = &[0xff];

/// A member of an event by which a search can select.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AuditField {
    /// The kind of the event.
    Event,
    /// The authenticated agent.
    ClientId,
    /// The first of the actors.
    FirstActor,
    /// The user.
    Sub,
    /// The tenant.
    TenantId,
    /// The agent that the token is for.
    Target,
    /// The `X-Correlation-ID` of the request.
    CorrelationId,
    /// The transaction.
    Txn,
    /// The token.
    Jti,
}

impl AuditField {
    fn name(self) -> &'static str {
        match self {
            Self::Event => "event",
            Self::ClientId => "client_id",
            Self::FirstActor => "actors",
            Self::Sub => "sub",
            Self::TenantId => "tenant_id",
            Self::Target => "target",
            Self::CorrelationId => "correlation_id",
            Self::Txn => "txn",
            Self::Jti => "jti",
        }
    }

    /// Returns the filter that holds the values of the field.
    fn part(self) -> SummaryPart {
        match self {
            Self::Event | Self::ClientId | Self::FirstActor | Self::Sub | Self::TenantId | Self::Target => {
                SummaryPart::Names
            }
            Self::CorrelationId | Self::Txn | Self::Jti => SummaryPart::Identifiers,
        }
    }
}

/// The values of an event that a summary is made of.
#[derive(Debug, Deserialize)]
struct SummarizedEvent<'a> {
    #[serde(borrow)]
    at: Option<Cow<'a, str>>,
    #[serde(borrow)]
    delegation: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    client_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    actors: Option<Vec<Cow<'a, str>>>,
    #[serde(borrow)]
    sub: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tenant_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    correlation_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    txn: Option<Cow<'a, str>>,
    #[serde(borrow)]
    jti: Option<Cow<'a, str>>,
}

impl<'a> SummarizedEvent<'a> {
    /// Returns the delegation that the event's token was issued under, and the time of the event.
    fn use_of(&self) -> Option<(&str, i64)> {
        let at: Timestamp = self.at.as_deref().filter(|_| self.event.as_deref() == Some(ISSUED))?.parse().ok()?;
        // A name that no table takes was written past the servers.
        let is_storable = |name: &&str| name.len() <= KEY_TEXT_BYTES && !name.contains('\0');
        Some((self.delegation.as_deref().filter(is_storable)?, at.as_millisecond()))
    }

    /// Returns the values by which a search selects.
    fn values(self) -> impl Iterator<Item = (AuditField, Cow<'a, str>)> {
        let values = [
            (AuditField::Event, self.event),
            (AuditField::ClientId, self.client_id),
            (AuditField::FirstActor, self.actors.and_then(|actors| actors.into_iter().next())),
            (AuditField::Sub, self.sub),
            (AuditField::TenantId, self.tenant_id),
            (AuditField::Target, self.target),
            (AuditField::CorrelationId, self.correlation_id),
            (AuditField::Txn, self.txn),
            (AuditField::Jti, self.jti),
        ];
        values.into_iter().filter_map(|(field, value)| Some((field, value?)))
    }
}

/// A member of an event: a field with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditMember {
    field: AuditField,
    text: String,
}

impl AuditMember {
    /// Creates the member that events have whose `field` is `value`.
    #[must_use]
    pub fn new(field: AuditField, value: &str) -> Self {
        let opening = if field == AuditField::FirstActor { "[" } else { "" };
        Self { field, text: format!("\"{}\":{opening}{}", field.name(), Value::from(value)) }
    }

    /// Returns the text that the body of such an event contains.
    ///
    /// A body is JSON without whitespace between its tokens, and a quote inside of a text has a
    /// backslash before it. A member can therefore be found as text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// A filter of a summary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SummaryPart {
    /// Of values that many events share.
    Names,
    /// Of values that few events share.
    Identifiers,
}

impl SummaryPart {
    /// Returns the expression of the filter in SQL. Cuts off a filter that is too long.
    pub(super) fn expression(self) -> String {
        let column = match self {
            Self::Names => "names",
            Self::Identifiers => "identifiers",
        };
        let cut = LONGEST_FILTER + 1;
        // SQLite has NULL for a part of an empty value.
        format!("CASE WHEN octet_length({column}) <= {cut} THEN {column} ELSE substr({column}, 1, {cut}) END")
    }
}

/// The values of the events of a segment: of [`SUMMARY_IDS`] ids. A search passes over a segment
/// whose filters do not hold its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AuditSummary {
    pub(super) segment: i64,
    pub(super) names: Vec<u8>,
    pub(super) identifiers: Vec<u8>,
    /// The delegations that tokens were issued under, with the time of the last one in milliseconds.
    pub(super) uses: BTreeMap<String, i64>,
}

impl AuditSummary {
    /// Summarizes the bodies of all events of a segment. A body that is no event may match every
    /// search.
    pub(super) fn of<'a>(segment: i64, bodies: impl Iterator<Item = &'a str>) -> Self {
        let (mut values, mut uses) = (HashSet::new(), BTreeMap::new());
        let mut is_malformed = false;
        for body in bodies {
            let Ok(event) = serde_json::from_str::<SummarizedEvent<'_>>(body) else {
                is_malformed = true;
                continue;
            };
            if let Some((delegation, at)) = event.use_of() {
                let last = uses.entry(delegation.to_owned()).or_insert(at);
                *last = at.max(*last);
            }
            values.extend(event.values());
        }
        // Most events share most of their values, and each distinct value is digested once.
        let (mut names, mut identifiers) = (HashSet::new(), HashSet::new());
        for (field, value) in values {
            let digest = digest_of(AuditMember::new(field, &value).text());
            match field.part() {
                SummaryPart::Names => names.insert(digest),
                SummaryPart::Identifiers => identifiers.insert(digest),
            };
        }
        let [names, identifiers] =
            [names, identifiers].map(|values| if is_malformed { HOLDS_ALL.to_vec() } else { filter_of(&values) });
        Self { segment, names, identifiers, uses }
    }

    /// Returns the uses of several segments together, ordered by delegation.
    pub(super) fn uses_of(summaries: &[Self]) -> BTreeMap<&str, i64> {
        let mut uses = BTreeMap::new();
        for (delegation, at) in summaries.iter().flat_map(|summary| &summary.uses) {
            let last = uses.entry(delegation.as_str()).or_insert(*at);
            *last = (*last).max(*at);
        }
        uses
    }
}

/// The test of summaries for a search.
#[derive(Debug)]
pub(super) struct SummaryTest {
    pub(super) part: SummaryPart,
    /// Of each list, one must be held.
    lists: Vec<Vec<[u8; 32]>>,
}

impl SummaryTest {
    /// Creates the test of a search: of each of the lists, an event has at least one member.
    ///
    /// Tests identifiers alone if the search names one.
    pub(super) fn of(lists: &[Vec<AuditMember>]) -> Self {
        let of_part = |part| {
            let is_of = |list: &&Vec<AuditMember>| list.iter().all(|member| member.field.part() == part);
            let digests = |list: &Vec<AuditMember>| list.iter().map(|member| digest_of(&member.text)).collect();
            Self { part, lists: lists.iter().filter(is_of).map(digests).collect() }
        };
        let identifiers = of_part(SummaryPart::Identifiers);
        if identifiers.lists.is_empty() { of_part(SummaryPart::Names) } else { identifiers }
    }

    /// Returns true if a segment with this filter may have an event of the search. A filter that is
    /// too long is of no server, and decides nothing.
    pub(super) fn may_match(&self, filter: &[u8]) -> bool {
        filter.len() > LONGEST_FILTER || self.lists.iter().all(|list| list.iter().any(|digest| holds(filter, digest)))
    }
}

fn digest_of(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
    bytes
}

fn filter_of(digests: &HashSet<[u8; 32]>) -> Vec<u8> {
    let mut filter = vec![0; digests.len().saturating_mul(BITS_PER_VALUE).div_ceil(8)];
    for digest in digests {
        for (byte, bit) in bits(filter.len(), digest) {
            if let Some(byte) = filter.get_mut(byte) {
                *byte |= bit;
            }
        }
    }
    filter
}

fn holds(filter: &[u8], digest: &[u8; 32]) -> bool {
    !filter.is_empty()
        && bits(filter.len(), digest).all(|(byte, bit)| filter.get(byte).is_some_and(|byte| byte & bit != 0))
}

/// Returns the eight bits of a digest in a filter of so many bytes.
fn bits(bytes: usize, digest: &[u8; 32]) -> impl Iterator<Item = (usize, u8)> {
    let count = u32::try_from(bytes.saturating_mul(8)).unwrap_or(u32::MAX).max(1);
    digest.as_chunks::<4>().0.iter().map(move |chunk| {
        let bit = u32::from_be_bytes(*chunk) % count;
        (usize::try_from(bit / 8).unwrap_or(0), 1 << (bit % 8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(field: AuditField, value: &str) -> AuditMember {
        AuditMember::new(field, value)
    }

    fn may_match(lists: &[Vec<AuditMember>], summary: &AuditSummary) -> bool {
        let test = SummaryTest::of(lists);
        test.may_match(match test.part {
            SummaryPart::Names => &summary.names,
            SummaryPart::Identifiers => &summary.identifiers,
        })
    }

    #[test]
    fn a_summary_holds_every_member_of_its_events() {
        let bodies = [
            r#"{"event":"token.issued","client_id":"web","sub":"a \"b\"","actors":["web","x"],"txn":"t","jti":"j"}"#,
            r#"{"event":"revoked","actors":["cron"],"tenant_id":"acme","target":"mail","correlation_id":"c"}"#,
        ];
        let summary = AuditSummary::of(0, bodies.into_iter());
        for (field, value) in [
            (AuditField::Event, "revoked"),
            (AuditField::ClientId, "web"),
            (AuditField::FirstActor, "cron"),
            (AuditField::Sub, "a \"b\""),
            (AuditField::TenantId, "acme"),
            (AuditField::Target, "mail"),
            (AuditField::CorrelationId, "c"),
            (AuditField::Txn, "t"),
            (AuditField::Jti, "j"),
        ] {
            assert!(may_match(&[vec![member(field, value)]], &summary), "{field:?}");
            assert!(bodies.iter().any(|body| body.contains(member(field, value).text())), "{field:?}");
        }
        let (held, absent) = (member(AuditField::Txn, "t"), member(AuditField::Txn, "u"));
        assert!(may_match(&[vec![absent.clone(), held.clone()]], &summary), "one of a list suffices");
        assert!(!may_match(&[vec![absent.clone()], vec![held]], &summary), "every list counts");
        assert!(!may_match(&[vec![member(AuditField::ClientId, "cron")]], &summary), "the field counts");
    }

    #[test]
    fn a_use_of_a_delegation_whose_name_no_table_takes_is_not_counted() {
        let long = "x".repeat(KEY_TEXT_BYTES + 1);
        let named =
            |name: &str| format!(r#"{{"event":"token.issued","at":"2026-01-02T03:04:05Z","delegation":"{name}"}}"#);
        let bodies = ["a->b", r"a\u0000", &long].map(named);
        let summary = AuditSummary::of(0, bodies.iter().map(String::as_str));
        assert_eq!(summary.uses.keys().collect::<Vec<_>>(), ["a->b"]);
    }

    #[test]
    fn a_filter_rarely_holds_what_it_was_not_made_of() {
        let bodies: Vec<String> = (0..256).map(|user| format!(r#"{{"sub":"user-{user}"}}"#)).collect();
        let summary = AuditSummary::of(0, bodies.iter().map(String::as_str));
        assert_eq!(summary.names.len(), 384);
        let held = |user: &u32| may_match(&[vec![member(AuditField::Sub, &format!("other-{user}"))]], &summary);
        assert!((0..10_000).filter(held).count() < 60);
    }

    #[test]
    fn a_body_that_is_no_event_may_match_and_no_event_matches_nothing() {
        let any = [vec![member(AuditField::Sub, "a")]];
        assert!(may_match(&any, &AuditSummary::of(0, [r#"{"sub":"b"}"#, "?"].into_iter())));
        assert!(!may_match(&any, &AuditSummary::of(0, std::iter::empty())));
    }
}
