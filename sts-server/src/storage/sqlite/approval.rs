//! Reads and changes of approvals.

use jiff::Timestamp;
use serde_json::json;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnection;

use super::error::SqliteError;
use super::{audit, begin_immediate, counter, registry};
use crate::storage::approval_rows::{
    self, ApprovalColumns, ApprovalCounts, CLOSED_AT_ONCE, ExpiryCursor, KEPT_CLOSED, MOST_CLOSED, select_approvals,
};
use crate::storage::coded::{self, Coded as _, RevocationColumns};
use crate::storage::codes::{Counter, RowCodes};
use crate::storage::columns;
use crate::storage::{
    ApprovalChange, ApprovalChanges, ApprovalConditions, ApprovalRequested, ApprovalRow, ApprovalState, AuditRow,
    HeldApprovals, RevocationKind, RevocationRow, Stored,
};

/// All approvals with their codes.
pub(super) const APPROVALS: &str = select_approvals!("ORDER BY requested_at, id");

/// Those that changed after a version.
const CHANGED: &str = select_approvals!("WHERE version > ?1 ORDER BY version, id");

/// Those that a revocation of this name may end.
const OPEN_OF: &str = select_approvals!(
    "WHERE state IN ('pending', 'granted')
       AND (principal_sub = ?1 OR sub = ?1 OR tenant_id = ?1
            OR INSTR(' ' || agents || ' ', ' ' || ?1 || ' ') > 0)"
);

/// Those that have expired, and are not closed yet.
const EXPIRED: &str = select_approvals!(
    "WHERE state IN ('pending', 'granted') AND expires_at <= ?1 AND (expires_at, id) > (?2, ?3)
     ORDER BY expires_at, id LIMIT ?4"
);

/// Those that are closed and ended before a time.
const CLOSED: &str = select_approvals!(
    "WHERE state NOT IN ('pending', 'granted') AND expires_at <= ?1 AND (expires_at, id) > (?2, ?3)
     ORDER BY expires_at, id LIMIT ?4"
);

/// The counts that bound further approvals.
const COUNTS: &str = "SELECT (SELECT COUNT(*) FROM approvals
             WHERE digest = ?1 AND state IN ('pending', 'granted', 'denied') AND expires_at > ?2) AS equal,
            (SELECT COUNT(*) FROM approvals
             WHERE principal_iss = ?3 AND principal_sub = ?4
               AND (requested_at > ?5 OR (state = 'pending' AND expires_at > ?2))) AS of_user,
            (SELECT COUNT(*) FROM approvals
             WHERE principal_iss = ?3 AND principal_sub = ?4
               AND state IN ('pending', 'granted') AND expires_at > ?2) AS open_of_user,
            (SELECT COUNT(*) FROM approvals WHERE state = 'pending' AND expires_at > ?2) AS pending,
            (SELECT COUNT(*) FROM approvals WHERE state = 'granted' AND expires_at > ?2) AS granted";

/// The end of the oldest closed approval that is kept, of the latest ones that have ended.
const KEPT_SINCE: &str =
    "SELECT expires_at FROM approvals WHERE state NOT IN ('pending', 'granted') AND expires_at <= ?1
     ORDER BY expires_at DESC LIMIT 1 OFFSET ?2";

pub(super) async fn approvals(readers: &SqlitePool, codes: &RowCodes) -> Result<Stored<ApprovalRow>, SqliteError> {
    let mut transaction = readers.begin().await?;
    let counter = counter::read(&mut transaction, ApprovalColumns::COUNTER).await?;
    let approvals: Vec<ApprovalColumns> = sqlx::query_as(APPROVALS).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(coded::stored(&counter, approvals, codes))
}

/// Reads what changed after the version of `held`. Returns `None` unless the result is exactly the set that servers wrote.
pub(super) async fn approvals_after(
    readers: &SqlitePool,
    codes: &RowCodes,
    held: &HeldApprovals,
) -> Result<Option<ApprovalChanges>, SqliteError> {
    let mut transaction = readers.begin().await?;
    let counter = counter::read(&mut transaction, ApprovalColumns::COUNTER).await?;
    let changed = sqlx::query_as(CHANGED).bind(held.version().counter).fetch_all(&mut *transaction).await?;
    let Some(changes) = held.after(changed, counter.version(), codes) else { return Ok(None) };
    if changes.fits(&counter, codes) {
        return Ok(Some(changes));
    }
    let stored = sqlx::query_scalar("SELECT id FROM approvals").fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(Some(changes.without_purged(stored, codes)).filter(|changes| changes.fits(&counter, codes)))
}

/// Reads open approvals that have expired at `now`. Leaves out those that were altered outside the servers.
pub(super) async fn expired(
    readers: &SqlitePool,
    codes: &RowCodes,
    now: Timestamp,
) -> Result<Vec<ApprovalRow>, SqliteError> {
    let limit = i64::try_from(CLOSED_AT_ONCE).unwrap_or(i64::MAX);
    let (mut expired, mut place) = (Vec::new(), ExpiryCursor::default());
    while expired.len() < CLOSED_AT_ONCE {
        let page: Vec<ApprovalColumns> = sqlx::query_as(EXPIRED)
            .bind(now.as_millisecond())
            .bind(place.expires_at)
            .bind(&place.id)
            .bind(limit)
            .fetch_all(readers)
            .await?;
        let Some(last) = page.last() else { break };
        place = last.place();
        expired.extend(page.into_iter().filter_map(|columns| columns.vouched(codes)));
    }
    Ok(expired)
}

/// Adds a pending approval.
pub(super) async fn request(
    writer: &SqlitePool,
    codes: &RowCodes,
    row: &ApprovalRow,
    conditions: ApprovalConditions,
    audit: &[AuditRow],
) -> Result<ApprovalRequested, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let mut counter = Counter::open(counter::read(&mut transaction, ApprovalColumns::COUNTER).await?, codes)?;
    let revocations = counter::read(&mut transaction, RevocationColumns::COUNTER).await?;
    let counts: ApprovalCounts = sqlx::query_as(COUNTS)
        .bind(&row.digest)
        .bind(row.requested_at.as_millisecond())
        .bind(&row.principal_iss)
        .bind(&row.principal_sub)
        .bind(conditions.since.as_millisecond())
        .fetch_one(&mut *transaction)
        .await?;
    if let Some(refused) = counts.refuse(conditions, revocations.version()) {
        return Ok(refused);
    }
    let columns = ApprovalColumns::of(codes, &ApprovalRow { version: counter.next(), ..row.clone() });
    counter.set.toggle(codes, columns.stored_code());
    sqlx::query(
        "INSERT INTO approvals (id, digest, state, principal_iss, principal_sub, sub, tenant_id, agents, requested_at,
                                expires_at, version, body, code)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
    )
    .bind(&columns.id)
    .bind(&columns.digest)
    .bind(&columns.state)
    .bind(&columns.principal_iss)
    .bind(&columns.principal_sub)
    .bind(&columns.sub)
    .bind(&columns.tenant_id)
    .bind(&columns.agents)
    .bind(columns.requested_at)
    .bind(columns.expires_at)
    .bind(columns.version)
    .bind(&columns.body)
    .bind(&columns.code)
    .execute(&mut *transaction)
    .await?;
    counter::write(&mut transaction, &counter.raised(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(ApprovalRequested::Added)
}

/// Replaces an approval that is still stored as `before`. A change that stops an approval raises
/// the revocations too, so that no decision made under it can commit.
pub(super) async fn change(
    writer: &SqlitePool,
    codes: &RowCodes,
    before: &ApprovalRow,
    after: &ApprovalRow,
    audit: &[AuditRow],
) -> Result<bool, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    if before.state == ApprovalState::Granted {
        let revocations = counter::read(&mut transaction, RevocationColumns::COUNTER).await?;
        counter::write(&mut transaction, &Counter::open(revocations, codes)?.raised(codes)).await?;
    }
    let mut counter = Counter::open(counter::read(&mut transaction, ApprovalColumns::COUNTER).await?, codes)?;
    let before = ApprovalColumns::of(codes, before);
    let after = ApprovalColumns::of(codes, &ApprovalRow { version: counter.next(), ..after.clone() });
    if replace(&mut transaction, codes, &mut counter, &[(before, after)]).await?.is_empty() {
        return Ok(false);
    }
    counter::write(&mut transaction, &counter.raised(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Ends the open approvals that a revocation covers, in its transaction.
pub(super) async fn end(
    connection: &mut SqliteConnection,
    codes: &RowCodes,
    revocation: &RevocationRow,
) -> Result<(), SqliteError> {
    if !matches!(revocation.kind, RevocationKind::Subject | RevocationKind::Agent | RevocationKind::Tenant) {
        return Ok(());
    }
    let mut counter = Counter::open(counter::read(connection, ApprovalColumns::COUNTER).await?, codes)?;
    let open: Vec<ApprovalColumns> =
        sqlx::query_as(OPEN_OF).bind(&revocation.value).fetch_all(&mut *connection).await?;
    let next = counter.next();
    let end = |before: ApprovalColumns| before.ended_by(revocation, next, codes).map(|after| (before, after));
    let ended: Vec<_> = open.into_iter().filter_map(end).collect();
    if !replace(connection, codes, &mut counter, &ended).await?.is_empty() {
        counter::write(connection, &counter.raised(codes)).await?;
    }
    Ok(())
}

/// Closes approvals that have expired. Returns the number.
pub(super) async fn close(
    writer: &SqlitePool,
    codes: &RowCodes,
    changes: &[ApprovalChange],
) -> Result<u64, SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let mut counter = Counter::open(counter::read(&mut transaction, ApprovalColumns::COUNTER).await?, codes)?;
    let next = counter.next();
    let columns = |change: &ApprovalChange| {
        let after = ApprovalRow { version: next, ..change.after.clone() };
        (ApprovalColumns::of(codes, &change.before), ApprovalColumns::of(codes, &after))
    };
    let closed: Vec<_> = changes.iter().map(columns).collect();
    let closed = replace(&mut transaction, codes, &mut counter, &closed).await?;
    if closed.is_empty() {
        return Ok(0);
    }
    counter::write(&mut transaction, &counter.raised(codes)).await?;
    let events = changes.iter().filter(|change| closed.contains(&change.after.id));
    let events: Vec<AuditRow> = events.map(|change| change.audit.clone()).collect();
    audit::insert(&mut transaction, &events).await?;
    transaction.commit().await?;
    Ok(u64::try_from(closed.len()).unwrap_or(u64::MAX))
}

/// Replaces the approvals that are still stored as before, and returns their ids.
async fn replace(
    connection: &mut SqliteConnection,
    codes: &RowCodes,
    counter: &mut Counter,
    changes: &[(ApprovalColumns, ApprovalColumns)],
) -> Result<Vec<String>, SqliteError> {
    let mut replaced = Vec::with_capacity(changes.len());
    for (before, after) in changes {
        let written = sqlx::query(
            "UPDATE approvals SET state = ?3, expires_at = ?4, version = ?5, body = ?6, code = ?7
             WHERE id = ?1 AND code = ?2",
        )
        .bind(&before.id)
        .bind(before.stored_code())
        .bind(&after.state)
        .bind(after.expires_at)
        .bind(after.version)
        .bind(&after.body)
        .bind(after.stored_code())
        .execute(&mut *connection)
        .await?;
        if written.rows_affected() > 0 {
            replaced.push(after.id.clone());
        }
    }
    approval_rows::toggle_replaced(changes, &replaced, codes, &mut counter.set);
    Ok(replaced)
}

/// Deletes a portion of the closed approvals after `place` that are kept no longer, and removes them from the
/// set. Returns their number, and the place to go on after. Rows that were altered outside the servers stay.
pub(super) async fn purge(
    writer: &SqlitePool,
    codes: &RowCodes,
    portion: u64,
    place: ExpiryCursor,
) -> Result<(u64, Option<ExpiryCursor>), SqliteError> {
    let mut transaction = begin_immediate(writer).await?;
    let locked = counter::read(&mut transaction, ApprovalColumns::COUNTER).await?;
    let now = registry::now(&mut transaction).await?;
    let of_most: Option<i64> =
        sqlx::query_scalar(KEPT_SINCE).bind(now).bind(MOST_CLOSED).fetch_optional(&mut *transaction).await?;
    let kept_since = now.saturating_sub(columns::millis(KEPT_CLOSED)).max(of_most.unwrap_or(i64::MIN));
    let closed: Vec<ApprovalColumns> = sqlx::query_as(CLOSED)
        .bind(kept_since)
        .bind(place.expires_at)
        .bind(place.id)
        .bind(portion.cast_signed())
        .fetch_all(&mut *transaction)
        .await?;
    let is_full = closed.len() as u64 == portion;
    let next = closed.last().filter(|_| is_full).map(ApprovalColumns::place);
    let ids: Vec<&str> = coded::vouched_keys(&closed, codes).into_iter().map(|[id, ..]| id).collect();
    if ids.is_empty() {
        return Ok((0, next));
    }
    let gone: Vec<Vec<u8>> =
        sqlx::query_scalar("DELETE FROM approvals WHERE id IN (SELECT value FROM json_each(?1)) RETURNING code")
            .bind(json!(ids).to_string())
            .fetch_all(&mut *transaction)
            .await?;
    let mut counter = Counter::open(locked, codes)?;
    gone.iter().for_each(|code| counter.set.toggle(codes, code));
    counter::write(&mut transaction, &counter.sealed(codes)).await?;
    transaction.commit().await?;
    Ok((u64::try_from(gone.len()).unwrap_or(u64::MAX), next))
}
