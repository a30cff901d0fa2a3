//! Reads and changes of approvals.

use jiff::Timestamp;
use sqlx::postgres::PgConnection;

use super::error::PostgresError;
use super::pool::Pool;
use super::{audit, counter, registry, standbys, transaction};
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
const CHANGED: &str = select_approvals!("WHERE version > $1 ORDER BY version, id");

/// Those that a revocation of this name may end.
const OPEN_OF: &str = select_approvals!(
    "WHERE state IN ('pending', 'granted')
       AND (principal_sub = $1 OR sub = $1 OR tenant_id = $1
            OR POSITION(' ' || $1 || ' ' IN ' ' || agents || ' ') > 0)"
);

/// Those that have expired, and are not closed yet.
const EXPIRED: &str = select_approvals!(
    "WHERE state IN ('pending', 'granted') AND expires_at <= $1 AND (expires_at, id) > ($2, $3)
     ORDER BY expires_at, id LIMIT $4"
);

/// Those that are closed and ended before a time.
const CLOSED: &str = select_approvals!(
    "WHERE state NOT IN ('pending', 'granted') AND expires_at <= $1 AND (expires_at, id) > ($2, $3)
     ORDER BY expires_at, id LIMIT $4"
);

/// The counts that bound further approvals.
const COUNTS: &str = "SELECT (SELECT COUNT(*) FROM approvals
             WHERE digest = $1 AND state IN ('pending', 'granted', 'denied') AND expires_at > $2) AS equal,
            (SELECT COUNT(*) FROM approvals
             WHERE principal_iss = $3 AND principal_sub = $4
               AND (requested_at > $5 OR (state = 'pending' AND expires_at > $2))) AS of_user,
            (SELECT COUNT(*) FROM approvals
             WHERE principal_iss = $3 AND principal_sub = $4
               AND state IN ('pending', 'granted') AND expires_at > $2) AS open_of_user,
            (SELECT COUNT(*) FROM approvals WHERE state = 'pending' AND expires_at > $2) AS pending,
            (SELECT COUNT(*) FROM approvals WHERE state = 'granted' AND expires_at > $2) AS granted";

/// The end of the oldest closed approval that is kept, of the latest ones that have ended.
const KEPT_SINCE: &str =
    "SELECT expires_at FROM approvals WHERE state NOT IN ('pending', 'granted') AND expires_at <= $1
     ORDER BY expires_at DESC LIMIT 1 OFFSET $2";

pub(super) async fn approvals(pool: &Pool, codes: &RowCodes) -> Result<Stored<ApprovalRow>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
    let counter = counter::read(&mut transaction, ApprovalColumns::COUNTER).await?;
    let approvals: Vec<ApprovalColumns> = sqlx::query_as(APPROVALS).fetch_all(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(coded::stored(&counter, approvals, codes))
}

/// Reads what changed after the version of `held`. Returns `None` unless the result is exactly the set that servers wrote.
pub(super) async fn approvals_after(
    pool: &Pool,
    codes: &RowCodes,
    held: &HeldApprovals,
) -> Result<Option<ApprovalChanges>, PostgresError> {
    let mut transaction = transaction::snapshot(pool).await?;
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
pub(super) async fn expired(pool: &Pool, codes: &RowCodes, now: Timestamp) -> Result<Vec<ApprovalRow>, PostgresError> {
    let mut connection = pool.acquire().await?;
    let limit = i64::try_from(CLOSED_AT_ONCE).unwrap_or(i64::MAX);
    let (mut expired, mut place) = (Vec::new(), ExpiryCursor::default());
    while expired.len() < CLOSED_AT_ONCE {
        let page: Vec<ApprovalColumns> = sqlx::query_as(EXPIRED)
            .bind(now.as_millisecond())
            .bind(place.expires_at)
            .bind(&place.id)
            .bind(limit)
            .fetch_all(&mut *connection)
            .await?;
        let Some(last) = page.last() else { break };
        place = last.place();
        expired.extend(page.into_iter().filter_map(|columns| columns.vouched(codes)));
    }
    Ok(expired)
}

/// Adds a pending approval, beside the writers of decisions. The counter's row keeps equal requests
/// apart.
pub(super) async fn request(
    pool: &Pool,
    codes: &RowCodes,
    row: &ApprovalRow,
    conditions: ApprovalConditions,
    audit: &[AuditRow],
) -> Result<ApprovalRequested, PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    let mut counter = Counter::open(counter::lock(&mut transaction, ApprovalColumns::COUNTER).await?, codes)?;
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
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
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
    counter::raise(&mut transaction, &counter.raised(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    Ok(ApprovalRequested::Added)
}

/// Replaces an approval that is still stored as `before`. A change that stops an approval raises
/// the revocations too, so that no decision made under it can commit.
pub(super) async fn change(
    pool: &Pool,
    codes: &RowCodes,
    before: &ApprovalRow,
    after: &ApprovalRow,
    audit: &[AuditRow],
) -> Result<bool, PostgresError> {
    let mut transaction = transaction::without_writers(pool).await?;
    if before.state == ApprovalState::Granted {
        let revocations = counter::lock(&mut transaction, RevocationColumns::COUNTER).await?;
        counter::raise(&mut transaction, &Counter::open(revocations, codes)?.raised(codes)).await?;
    }
    let mut counter = Counter::open(counter::lock(&mut transaction, ApprovalColumns::COUNTER).await?, codes)?;
    let before = ApprovalColumns::of(codes, before);
    let after = ApprovalColumns::of(codes, &ApprovalRow { version: counter.next(), ..after.clone() });
    if replace(&mut transaction, codes, &mut counter, &[(before, after)]).await?.is_empty() {
        return Ok(false);
    }
    counter::raise(&mut transaction, &counter.raised(codes)).await?;
    audit::insert(&mut transaction, audit).await?;
    transaction.commit().await?;
    standbys::confirm(pool).await;
    Ok(true)
}

/// Ends the open approvals that a revocation covers, in its transaction.
pub(super) async fn end(
    connection: &mut PgConnection,
    codes: &RowCodes,
    revocation: &RevocationRow,
) -> Result<(), PostgresError> {
    if !matches!(revocation.kind, RevocationKind::Subject | RevocationKind::Agent | RevocationKind::Tenant) {
        return Ok(());
    }
    let mut counter = Counter::open(counter::lock(connection, ApprovalColumns::COUNTER).await?, codes)?;
    let open: Vec<ApprovalColumns> =
        sqlx::query_as(OPEN_OF).bind(&revocation.value).fetch_all(&mut *connection).await?;
    let next = counter.next();
    let end = |before: ApprovalColumns| before.ended_by(revocation, next, codes).map(|after| (before, after));
    let ended: Vec<_> = open.into_iter().filter_map(end).collect();
    if !replace(connection, codes, &mut counter, &ended).await?.is_empty() {
        counter::raise(connection, &counter.raised(codes)).await?;
    }
    Ok(())
}

/// Closes approvals that have expired, beside the writers of decisions: no decision can be made under one. Returns the number.
pub(super) async fn close(pool: &Pool, codes: &RowCodes, changes: &[ApprovalChange]) -> Result<u64, PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    let mut counter = Counter::open(counter::lock(&mut transaction, ApprovalColumns::COUNTER).await?, codes)?;
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
    counter::raise(&mut transaction, &counter.raised(codes)).await?;
    let events = changes.iter().filter(|change| closed.contains(&change.after.id));
    let events: Vec<AuditRow> = events.map(|change| change.audit.clone()).collect();
    audit::insert(&mut transaction, &events).await?;
    transaction.commit().await?;
    Ok(u64::try_from(closed.len()).unwrap_or(u64::MAX))
}

/// Replaces the approvals that are still stored as before, and returns their ids.
async fn replace(
    connection: &mut PgConnection,
    codes: &RowCodes,
    counter: &mut Counter,
    changes: &[(ApprovalColumns, ApprovalColumns)],
) -> Result<Vec<String>, PostgresError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let of_after = |part: fn(&ApprovalColumns) -> i64| changes.iter().map(|(_, after)| part(after)).collect::<Vec<_>>();
    let codes_of = |rows: Vec<&ApprovalColumns>| rows.into_iter().map(|row| row.stored_code().to_vec()).collect();
    let (before, after): (Vec<_>, Vec<_>) = changes.iter().map(|(before, after)| (before, after)).unzip();
    let ids: Vec<&str> = after.iter().map(|row| row.id.as_str()).collect();
    let states: Vec<&str> = after.iter().map(|row| row.state.as_str()).collect();
    let bodies: Vec<&str> = after.iter().map(|row| row.body.as_str()).collect();
    let before_codes: Vec<Vec<u8>> = codes_of(before);
    let after_codes: Vec<Vec<u8>> = codes_of(after);
    let replaced: Vec<String> = sqlx::query_scalar(
        "UPDATE approvals
         SET state = change.state, expires_at = change.expires_at, version = change.version, body = change.body,
             code = change.code
         FROM UNNEST($1::TEXT[], $2::BYTEA[], $3::TEXT[], $4::BIGINT[], $5::BIGINT[], $6::TEXT[], $7::BYTEA[])
              AS change (id, before, state, expires_at, version, body, code)
         WHERE approvals.id = change.id AND approvals.code = change.before
         RETURNING approvals.id",
    )
    .bind(ids)
    .bind(before_codes)
    .bind(states)
    .bind(of_after(|row| row.expires_at))
    .bind(of_after(|row| row.version))
    .bind(bodies)
    .bind(after_codes)
    .fetch_all(connection)
    .await?;
    approval_rows::toggle_replaced(changes, &replaced, codes, &mut counter.set);
    Ok(replaced)
}

/// Deletes a portion of the closed approvals after `place` that are kept no longer, and removes them from the
/// set. Returns their number, and the place to go on after. Rows that were altered outside the servers stay.
pub(super) async fn purge(
    pool: &Pool,
    codes: &RowCodes,
    portion: u64,
    place: ExpiryCursor,
) -> Result<(u64, Option<ExpiryCursor>), PostgresError> {
    let mut transaction = transaction::beside_writers(pool).await?;
    let locked = counter::lock(&mut transaction, ApprovalColumns::COUNTER).await?;
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
    let gone: Vec<Vec<u8>> = sqlx::query_scalar("DELETE FROM approvals WHERE id = ANY($1::TEXT[]) RETURNING code")
        .bind(ids)
        .fetch_all(&mut *transaction)
        .await?;
    let mut counter = Counter::open(locked, codes)?;
    gone.iter().for_each(|code| counter.set.toggle(codes, code));
    counter::write(&mut transaction, &counter.sealed(codes)).await?;
    transaction.commit().await?;
    Ok((u64::try_from(gone.len()).unwrap_or(u64::MAX), next))
}
