//! The search of the audit log, the same in every database.
//!
//! Rows have ids, and no index but that of the ids. A search by time finds its first id by
//! bisection. A search by members passes over the segments whose summaries do not hold them.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use super::audit_members::{SUMMARY_IDS, SummaryPart, SummaryTest};
use super::{AUDIT_PAGE_BYTES, AuditFilter, AuditOrder, AuditPage, AuditScan, StoredAuditRow};

/// The most, in milliseconds, by which an event can be later than an event with a greater id. The
/// clocks of two ready servers differ by at most two minutes. A decision waits less than one minute
/// for its commit.
const DISORDER_MILLISECONDS: i64 = 3 * 60 * 1000;

/// The maximum number of ids read to cover that disorder. It bounds the cost of a search by time.
const DISORDER_IDS: i64 = 100_000;

/// The number of rows whose median time is that of their first row for a search by time. A single
/// row with a wrong time misleads no search. An odd number.
pub(super) const MEDIAN_ROWS: i64 = 31;

/// The maximum number of ids that a page of a search by members reads.
const SCANNED_IDS: i64 = 100_000;

/// The maximum number of summaries that a page reads.
const SUMMARIES: i64 = 100_000;

/// The numbers of summaries that are read at once: few for a search that finds its rows soon.
const FIRST_SUMMARIES: i64 = 400;
const MOST_SUMMARIES: i64 = 1_000;

/// The maximum number of segments that are summarized, or counted, in a transaction.
pub(super) const SUMMARIZED_SEGMENTS: i64 = 4;

/// The reads of a search, as a database does them.
pub(super) trait AuditReader: Send {
    /// The error of the database.
    type Error: Send;

    /// Returns the least and the greatest id of a search. No row can appear between them.
    fn ends(&mut self) -> impl Future<Output = Result<Option<(i64, i64)>, Self::Error>> + Send;

    /// Returns the ids and the times of the first [`MEDIAN_ROWS`] rows at or after an id.
    fn times_from(&mut self, id: i64) -> impl Future<Output = Result<Vec<(i64, i64)>, Self::Error>> + Send;

    /// Returns up to `limit` filters with their segments, in this order.
    fn summaries(
        &mut self,
        part: SummaryPart,
        segments: RangeInclusive<i64>,
        order: AuditOrder,
        limit: i64,
    ) -> impl Future<Output = Result<Vec<(i64, Vec<u8>)>, Self::Error>> + Send;

    /// Returns the matching rows of these ids: up to `limit`, and those that fewer than `bytes`
    /// bytes of bodies precede.
    fn rows(
        &mut self,
        filter: &AuditFilter,
        ids: RangeInclusive<i64>,
        limit: u32,
        bytes: i64,
    ) -> impl Future<Output = Result<Vec<StoredAuditRow>, Self::Error>> + Send;
}

/// Returns a page of a search.
pub(super) async fn search<R: AuditReader>(
    reader: &mut R,
    filter: &AuditFilter,
    limit: u32,
) -> Result<AuditPage, R::Error> {
    let Some((low, high)) = ids(reader, filter).await? else { return Ok(AuditPage::default()) };
    let mut walk = Walk::of(filter, low, high);
    let mut page = AuditPage::default();
    let mut bytes = 0_usize;
    while let Some(ids) = walk.next(reader).await? {
        let left = limit.saturating_sub(u32::try_from(page.rows.len()).unwrap_or(u32::MAX));
        let bytes_left = i64::try_from(AUDIT_PAGE_BYTES.saturating_sub(bytes)).unwrap_or(i64::MAX);
        let rows = reader.rows(filter, ids, left, bytes_left).await?;
        bytes = rows.iter().map(|row| row.row.body.len()).fold(bytes, usize::saturating_add);
        // A row whose body is too long to be read also ends a page.
        let is_cut = bytes >= AUDIT_PAGE_BYTES || rows.iter().any(|row| row.row.body.is_empty());
        let is_full = u32::try_from(rows.len()).is_ok_and(|count| count >= left);
        page.rows.extend(rows);
        if is_cut || is_full {
            page.next = page.rows.last().map(|row| row.id);
            return Ok(page);
        }
    }
    page.next = walk.stopped_at();
    Ok(page)
}

/// Returns the ids that are left of a search, or `None` if there are none.
async fn ids<R: AuditReader>(reader: &mut R, filter: &AuditFilter) -> Result<Option<(i64, i64)>, R::Error> {
    let Some((least, greatest)) = reader.ends().await? else { return Ok(None) };
    let (mut low, mut high) = (least, greatest);
    if let Some(since) = filter.since {
        let since = since.as_millisecond();
        let (first, _) = crossing(reader, since, (least, greatest)).await?;
        let (safe, _) = crossing(reader, since.saturating_sub(DISORDER_MILLISECONDS), (least, greatest)).await?;
        low = safe.max(first.saturating_sub(DISORDER_IDS)).saturating_sub(MEDIAN_ROWS).max(least);
    }
    if let Some(until) = filter.until {
        let after = until.as_millisecond().saturating_add(1);
        let (_, first) = crossing(reader, after, (least, greatest)).await?;
        let (_, safe) = crossing(reader, after.saturating_add(DISORDER_MILLISECONDS), (least, greatest)).await?;
        high = safe.min(first.saturating_add(DISORDER_IDS)).min(greatest);
    }
    match (filter.order, filter.after_id) {
        (AuditOrder::OldestFirst, Some(after)) => low = low.max(after.saturating_add(1)),
        (AuditOrder::NewestFirst, Some(after)) => high = high.min(after.saturating_sub(1)),
        (AuditOrder::OldestFirst | AuditOrder::NewestFirst, None) => {}
    }
    Ok((low <= high).then_some((low, high)))
}

/// Returns the ids between which the log passes a time: events before the first id are earlier than
/// the time, and those after the last id are not. Rows are nearly in the order of their times.
async fn crossing<R: AuditReader>(reader: &mut R, time: i64, (low, high): (i64, i64)) -> Result<(i64, i64), R::Error> {
    let (mut before, mut after) = (low.saturating_sub(1), high.saturating_add(1));
    let mut last = high;
    while after.saturating_sub(before) > 1 {
        let middle = before.saturating_add(after.saturating_sub(before) / 2);
        let rows = reader.times_from(middle).await?;
        match rows.first().map(|(id, _)| *id).zip(median(&rows)) {
            Some((id, at)) if id < after && at < time => before = id,
            Some(_) | None => {
                after = middle;
                last = rows.last().map_or(last, |(id, _)| *id);
            }
        }
    }
    Ok((after, last))
}

/// Returns the median time of these rows, and of an even number the later one: at the end of the log
/// an earlier time would hide rows.
fn median(rows: &[(i64, i64)]) -> Option<i64> {
    let mut times: Vec<i64> = rows.iter().map(|(_, at)| *at).collect();
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}

/// The ranges of ids that a page reads, one after the other.
///
/// Counts in positions, which grow in the order of the search: ids, or negative ids for the newest
/// first.
struct Walk {
    order: AuditOrder,
    /// `None` if no summary decides which ids to read.
    test: Option<SummaryTest>,
    /// The next position, and the last one.
    at: i64,
    end: i64,
    /// The last position whose summaries were read.
    known: i64,
    /// The positions before `known` of segments without a match, in order.
    passed: VecDeque<(i64, i64)>,
    /// The number of summaries to read at once, and those that the page may still read.
    fetch: i64,
    summaries_left: i64,
    ids_left: i64,
}

impl Walk {
    fn of(filter: &AuditFilter, low: i64, high: i64) -> Self {
        let (at, end) = match filter.order {
            AuditOrder::OldestFirst => (low, high),
            AuditOrder::NewestFirst => (high.saturating_neg(), low.saturating_neg()),
        };
        let members = filter.members();
        let test = match filter.scan {
            AuditScan::Summarized => (!members.is_empty()).then(|| SummaryTest::of(&members)),
            AuditScan::EveryRow => None,
        };
        Self {
            order: filter.order,
            known: if test.is_some() { at.saturating_sub(1) } else { end },
            ids_left: if members.is_empty() { i64::MAX } else { SCANNED_IDS },
            test,
            at,
            end,
            passed: VecDeque::new(),
            fetch: FIRST_SUMMARIES,
            summaries_left: SUMMARIES,
        }
    }

    /// Returns the next ids to read, or `None` at the end of the search or of the page.
    async fn next<R: AuditReader>(&mut self, reader: &mut R) -> Result<Option<RangeInclusive<i64>>, R::Error> {
        while self.at <= self.end && self.ids_left > 0 {
            let last = match self.passed.front() {
                Some((first, last)) if *first <= self.at => {
                    self.at = last.saturating_add(1);
                    self.passed.pop_front();
                    continue;
                }
                Some((first, _)) => first.saturating_sub(1),
                None if self.knows_too_little() => {
                    self.learn(reader).await?;
                    continue;
                }
                None if self.known < self.at => return Ok(None),
                None => self.known.min(self.end),
            };
            let last = last.min(self.at.saturating_add(self.ids_left.saturating_sub(1)));
            let (first, last) = (std::mem::replace(&mut self.at, last.saturating_add(1)), last);
            self.ids_left = self.ids_left.saturating_sub(self.at.saturating_sub(first));
            return Ok(Some(self.ids(first, last)));
        }
        Ok(None)
    }

    /// Returns true if more summaries can make the next range longer.
    fn knows_too_little(&self) -> bool {
        self.summaries_left > 0
            && self.known < self.end
            && self.known.saturating_sub(self.at).saturating_add(1) < self.ids_left
    }

    /// Reads the next summaries.
    async fn learn<R: AuditReader>(&mut self, reader: &mut R) -> Result<(), R::Error> {
        let Some(test) = &self.test else { return Ok(()) };
        let ids = self.ids(self.known.saturating_add(1), self.end);
        let segments = ids.start().div_euclid(SUMMARY_IDS)..=ids.end().div_euclid(SUMMARY_IDS);
        let read = reader.summaries(test.part, segments, self.order, self.fetch).await?;
        let count = i64::try_from(read.len()).unwrap_or(i64::MAX);
        let reached = read.last().map(|(segment, _)| self.positions(*segment).1);
        self.known = reached.filter(|_| count >= self.fetch).unwrap_or(self.end);
        let passed = read.iter().filter(|(_, filter)| !test.may_match(filter));
        let passed: Vec<_> = passed.map(|(segment, _)| self.positions(*segment)).collect();
        self.passed.extend(passed);
        self.summaries_left = self.summaries_left.saturating_sub(count);
        self.fetch = self.fetch.saturating_mul(5).min(MOST_SUMMARIES);
        Ok(())
    }

    /// Returns the `after_id` that continues the search, or `None` at its end.
    fn stopped_at(&self) -> Option<i64> {
        let last = self.at.saturating_sub(1);
        (self.at <= self.end).then(|| match self.order {
            AuditOrder::OldestFirst => last,
            AuditOrder::NewestFirst => last.saturating_neg(),
        })
    }

    /// Returns the ids of a range of positions.
    fn ids(&self, first: i64, last: i64) -> RangeInclusive<i64> {
        match self.order {
            AuditOrder::OldestFirst => first..=last,
            AuditOrder::NewestFirst => last.saturating_neg()..=first.saturating_neg(),
        }
    }

    /// Returns the first and the last position of a segment.
    fn positions(&self, segment: i64) -> (i64, i64) {
        let first = segment.saturating_mul(SUMMARY_IDS);
        let last = first.saturating_add(SUMMARY_IDS - 1);
        match self.order {
            AuditOrder::OldestFirst => (first, last),
            AuditOrder::NewestFirst => (last.saturating_neg(), first.saturating_neg()),
        }
    }
}

/// Returns the segments to summarize next: those after the last summary whose ids are all at or
/// below the greatest settled id. No row can appear in them any more.
pub(super) fn unsummarized(least: i64, settled: i64, last: Option<i64>) -> Option<RangeInclusive<i64>> {
    let first = least.div_euclid(SUMMARY_IDS);
    let first = last.map_or(first, |last| first.max(last.saturating_add(1)));
    let whole = settled.saturating_add(1).div_euclid(SUMMARY_IDS).saturating_sub(1);
    let last = whole.min(first.saturating_add(SUMMARIZED_SEGMENTS - 1));
    (first <= last).then_some(first..=last)
}

/// Returns the word that orders rows in SQL.
pub(super) fn direction(order: AuditOrder) -> &'static str {
    match order {
        AuditOrder::OldestFirst => "ASC",
        AuditOrder::NewestFirst => "DESC",
    }
}
