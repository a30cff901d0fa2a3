//! What goes when it has expired.

use sts_server::storage::{OneTimeValue, RecordRows, RevocationKind, RevocationRow, TokenRow};

use super::database::TestDatabase;
use super::rows::{audit, audit_rows, known, one_time, past, record_tokens, revocation, spend, standing, token};

pub(super) async fn what_has_expired_goes_and_the_rest_stays(database: &TestDatabase) {
    let store = database.store().await;
    let expired = OneTimeValue { expires_at: past(), ..one_time("n", "expired") };
    let values = [expired.clone(), one_time("n", "alive")];
    store
        .record(&[], &values, &mut |_| RecordRows {
            tokens: vec![token("alive", None), TokenRow { expires_at: past(), ..token("expired", None) }],
            audit: vec![audit("w", 1)],
        })
        .await
        .unwrap();
    let row = revocation(RevocationKind::Tenant, None, "alive");
    store.revoke(&row, &[]).await.unwrap();
    let gone = RevocationRow { value: "expired".to_owned(), expires_at: past(), ..row };
    store.revoke(&gone, &[]).await.unwrap();

    assert_eq!(store.purge().await.unwrap(), 3);
    assert_eq!(store.purge().await.unwrap(), 0);
    assert_eq!(store.token("expired").await.unwrap(), None);
    assert!(store.token("alive").await.unwrap().is_some());
    assert_eq!(spend(&*store, &[one_time("n", "alive"), expired]).await, [false, true]);
    assert_eq!(standing(&*store).await, [(RevocationKind::Tenant, None, "alive".to_owned())]);
    // An expired revocation refuses nothing, so nobody need read again.
    assert_eq!(known(&*store).await.revocations.counter, 2);
    assert_eq!(audit_rows(&*store).await, [audit("w", 1)]);
}

pub(super) async fn more_than_one_portion_is_purged(database: &TestDatabase) {
    let store = database.store().await;
    let size: u32 = 10_001;
    let expired: Vec<TokenRow> =
        (0..size).map(|number| TokenRow { expires_at: past(), ..token(&number.to_string(), None) }).collect();
    record_tokens(&*store, expired).await.unwrap();
    assert_eq!(store.purge().await.unwrap(), u64::from(size));
}

/// The statement that copies a revocation past the servers, so often that the copies fill a portion.
const ALTERED: &str = "INSERT INTO revocations (kind, issuer, value, at, expires_at, version, code)
     SELECT kind, issuer, '0-' || n, at, expires_at - 1000, version, code
     FROM revocations, (WITH RECURSIVE number (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 5500)
                        SELECT n FROM number) AS numbers
     WHERE value = 'expired'";

pub(super) async fn altered_revocations_do_not_stop_the_deletion_of_others(database: &TestDatabase) {
    let store = database.store().await;
    let expired = RevocationRow { expires_at: past(), ..revocation(RevocationKind::Tenant, None, "expired") };
    store.revoke(&expired, &[]).await.unwrap();
    database.execute(ALTERED).await;
    assert_eq!(store.purge().await.unwrap(), 1);
    assert_eq!(store.purge().await.unwrap(), 0);
}
