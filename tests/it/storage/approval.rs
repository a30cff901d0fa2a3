//! Approvals: the changes since a read, bounds, and what ends many at once.

use jiff::{SignedDuration, Timestamp};
use sts_jose::{Clock as _, SystemClock};
use sts_server::storage::{
    ApprovalChange, ApprovalConditions, ApprovalRequested, ApprovalRow, ApprovalState, HeldApprovals, RevocationKind,
    Store,
};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, future, known, past, revocation};

fn approval(id: &str) -> ApprovalRow {
    ApprovalRow {
        id: id.to_owned(),
        digest: format!("operator:{id}"),
        state: ApprovalState::Pending,
        principal_iss: "https://login.example.com".to_owned(),
        principal_sub: format!("user of {id}"),
        sub: format!("idp:{id}"),
        tenant_id: Some("acme".to_owned()),
        agents: vec!["coordinator".to_owned(), "shop".to_owned()],
        requested_at: past(),
        expires_at: future(),
        version: 0,
        body: "{}".to_owned(),
    }
}

async fn conditions(store: &dyn Store) -> ApprovalConditions {
    let known = known(store).await.revocations;
    ApprovalConditions {
        known,
        since: past() - SignedDuration::from_hours(1),
        most_of_user: 9,
        most_open_of_user: 99,
        most_pending: 999,
        most_granted: 999,
    }
}

async fn request(store: &dyn Store, row: &ApprovalRow) {
    let conditions = conditions(store).await;
    assert_eq!(store.request_approval(row, conditions, &[]).await.unwrap(), ApprovalRequested::Added);
}

/// The approval as it is stored.
async fn stored(store: &dyn Store, id: &str) -> ApprovalRow {
    rows(store).await.into_iter().find(|row| row.id == id).unwrap()
}

async fn rows(store: &dyn Store) -> Vec<ApprovalRow> {
    let stored = store.approvals().await.unwrap();
    assert!(stored.is_whole && stored.faults.is_empty(), "{:?}", stored.faults);
    stored.rows.into_iter().map(|coded| coded.row).collect()
}

async fn change(store: &dyn Store, id: &str, state: ApprovalState) {
    let before = stored(store, id).await;
    let after = ApprovalRow { state, ..before.clone() };
    assert!(store.change_approval(&before, &after, &[]).await.unwrap());
}

async fn held(store: &dyn Store) -> HeldApprovals {
    HeldApprovals::of(&store.approvals().await.unwrap()).unwrap()
}

fn states(rows: &[ApprovalRow]) -> Vec<(&str, ApprovalState)> {
    rows.iter().map(|row| (row.id.as_str(), row.state)).collect()
}

pub(super) async fn approvals_that_changed_are_read_alone(database: &TestDatabase) {
    let store = database.store().await;
    for id in ["a", "b", "c"] {
        request(&*store, &approval(id)).await;
    }
    let before = held(&*store).await;
    let unchanged = store.approvals_after(&before).await.unwrap().unwrap();
    assert_eq!((states(&unchanged.rows), unchanged.purged), (vec![], vec![]));
    change(&*store, "b", ApprovalState::Granted).await;
    request(&*store, &approval("d")).await;
    let changes = store.approvals_after(&before).await.unwrap().unwrap();
    assert_eq!(states(&changes.rows), [("b", ApprovalState::Granted), ("d", ApprovalState::Pending)]);
    assert_eq!(changes.held.version(), store.state().await.unwrap().approvals);
    // From there on.
    change(&*store, "b", ApprovalState::Withdrawn).await;
    let further = store.approvals_after(&changes.held).await.unwrap().unwrap();
    assert_eq!(states(&further.rows), [("b", ApprovalState::Withdrawn)]);
}

pub(super) async fn purged_approvals_leave_those_that_are_held(database: &TestDatabase) {
    let store = database.store().await;
    request(&*store, &ApprovalRow { expires_at: past(), ..approval("old") }).await;
    request(&*store, &approval("new")).await;
    change(&*store, "old", ApprovalState::Expired).await;
    let before = held(&*store).await;
    assert_eq!(store.purge().await.unwrap(), 1);
    let changes = store.approvals_after(&before).await.unwrap().unwrap();
    assert_eq!((states(&changes.rows), changes.purged), (vec![], vec!["old".to_owned()]));
    request(&*store, &approval("next")).await;
    let changes = store.approvals_after(&changes.held).await.unwrap().unwrap();
    assert_eq!(states(&changes.rows), [("next", ApprovalState::Pending)]);
}

pub(super) async fn changes_past_the_servers_are_not_followed(database: &TestDatabase) {
    let store = database.store().await;
    request(&*store, &approval("a")).await;
    request(&*store, &approval("b")).await;
    let before = held(&*store).await;
    database.execute("CREATE TABLE kept AS SELECT * FROM approvals").await;
    for (label, alter, restore) in [
        (
            "a new row",
            "INSERT INTO approvals SELECT 'x', digest, state, principal_iss, principal_sub, sub, tenant_id, agents, requested_at, expires_at, version + 100, body, code FROM kept WHERE id = 'a'",
            "DELETE FROM approvals WHERE id = 'x'",
        ),
        (
            "an altered row",
            "UPDATE approvals SET state = 'granted', version = version + 100 WHERE id = 'a'",
            "UPDATE approvals SET state = 'pending', version = version - 100 WHERE id = 'a'",
        ),
    ] {
        database.execute(alter).await;
        // The table changes by a server too, so that it is read.
        request(&*store, &approval(label)).await;
        assert!(store.approvals_after(&before).await.unwrap().is_none(), "{label}");
        database.execute(restore).await;
        assert!(store.approvals_after(&before).await.unwrap().is_some(), "{label}, taken back");
    }
    // A row that is held stays as servers wrote it.
    database.execute("DELETE FROM approvals WHERE id = 'a'").await;
    assert_eq!(store.approvals_after(&before).await.unwrap().unwrap().purged, [""; 0]);
    database.execute("INSERT INTO approvals SELECT * FROM kept WHERE id = 'a'").await;
    // A withdrawal that is undone, under the code that the row had before.
    change(&*store, "b", ApprovalState::Withdrawn).await;
    database.execute("CREATE TABLE withdrawn AS SELECT * FROM approvals WHERE id = 'b'").await;
    database.execute("DELETE FROM approvals WHERE id = 'b'").await;
    database.execute("INSERT INTO approvals SELECT * FROM kept WHERE id = 'b'").await;
    assert!(store.approvals_after(&before).await.unwrap().is_none());
    database.execute("DELETE FROM approvals WHERE id = 'b'").await;
    database.execute("INSERT INTO approvals SELECT * FROM withdrawn").await;
    assert!(store.approvals_after(&before).await.unwrap().is_some(), "taken back");
    // A change that is removed.
    request(&*store, &approval("removed")).await;
    database.execute("DELETE FROM approvals WHERE id = 'removed'").await;
    assert!(store.approvals_after(&before).await.unwrap().is_none());
}

pub(super) async fn expired_approvals_are_closed_each_once_with_its_event(database: &TestDatabase) {
    let (store, other) = (database.store().await, database.store().await);
    let now = past() + SignedDuration::from_hours(1);
    for (id, expires_at) in [("a", past()), ("b", now), ("c", now + SignedDuration::from_secs(1)), ("d", past())] {
        request(&*store, &ApprovalRow { expires_at, ..approval(id) }).await;
    }
    change(&*store, "d", ApprovalState::Denied).await;
    let expired = store.expired_approvals(now).await.unwrap();
    assert_eq!(states(&expired), [("a", ApprovalState::Pending), ("b", ApprovalState::Pending)]);
    // Another server is faster with one of them.
    change(&*other, "a", ApprovalState::Withdrawn).await;
    let close = |(row, sequence): (&ApprovalRow, i64)| ApprovalChange {
        before: row.clone(),
        after: ApprovalRow { state: ApprovalState::Expired, ..row.clone() },
        audit: audit("w", sequence),
    };
    let changes: Vec<ApprovalChange> = expired.iter().zip(1..).map(close).collect();
    assert_eq!(store.close_approvals(&changes).await.unwrap(), 1);
    assert_eq!(other.close_approvals(&changes).await.unwrap(), 0);
    assert_eq!(audit_rows(&*store).await, [audit("w", 2)]);
    let mut left = rows(&*store).await;
    left.sort_by(|left, right| left.id.cmp(&right.id));
    let expected = [ApprovalState::Withdrawn, ApprovalState::Expired, ApprovalState::Pending, ApprovalState::Denied];
    assert_eq!(left.iter().map(|row| row.state).collect::<Vec<_>>(), expected);
    assert_eq!(states(&store.expired_approvals(now).await.unwrap()), []);
}

pub(super) async fn a_revocation_ends_every_open_approval_that_it_covers(database: &TestDatabase) {
    let store = database.store().await;
    for number in 0..100 {
        let id = format!("{number:03}");
        let tenant_id = Some(if number % 2 == 0 { "acme" } else { "globex" }.to_owned());
        request(&*store, &ApprovalRow { tenant_id, ..approval(&id) }).await;
    }
    change(&*store, "002", ApprovalState::Granted).await;
    change(&*store, "004", ApprovalState::Denied).await;
    let before = held(&*store).await;
    store.revoke(&revocation(RevocationKind::Tenant, None, "acme"), &[]).await.unwrap();
    let ended = rows(&*store).await.iter().filter(|row| row.state == ApprovalState::Ended).count();
    assert_eq!(ended, 49, "all of the tenant but the denied one");
    assert_eq!(store.approvals_after(&before).await.unwrap().unwrap().rows.len(), 49);
    // Part of the name of an agent is not its name.
    for (agent, ended) in [("coord", 0), ("shop", 50)] {
        let before = rows(&*store).await.iter().filter(|row| row.state == ApprovalState::Ended).count();
        store.revoke(&revocation(RevocationKind::Agent, None, agent), &[]).await.unwrap();
        let after = rows(&*store).await.iter().filter(|row| row.state == ApprovalState::Ended).count();
        assert_eq!(after - before, ended, "{agent}");
    }
}

pub(super) async fn approvals_that_wait_are_bounded_of_a_user_and_of_all(database: &TestDatabase) {
    let store = database.store().await;
    let of = |user: &str, id: &str, requested_at: Timestamp| ApprovalRow {
        principal_sub: user.to_owned(),
        requested_at,
        ..approval(id)
    };
    let long_ago = past() - SignedDuration::from_hours(5);
    let bounded = ApprovalConditions { most_of_user: 2, most_pending: 3, ..conditions(&*store).await };
    let ask = async |row: &ApprovalRow| store.request_approval(row, bounded, &[]).await.unwrap();
    // Those of an earlier period count as long as they wait.
    assert_eq!(ask(&of("alice", "a1", long_ago)).await, ApprovalRequested::Added);
    assert_eq!(ask(&of("alice", "a2", past())).await, ApprovalRequested::Added);
    assert_eq!(ask(&of("alice", "a3", past())).await, ApprovalRequested::TooMany);
    change(&*store, "a1", ApprovalState::Denied).await;
    assert_eq!(ask(&of("alice", "a3", past())).await, ApprovalRequested::Added);
    assert_eq!(ask(&of("bob", "b1", past())).await, ApprovalRequested::Added);
    assert_eq!(ask(&of("bob", "b2", past())).await, ApprovalRequested::Full);
    change(&*store, "b1", ApprovalState::Granted).await;
    assert_eq!(ask(&of("bob", "b2", past())).await, ApprovalRequested::Added, "a remembered one does not wait");
}

pub(super) async fn approvals_that_are_open_are_bounded_of_a_user_and_those_granted_of_all(database: &TestDatabase) {
    let store = database.store().await;
    let long_ago = past() - SignedDuration::from_hours(5);
    let of =
        |user: &str, id: &str| ApprovalRow { principal_sub: user.to_owned(), requested_at: long_ago, ..approval(id) };
    let bounded = ApprovalConditions { most_open_of_user: 2, most_granted: 2, ..conditions(&*store).await };
    let ask = async |row: &ApprovalRow| {
        let known = known(&*store).await.revocations;
        store.request_approval(row, ApprovalConditions { known, ..bounded }, &[]).await.unwrap()
    };
    // Those that are closed, those whose time has passed and those of another issuer's user do not count.
    for (id, state) in [("a1", ApprovalState::Denied), ("a2", ApprovalState::Withdrawn), ("a3", ApprovalState::Ended)] {
        assert_eq!(ask(&of("alice", id)).await, ApprovalRequested::Added);
        change(&*store, id, state).await;
    }
    let of_the_past = ApprovalRow { expires_at: long_ago, ..of("alice", "a4") };
    assert_eq!(ask(&of_the_past).await, ApprovalRequested::Added);
    assert_eq!(ask(&of("alice", "a5")).await, ApprovalRequested::Added);
    change(&*store, "a5", ApprovalState::Granted).await;
    assert_eq!(ask(&of("alice", "a6")).await, ApprovalRequested::Added);
    assert_eq!(ask(&of("alice", "a7")).await, ApprovalRequested::TooMany, "a granted and a pending one");
    let of_another = ApprovalRow { principal_iss: "https://other.example".to_owned(), ..of("alice", "a7") };
    assert_eq!(ask(&of_another).await, ApprovalRequested::Added);
    change(&*store, "a5", ApprovalState::Withdrawn).await;
    assert_eq!(ask(&of("alice", "a8")).await, ApprovalRequested::Added);
    for (user, id) in [("bob", "b1"), ("carol", "c1")] {
        assert_eq!(ask(&of(user, id)).await, ApprovalRequested::Added);
        change(&*store, id, ApprovalState::Granted).await;
    }
    assert_eq!(ask(&of("dave", "d1")).await, ApprovalRequested::FullOfGranted);
    change(&*store, "b1", ApprovalState::Withdrawn).await;
    assert_eq!(ask(&of("dave", "d1")).await, ApprovalRequested::Added);
}

/// The statement that copies a row past the servers. A macro, because a statement is a literal.
macro_rules! altered_copies {
    ($id:literal, $copies:literal, $later_by:literal) => {
        concat!(
            "INSERT INTO approvals
             SELECT '0-' || n, digest, state, principal_iss, principal_sub, sub, tenant_id, agents, requested_at,
                    expires_at + ",
            $later_by,
            ", version, body, code
             FROM approvals, (WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < ",
            $copies,
            ")
                              SELECT n FROM number) AS numbers
             WHERE id = '",
            $id,
            "'"
        )
    };
}

pub(super) async fn altered_rows_do_not_stop_the_closing_of_others(database: &TestDatabase) {
    let store = database.store().await;
    let now = past() + SignedDuration::from_hours(1);
    request(&*store, &ApprovalRow { expires_at: past(), ..approval("open") }).await;
    database.execute(altered_copies!("open", "1200", "-1000")).await;
    let expired = store.expired_approvals(now).await.unwrap();
    assert_eq!(states(&expired), [("open", ApprovalState::Pending)]);
}

pub(super) async fn altered_rows_do_not_stop_the_deletion_of_others(database: &TestDatabase) {
    let store = database.store().await;
    request(&*store, &ApprovalRow { expires_at: past(), ..approval("old") }).await;
    change(&*store, "old", ApprovalState::Expired).await;
    database.execute(altered_copies!("old", "5500", "-1000")).await;
    assert_eq!(store.purge().await.unwrap(), 1);
    assert!(database_ids(&*store).await.iter().all(|id| id.starts_with("0-")));
}

pub(super) async fn of_very_many_closed_approvals_the_latest_are_kept(database: &TestDatabase) {
    let store = database.store().await;
    let now = SystemClock.now();
    let recent = now - SignedDuration::from_mins(10);
    request(&*store, &ApprovalRow { expires_at: recent, ..approval("oldest") }).await;
    request(&*store, &ApprovalRow { expires_at: now + SignedDuration::from_mins(10), ..approval("denied") }).await;
    change(&*store, "oldest", ApprovalState::Expired).await;
    change(&*store, "denied", ApprovalState::Denied).await;
    assert_eq!(store.purge().await.unwrap(), 0, "a closed approval is kept for a day");
    database.execute(altered_copies!("oldest", "50000", "1000")).await;
    assert_eq!(store.purge().await.unwrap(), 1, "it is one of more than 50,000");
    // A denial goes on until its request has expired.
    assert!(database_ids(&*store).await.contains(&"denied".to_owned()));
}

async fn database_ids(store: &dyn Store) -> Vec<String> {
    store.approvals().await.unwrap().rows.into_iter().map(|coded| coded.row.id).collect()
}
