//! Audit rows.

use sts_server::storage::{AuditFilter, AuditHead, AuditRow, StoredAuditRow};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, future_by};

/// Rows that differ in what a filter can select.
fn events() -> Vec<AuditRow> {
    let some = |text: &str| Some(text.to_owned());
    vec![
        AuditRow { at: future_by(1), ..audit("w", 1) },
        AuditRow { at: future_by(4), correlation_id: some("c"), txn: some("t"), ..audit("w", 2) },
        AuditRow { at: future_by(2), correlation_id: some("c"), txn: some("t"), jti: some("j"), ..audit("w", 3) },
        AuditRow { at: future_by(3), correlation_id: some("d"), txn: some("t"), jti: some("k"), ..audit("w", 4) },
    ]
}

fn sequences(rows: &[StoredAuditRow]) -> Vec<i64> {
    rows.iter().map(|stored| stored.row.writer_sequence).collect()
}

pub(super) async fn rows_are_read_in_the_order_of_their_ids(database: &TestDatabase) {
    let store = database.store().await;
    let rows = [audit("b", 2), audit("a", 1), audit("b", 1)];
    store.append_audit(&rows).await.unwrap();
    store.append_audit(&[]).await.unwrap();
    store.append_audit(&[audit("a", 2)]).await.unwrap();
    let stored = store.audit(&AuditFilter::default(), 10).await.unwrap();
    assert!(stored.is_sorted_by(|earlier, later| earlier.id < later.id));
    let [first, second, third] = rows;
    assert_eq!(audit_rows(&*store).await, [first, second, third, audit("a", 2)]);
    assert_eq!(store.audit(&AuditFilter::default(), 2).await.unwrap(), stored[..2]);
    assert_eq!(store.audit(&AuditFilter::default(), 0).await.unwrap(), []);
}

pub(super) async fn each_filter_selects_its_rows(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&events()).await.unwrap();
    let ids: Vec<i64> = store.audit(&AuditFilter::default(), 10).await.unwrap().iter().map(|row| row.id).collect();
    let some = |text: &str| Some(text.to_owned());
    for (filter, expected) in [
        (AuditFilter { after_id: Some(ids[1]), ..AuditFilter::default() }, vec![3, 4]),
        (AuditFilter { since: Some(future_by(3)), ..AuditFilter::default() }, vec![2, 4]),
        (AuditFilter { correlation_id: some("c"), ..AuditFilter::default() }, vec![2, 3]),
        (AuditFilter { txn: some("t"), ..AuditFilter::default() }, vec![2, 3, 4]),
        (AuditFilter { jti: some("j"), ..AuditFilter::default() }, vec![3]),
        (AuditFilter { jti: some("J"), ..AuditFilter::default() }, vec![]),
        (AuditFilter { jti: some("' OR TRUE --"), ..AuditFilter::default() }, vec![]),
    ] {
        assert_eq!(sequences(&store.audit(&filter, 10).await.unwrap()), expected, "{filter:?}");
    }
}

pub(super) async fn filters_add_up(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&events()).await.unwrap();
    let all = AuditFilter {
        after_id: Some(0),
        since: Some(future_by(2)),
        correlation_id: Some("c".to_owned()),
        txn: Some("t".to_owned()),
        jti: Some("j".to_owned()),
    };
    assert_eq!(sequences(&store.audit(&all, 10).await.unwrap()), [3]);
    let other = AuditFilter { correlation_id: Some("d".to_owned()), ..all };
    assert_eq!(store.audit(&other, 10).await.unwrap(), []);
}

pub(super) async fn reading_on_from_the_last_id_misses_nothing(database: &TestDatabase) {
    let store = database.store().await;
    let rows: Vec<AuditRow> = (1..=10).map(|number| audit("w", number)).collect();
    store.append_audit(&rows).await.unwrap();
    let mut read = Vec::new();
    let mut filter = AuditFilter::default();
    loop {
        let page = store.audit(&filter, 3).await.unwrap();
        let Some(last) = page.last() else { break };
        filter.after_id = Some(last.id);
        read.extend(page.into_iter().map(|stored| stored.row));
    }
    assert_eq!(read, rows);
}

pub(super) async fn chains_are_paged_in_the_order_of_writer_and_sequence(database: &TestDatabase) {
    let store = database.store().await;
    let rows = [audit("b", 1), audit("a", 2), audit("B", 1), audit("a", 10), audit("a", 1)];
    store.append_audit(&rows).await.unwrap();
    let mut read: Vec<StoredAuditRow> = Vec::new();
    loop {
        let after = read.last().map(|stored| (stored.row.writer.as_str(), stored.row.writer_sequence));
        let page = store.audit_chain(after, 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    let places: Vec<(&str, i64)> =
        read.iter().map(|stored| (stored.row.writer.as_str(), stored.row.writer_sequence)).collect();
    assert_eq!(places, [("B", 1), ("a", 1), ("a", 2), ("a", 10), ("b", 1)]);
}

pub(super) async fn the_head_of_every_chain_is_found(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&[audit("b", 1), audit("a", 1), audit("B", 7), audit("a", 10), audit("a", 9)]).await.unwrap();
    let expected = [audit("B", 7), audit("a", 10), audit("b", 1)].map(|row| AuditHead {
        writer: row.writer,
        writer_sequence: row.writer_sequence,
        mac: row.mac,
    });
    assert_eq!(store.audit_heads().await.unwrap(), expected);
}

pub(super) async fn an_empty_audit_has_no_heads(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(store.audit_heads().await.unwrap(), []);
    assert_eq!(store.audit_chain(None, 10).await.unwrap(), []);
    assert_eq!(audit_rows(&*store).await, []);
}
