//! Revocations and what they reach.

use sts_server::storage::{RevocationKind, RevocationRow, TokenRow};

use super::database::TestDatabase;
use super::rows::{
    OURS, OUTSIDE, audit, audit_rows, future, future_by, past, record_tokens, revocation, standing, token, token_of_txn,
};

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
    assert_eq!(store.revoke(&first, &[audit("w", 1)]).await.unwrap(), (1, 1));
    assert_eq!(store.revoke(&second, &[audit("w", 2)]).await.unwrap(), (2, 1));
    let expected = vec![RevocationRow { version: 1, ..first }, RevocationRow { version: 2, ..second }];
    assert_eq!(store.revocations().await.unwrap(), (2, expected));
    assert_eq!(store.versions().await.unwrap().revocations, 2);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1), audit("w", 2)]);
}

pub(super) async fn a_revocation_that_reaches_no_further_changes_no_row(database: &TestDatabase) {
    let store = database.store().await;
    let row =
        RevocationRow { at: future_by(5), expires_at: future_by(10), ..revocation(RevocationKind::Tenant, None, "a") };
    store.revoke(&row, &[]).await.unwrap();
    let nearer = RevocationRow { at: future_by(4), expires_at: future_by(9), ..row.clone() };
    assert_eq!(store.revoke(&row, &[]).await.unwrap(), (2, 0));
    assert_eq!(store.revoke(&nearer, &[]).await.unwrap(), (3, 0));
    assert_eq!(store.revocations().await.unwrap(), (3, vec![RevocationRow { version: 1, ..row }]));
}

pub(super) async fn a_revocation_that_reaches_further_replaces_the_row(database: &TestDatabase) {
    let store = database.store().await;
    let row = revocation(RevocationKind::Subject, Some(OUTSIDE), "alice");
    store.revoke(&row, &[]).await.unwrap();
    let further = RevocationRow { at: future_by(1), expires_at: future_by(2), ..row };
    assert_eq!(store.revoke(&further, &[]).await.unwrap(), (2, 1));
    assert_eq!(store.revocations().await.unwrap(), (2, vec![RevocationRow { version: 2, ..further }]));
}

pub(super) async fn the_later_of_each_time_is_kept(database: &TestDatabase) {
    let store = database.store().await;
    let row = revocation(RevocationKind::Tenant, None, "acme");
    let first = RevocationRow { at: future_by(9), expires_at: future_by(10), ..row.clone() };
    let second = RevocationRow { at: future_by(8), expires_at: future_by(20), ..row.clone() };
    store.revoke(&first, &[]).await.unwrap();
    assert_eq!(store.revoke(&second, &[]).await.unwrap(), (2, 1));
    let expected = RevocationRow { at: future_by(9), expires_at: future_by(20), version: 2, ..row };
    assert_eq!(store.revocations().await.unwrap(), (2, vec![expected]));
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
    assert_eq!(store.revoke(&expired, &[]).await.unwrap(), (1, 1));
    assert_eq!(store.revocations().await.unwrap(), (1, Vec::new()));
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

pub(super) async fn revoking_a_token_reaches_every_descendant_and_no_sibling(database: &TestDatabase) {
    let store = database.store().await;
    record_tokens(&*store, two_trees()).await.unwrap();
    let at = future_by(7);
    let row = RevocationRow { at, expires_at: future_by(9), ..token_revocation(OURS, "xa") };
    assert_eq!(store.revoke(&row, &[]).await.unwrap(), (1, 7));

    let expected = ["xa", "xaa", "xaaa", "xaaaa", "xaaab", "xaab", "xab"].map(|jti| (OURS, jti));
    assert_eq!(standing(&*store).await, tokens(&expected));
    let (_, rows) = store.revocations().await.unwrap();
    for row in rows {
        let expires_at = if row.value == "xa" { future_by(9) } else { future() };
        assert_eq!((row.at, row.expires_at, row.version), (at, expires_at, 1), "{}", row.value);
    }
}

pub(super) async fn revoking_an_outside_token_reaches_what_began_with_it(database: &TestDatabase) {
    let store = database.store().await;
    let mut rows = two_trees();
    let trees = rows.len();
    rows.push(token("z", Some((OUTSIDE, "another login"))));
    record_tokens(&*store, rows).await.unwrap();
    let added = u64::try_from(trees).unwrap() + 1;
    assert_eq!(store.revoke(&token_revocation(OUTSIDE, "login"), &[]).await.unwrap(), (1, added));
    assert!(!standing(&*store).await.contains(&tokens(&[(OURS, "z")])[0]));
}

pub(super) async fn descendants_of_another_issuers_token_of_the_same_jti_stand(database: &TestDatabase) {
    let store = database.store().await;
    record_tokens(&*store, two_trees()).await.unwrap();
    assert_eq!(store.revoke(&token_revocation(OUTSIDE, "x"), &[]).await.unwrap(), (1, 1));
    assert_eq!(standing(&*store).await, tokens(&[(OUTSIDE, "x")]));
}

pub(super) async fn expired_descendants_get_no_row(database: &TestDatabase) {
    let store = database.store().await;
    let expired = TokenRow { expires_at: past(), ..token("expired", Some((OURS, "root"))) };
    let rows = vec![token("root", None), expired, token("alive", Some((OURS, "expired")))];
    record_tokens(&*store, rows).await.unwrap();
    assert_eq!(store.revoke(&token_revocation(OURS, "root"), &[]).await.unwrap(), (1, 2));
    assert_eq!(standing(&*store).await, tokens(&[(OURS, "alive"), (OURS, "root")]));
}

pub(super) async fn revoking_a_transaction_reaches_the_outside_tokens_that_began_it(database: &TestDatabase) {
    let store = database.store().await;
    let mut rows = two_trees();
    rows.push(token_of_txn("x2", Some((OUTSIDE, "second login")), "x"));
    rows.push(token_of_txn("service account", None, "x"));
    record_tokens(&*store, rows).await.unwrap();

    let row = revocation(RevocationKind::Transaction, None, "x");
    assert_eq!(store.revoke(&row, &[]).await.unwrap(), (1, 3));
    let mut expected = tokens(&[(OUTSIDE, "login"), (OUTSIDE, "second login")]);
    expected.push((RevocationKind::Transaction, None, "x".to_owned()));
    assert_eq!(standing(&*store).await, expected);
    let (_, rows) = store.revocations().await.unwrap();
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
    assert_eq!(store.versions().await.unwrap().revocations, 6);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1), audit("w", 2)]);
}

pub(super) async fn lifting_nothing_writes_nothing(database: &TestDatabase) {
    let store = database.store().await;
    store.revoke(&revocation(RevocationKind::Tenant, None, "acme"), &[]).await.unwrap();
    assert!(!store.lift(RevocationKind::Tenant, None, "other", &[audit("w", 1)]).await.unwrap());
    assert_eq!(store.versions().await.unwrap().revocations, 1);
    assert_eq!(audit_rows(&*store).await, []);
}

pub(super) async fn a_block_reaches_the_moment_of_its_act(database: &TestDatabase) {
    let store = database.store().await;
    let before = store.versions().await.unwrap().database_time;
    store.revoke(&RevocationRow { at: past(), ..revocation(RevocationKind::Agent, None, "a") }, &[]).await.unwrap();
    let (_, rows) = store.revocations().await.unwrap();
    assert!(rows.iter().all(|row| row.at >= before), "{rows:?}");
    assert_eq!(rows.len(), 1);
}
