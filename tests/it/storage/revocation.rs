//! Revocations and what they reach.

use sts_server::storage::{AuditRow, RevocationKind, RevocationRow, Store, TokenRow, Version};

use super::database::TestDatabase;
use super::rows::{
    OURS, OUTSIDE, audit, audit_rows, counted, future_by, known, past, record_tokens, revocation, standing,
    token_of_txn,
};

/// Revokes; the raised counter and how many rows were added.
async fn revoked(store: &dyn Store, row: &RevocationRow, audit: &[AuditRow]) -> (i64, u64) {
    let (version, added) = store.revoke(row, audit).await.unwrap();
    (version.counter, added)
}

fn token_revocation(issuer: &str, jti: &str) -> RevocationRow {
    revocation(RevocationKind::Token, Some(issuer), jti)
}

/// Names of revoked tokens, as [`standing`] gives them.
fn tokens(names: &[(&str, &str)]) -> Vec<(RevocationKind, Option<String>, String)> {
    names.iter().map(|(issuer, jti)| (RevocationKind::Token, Some((*issuer).to_owned()), (*jti).to_owned())).collect()
}

pub(super) async fn a_revocation_bears_the_raised_counter(database: &TestDatabase) {
    let store = database.store().await;
    let first = revocation(RevocationKind::Tenant, None, "acme");
    let second = revocation(RevocationKind::Agent, None, "coordinator");
    assert_eq!(revoked(&*store, &first, &[audit("w", 1)]).await, (1, 1));
    assert_eq!(revoked(&*store, &second, &[audit("w", 2)]).await, (2, 1));
    let expected = vec![RevocationRow { version: 1, ..first }, RevocationRow { version: 2, ..second }];
    assert_eq!(counted(store.revocations().await.unwrap()), (2, expected));
    assert_eq!(known(&*store).await.revocations.counter, 2);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1), audit("w", 2)]);
}

pub(super) async fn a_revocation_that_reaches_no_further_changes_no_row(database: &TestDatabase) {
    let store = database.store().await;
    let row =
        RevocationRow { at: future_by(5), expires_at: future_by(10), ..revocation(RevocationKind::Tenant, None, "a") };
    store.revoke(&row, &[]).await.unwrap();
    let nearer = RevocationRow { at: future_by(4), expires_at: future_by(9), ..row.clone() };
    assert_eq!(revoked(&*store, &row, &[]).await, (2, 0));
    assert_eq!(revoked(&*store, &nearer, &[]).await, (3, 0));
    assert_eq!(counted(store.revocations().await.unwrap()), (3, vec![RevocationRow { version: 1, ..row }]));
}

pub(super) async fn a_revocation_that_reaches_further_replaces_the_row(database: &TestDatabase) {
    let store = database.store().await;
    let row = revocation(RevocationKind::Subject, Some(OUTSIDE), "alice");
    store.revoke(&row, &[]).await.unwrap();
    let further = RevocationRow { at: future_by(1), expires_at: future_by(2), ..row };
    assert_eq!(revoked(&*store, &further, &[]).await, (2, 1));
    assert_eq!(counted(store.revocations().await.unwrap()), (2, vec![RevocationRow { version: 2, ..further }]));
}

pub(super) async fn the_later_of_each_time_is_kept(database: &TestDatabase) {
    let store = database.store().await;
    let row = revocation(RevocationKind::Tenant, None, "acme");
    let first = RevocationRow { at: future_by(9), expires_at: future_by(10), ..row.clone() };
    let second = RevocationRow { at: future_by(8), expires_at: future_by(20), ..row.clone() };
    store.revoke(&first, &[]).await.unwrap();
    assert_eq!(revoked(&*store, &second, &[]).await, (2, 1));
    let expected = RevocationRow { at: future_by(9), expires_at: future_by(20), version: 2, ..row };
    assert_eq!(counted(store.revocations().await.unwrap()), (2, vec![expected]));
}

pub(super) async fn revocations_of_different_issuers_stand_beside_each_other(database: &TestDatabase) {
    let store = database.store().await;
    for issuer in [None, Some(OURS), Some(OUTSIDE)] {
        assert_eq!(store.revoke(&revocation(RevocationKind::Subject, issuer, "alice"), &[]).await.unwrap().1, 1);
    }
    assert_eq!(standing(&*store).await.len(), 3);
}

pub(super) async fn every_kind_is_read_back(database: &TestDatabase) {
    let store = database.store().await;
    let mut expected = Vec::new();
    for kind in [
        RevocationKind::Token,
        RevocationKind::Transaction,
        RevocationKind::Subject,
        RevocationKind::Agent,
        RevocationKind::Tenant,
    ] {
        let issuer = (kind == RevocationKind::Token).then_some(OUTSIDE);
        store.revoke(&revocation(kind, issuer, "same"), &[]).await.unwrap();
        expected.push((kind, issuer.map(str::to_owned), "same".to_owned()));
    }
    assert_eq!(standing(&*store).await, expected);
}

pub(super) async fn expired_revocations_are_not_read(database: &TestDatabase) {
    let store = database.store().await;
    let expired = RevocationRow { expires_at: past(), ..revocation(RevocationKind::Tenant, None, "gone") };
    assert_eq!(revoked(&*store, &expired, &[]).await, (1, 1));
    assert_eq!(counted(store.revocations().await.unwrap()), (1, Vec::new()));
}

/// Two first hops of one outside token, each the root of a tree five levels deep: at each level `a` goes on and `b` is a leaf.
fn two_trees() -> Vec<TokenRow> {
    let mut rows = Vec::new();
    for root in ["x", "y"] {
        rows.push(token_of_txn(root, Some((OUTSIDE, "login")), root));
        let mut parent = root.to_owned();
        for _level in 2..=5 {
            for branch in ["a", "b"] {
                rows.push(token_of_txn(&format!("{parent}{branch}"), Some((OURS, &parent)), root));
            }
            parent.push('a');
        }
    }
    rows
}

pub(super) async fn revoking_a_token_adds_one_row_however_many_descend_from_it(database: &TestDatabase) {
    let store = database.store().await;
    record_tokens(&*store, two_trees()).await.unwrap();
    for (number, (issuer, jti)) in [(OURS, "xa"), (OUTSIDE, "login"), (OUTSIDE, "x")].into_iter().enumerate() {
        let counter = i64::try_from(number).unwrap() + 1;
        assert_eq!(revoked(&*store, &token_revocation(issuer, jti), &[]).await, (counter, 1), "{jti}");
    }
    assert_eq!(standing(&*store).await, tokens(&[(OUTSIDE, "login"), (OUTSIDE, "x"), (OURS, "xa")]));
}

pub(super) async fn revoking_a_transaction_reaches_the_outside_tokens_that_began_it(database: &TestDatabase) {
    let store = database.store().await;
    let mut rows = two_trees();
    rows.push(token_of_txn("x2", Some((OUTSIDE, "second login")), "x"));
    rows.push(token_of_txn("service account", None, "x"));
    record_tokens(&*store, rows).await.unwrap();

    let row = revocation(RevocationKind::Transaction, None, "x");
    assert_eq!(revoked(&*store, &row, &[]).await, (1, 3));
    let alone = |jti: &str| (RevocationKind::TokenAlone, Some(OUTSIDE.to_owned()), jti.to_owned());
    let expected = vec![alone("login"), alone("second login"), (RevocationKind::Transaction, None, "x".to_owned())];
    assert_eq!(standing(&*store).await, expected);
    let (_, rows) = counted(store.revocations().await.unwrap());
    assert!(rows.iter().all(|added| (added.at, added.expires_at, added.version) == (row.at, row.expires_at, 1)));
}

pub(super) async fn lifting_removes_exactly_one_revocation(database: &TestDatabase) {
    let store = database.store().await;
    for (kind, issuer) in [
        (RevocationKind::Subject, None),
        (RevocationKind::Subject, Some(OURS)),
        (RevocationKind::Subject, Some(OUTSIDE)),
        (RevocationKind::Tenant, None),
    ] {
        store.revoke(&revocation(kind, issuer, "alice"), &[]).await.unwrap();
    }
    assert!(store.lift(RevocationKind::Subject, Some(OURS), "alice", &[audit("w", 1)]).await.unwrap());
    assert!(store.lift(RevocationKind::Subject, None, "alice", &[audit("w", 2)]).await.unwrap());
    let expected = [(RevocationKind::Subject, Some(OUTSIDE)), (RevocationKind::Tenant, None)]
        .map(|(kind, issuer)| (kind, issuer.map(str::to_owned), "alice".to_owned()));
    assert_eq!(standing(&*store).await, expected);
    assert_eq!(known(&*store).await.revocations.counter, 6);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1), audit("w", 2)]);
}

pub(super) async fn what_was_added_since_is_read_alone_until_something_is_lifted(database: &TestDatabase) {
    let store = database.store().await;
    let agent = |name: &str| revocation(RevocationKind::Agent, None, name);
    let before = known(&*store).await.revocations;
    let (first, _) = store.revoke(&agent("a"), &[]).await.unwrap();
    let (second, _) = store.revoke(&agent("b"), &[]).await.unwrap();
    let added = async |known| {
        let (version, rows) = store.revocations_after(known).await.unwrap()?;
        Some((version, rows.into_iter().map(|row| row.value).collect::<Vec<_>>()))
    };
    assert_eq!(added(before).await, Some((second, vec!["a".to_owned(), "b".to_owned()])));
    assert_eq!(added(first).await, Some((second, vec!["b".to_owned()])));
    assert_eq!(added(second).await, Some((second, Vec::new())));
    assert_eq!(added(Version { generation: !first.generation, ..first }).await, None, "another past");
    assert_eq!(added(Version { counter: 7, generation: 7 }).await, None, "another future");
    store.lift(RevocationKind::Agent, None, "a", &[]).await.unwrap();
    assert_eq!(added(second).await, None, "what was lifted shows in no row");
}

pub(super) async fn lifting_nothing_writes_nothing(database: &TestDatabase) {
    let store = database.store().await;
    store.revoke(&revocation(RevocationKind::Tenant, None, "acme"), &[]).await.unwrap();
    assert!(!store.lift(RevocationKind::Tenant, None, "other", &[audit("w", 1)]).await.unwrap());
    assert_eq!(known(&*store).await.revocations.counter, 1);
    assert_eq!(audit_rows(&*store).await, []);
}

pub(super) async fn a_block_reaches_the_moment_of_its_act(database: &TestDatabase) {
    let store = database.store().await;
    let before = store.state().await.unwrap().time;
    store.revoke(&RevocationRow { at: past(), ..revocation(RevocationKind::Agent, None, "a") }, &[]).await.unwrap();
    let (_, rows) = counted(store.revocations().await.unwrap());
    assert!(rows.iter().all(|row| row.at >= before), "{rows:?}");
    assert_eq!(rows.len(), 1);
}
