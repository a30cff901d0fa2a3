//! What holds when servers act at once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sts_server::storage::{AuditFilter, RecordRows, RevocationKind, Store, Versions};
use tokio::task::JoinSet;

use super::database::TestDatabase;
use super::rows::{OURS, audit, one_time, revocation, spend, token};

async fn two_servers(database: &TestDatabase) -> [Arc<dyn Store>; 2] {
    [database.store().await, database.store().await]
}

pub(super) async fn a_value_raced_over_two_servers_is_spent_once(database: &TestDatabase) {
    let servers = two_servers(database).await;
    let mut racers = JoinSet::new();
    for number in 0..50 {
        let server = Arc::clone(&servers[number % 2]);
        racers.spawn(async move { spend(&*server, &[one_time("n", "raced")]).await[0] });
    }
    let spent = racers.join_all().await.into_iter().filter(|spent| *spent).count();
    assert_eq!(spent, 1);
}

pub(super) async fn batches_that_share_values_in_any_order_all_end(database: &TestDatabase) {
    let servers = two_servers(database).await;
    let values = 1_000;
    for round in 0..5 {
        let mut racers = JoinSet::new();
        for number in 0..8 {
            let server = Arc::clone(&servers[number % 2]);
            racers.spawn(async move {
                let mut batch: Vec<_> = (0..values).map(|value| one_time("n", &format!("{round}.{value}"))).collect();
                batch.rotate_left(number * 100);
                if number % 2 == 0 {
                    batch.reverse();
                }
                spend(&*server, &batch).await.into_iter().filter(|spent| *spent).count()
            });
        }
        assert_eq!(racers.join_all().await.into_iter().sum::<usize>(), values);
    }
}

/// Records children of a token as a server with an old snapshot does, until one is refused for a revocation; how many it recorded.
async fn record_children(server: Arc<dyn Store>, name: String) -> u32 {
    let mut recorded = 0;
    loop {
        let mut refused = false;
        let child = token(&format!("{name}.{recorded}"), Some((OURS, "parent")));
        server
            .record(&[Versions::default()], &[], &mut |fresh| {
                let revocations =
                    fresh.changed.as_ref().map(|changed| changed.revocations.as_slice()).unwrap_or_default();
                refused = revocations.iter().any(|row| row.value == "parent");
                if refused {
                    return RecordRows::default();
                }
                RecordRows { tokens: vec![child.clone()], audit: Vec::new() }
            })
            .await
            .unwrap();
        if refused {
            return recorded;
        }
        recorded += 1;
    }
}

/// The number of children the recorders have recorded.
async fn count_tokens(server: &Arc<dyn Store>) -> u32 {
    let mut recorded = 0;
    for name in 0..8 {
        let mut number = 0;
        while server.token(&format!("{name}.{number}")).await.unwrap().is_some() {
            number += 1;
        }
        recorded += number;
    }
    recorded
}

pub(super) async fn no_token_outlives_the_revocation_of_its_parent(database: &TestDatabase) {
    let servers = two_servers(database).await;
    let mut recorders = JoinSet::new();
    for number in 0..8 {
        let server = Arc::clone(&servers[number % 2]);
        recorders.spawn(async move { record_children(server, number.to_string()).await });
    }
    // Once somebody has recorded something, so that the revocation falls among the records.
    while servers[1].token("0.0").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    let row = revocation(RevocationKind::Token, Some(OURS), "parent");
    assert_eq!(servers[1].revoke(&row, &[]).await.unwrap().1, 1);
    let recorded = count_tokens(&servers[0]).await;
    // What was recorded when the revocation was acknowledged is all that ever is.
    let counted: u32 = recorders.join_all().await.into_iter().sum();
    assert_eq!(recorded, counted);
}

pub(super) async fn revoking_and_lifting_at_once_all_end(database: &TestDatabase) {
    let servers = two_servers(database).await;
    let mut racers = JoinSet::new();
    for number in 0..40 {
        let server = Arc::clone(&servers[number % 2]);
        racers.spawn(async move {
            let row = revocation(RevocationKind::Tenant, None, &(number % 5).to_string());
            if number % 4 < 2 {
                server.revoke(&row, &[]).await.unwrap();
            } else {
                server.lift(row.kind, None, &row.value, &[]).await.unwrap();
            }
            server.purge().await.unwrap();
        });
    }
    racers.join_all().await;
}

/// Reads on from the last id until the writers are done and nothing is left.
async fn follow(server: Arc<dyn Store>, writers_are_done: Arc<AtomicBool>) -> BTreeSet<(String, i64)> {
    let mut seen = BTreeSet::new();
    let mut filter = AuditFilter::default();
    loop {
        let last = writers_are_done.load(Ordering::SeqCst);
        let page = server.audit(&filter, 1_000).await.unwrap().rows;
        if last && page.is_empty() {
            return seen;
        }
        for stored in page {
            filter.after_id = Some(stored.id);
            assert!(seen.insert((stored.row.writer, stored.row.writer_sequence)));
        }
    }
}

pub(super) async fn whoever_follows_the_audit_sees_every_row(database: &TestDatabase) {
    let servers = two_servers(database).await;
    let done = Arc::new(AtomicBool::new(false));
    let follower = tokio::spawn(follow(database.store().await, Arc::clone(&done)));
    let mut writers = JoinSet::new();
    for number in 0..6 {
        let server = Arc::clone(&servers[number % 2]);
        writers.spawn(async move {
            // Large batches take their ids long before they commit, and small ones overtake them.
            let size = if number % 2 == 0 { 500 } else { 1 };
            for batch in 0..15 {
                let first = batch * size + 1;
                let rows: Vec<_> = (first..first + size).map(|place| audit(&number.to_string(), place)).collect();
                server.append_audit(&rows).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    done.store(true, Ordering::SeqCst);
    assert_eq!(follower.await.unwrap().len(), 3 * 15 * (500 + 1));
}
