//! The record transaction.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use aws_lc_rs::hmac;
use sts_jose::SystemEntropy;
use sts_server::record::{Event, EventKind, Recorder, Submission, Verdict, Writer};
use sts_server::storage::{
    AuditRow, Fresh, FreshState, KEY_TEXT_BYTES, OneTimeValue, RecordRows, RevocationKind, RevocationRow, StorageError,
    Store, TokenRow, Version, Versions,
};
use sts_server::telemetry::Metrics;

use super::database::TestDatabase;
use super::rows::{
    OURS, OUTSIDE, audit, audit_rows, fresh, future_by, known, one_time, past, record_rows, record_tokens, revocation,
    spend, standing, token,
};

pub(super) async fn a_batch_is_stored_whole(database: &TestDatabase) {
    let store = database.store().await;
    let first = TokenRow { issued_at: future_by(1), expires_at: future_by(2), ..token("a", None) };
    let second = token("b", Some((OUTSIDE, "sha256:ü \" '")));
    let events = vec![
        audit("w", 1),
        AuditRow {
            correlation_id: Some("c".to_owned()),
            txn: Some("t".to_owned()),
            jti: Some("b".to_owned()),
            at: future_by(3),
            ..audit("w", 2)
        },
    ];
    let rows = RecordRows { tokens: vec![first.clone(), second.clone()], audit: events.clone() };
    record_rows(&*store, rows).await.unwrap();
    assert_eq!(store.token("a").await.unwrap(), Some(first));
    assert_eq!(store.token("b").await.unwrap(), Some(second));
    assert_eq!(store.token("c").await.unwrap(), None);
    assert_eq!(audit_rows(&*store).await, events);
}

pub(super) async fn an_empty_batch_is_recorded(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(fresh(&*store, &[known(&*store).await], &[]).await, Fresh::default());
}

pub(super) async fn of_equal_values_in_a_batch_the_first_is_spent(database: &TestDatabase) {
    let store = database.store().await;
    let batch = [one_time("n", "b"), one_time("n", "a"), one_time("n", "b"), one_time("n", "a"), one_time("n", "c")];
    assert_eq!(spend(&*store, &batch).await, [true, true, false, false, true]);
}

pub(super) async fn a_value_is_spent_once(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(spend(&*store, &[one_time("n", "a")]).await, [true]);
    assert_eq!(spend(&*store, &[one_time("n", "b"), one_time("n", "a")]).await, [true, false]);
    assert_eq!(spend(&*database.store().await, &[one_time("n", "b")]).await, [false]);
}

pub(super) async fn what_was_decided_before_a_value_was_found_spent_is_not_written(database: &TestDatabase) {
    let store = database.store().await;
    assert_eq!(spend(&*store, &[one_time("n", "a")]).await, [true]);
    let mut last = Vec::new();
    let decide = &mut |fresh: &Fresh| {
        last.clone_from(&fresh.spent);
        let jti = if fresh.spent == [true, true] { "wrong" } else { "right" };
        RecordRows { tokens: vec![token(jti, None)], audit: vec![audit(jti, 1)] }
    };
    store.record(&[known(&*store).await], &[one_time("n", "b"), one_time("n", "a")], decide).await.unwrap();
    assert_eq!(last, [true, false]);
    assert_eq!(store.token("wrong").await.unwrap(), None);
    assert!(store.token("right").await.unwrap().is_some());
    assert_eq!(audit_rows(&*store).await, [audit("right", 1)]);
    assert_eq!(spend(&*store, &[one_time("n", "b"), one_time("n", "c")]).await, [false, true]);
}

pub(super) async fn equal_values_of_two_namespaces_are_two(database: &TestDatabase) {
    let store = database.store().await;
    let batch = [one_time("n", "a"), one_time("m", "a"), one_time("na", ""), one_time("n", "A"), one_time("n", "a ")];
    assert_eq!(spend(&*store, &batch).await, [true; 5]);
}

pub(super) async fn an_expired_value_counts_as_spent_until_it_is_purged(database: &TestDatabase) {
    let store = database.store().await;
    let expired = OneTimeValue { expires_at: past(), ..one_time("n", "a") };
    assert_eq!(spend(&*store, std::slice::from_ref(&expired)).await, [true]);
    assert_eq!(spend(&*store, std::slice::from_ref(&expired)).await, [false]);
    assert_eq!(store.purge().await.unwrap(), 1);
    assert_eq!(spend(&*store, std::slice::from_ref(&expired)).await, [true]);
}

pub(super) async fn only_what_differs_from_the_known_is_fresh(database: &TestDatabase) {
    let store = database.store().await;
    let before = known(&*store).await;
    let rows = ["a", "b"].map(|tenant| revocation(RevocationKind::Tenant, None, tenant));
    store.revoke(&rows[0], &[]).await.unwrap();
    let between = known(&*store).await;
    store.revoke(&rows[1], &[]).await.unwrap();
    let after = known(&*store).await;
    let [first, second] = rows;
    let first = RevocationRow { version: 1, ..first };
    let second = RevocationRow { version: 2, ..second };
    let changed =
        |revocations: &[RevocationRow]| Some(FreshState { versions: after, revocations: revocations.to_vec() });
    let found = async |known: &[Versions]| fresh(&*store, known, &[]).await.changed;
    assert_eq!(found(&[before]).await, changed(&[first.clone(), second.clone()]));
    assert_eq!(found(&[between]).await, changed(std::slice::from_ref(&second)));
    assert_eq!(found(&[after]).await, None);
    assert_eq!(found(&[after, between]).await, changed(std::slice::from_ref(&second)), "the oldest counts");
    // A counter that went back and was raised again by another change.
    let elsewhere = Version { generation: !after.revocations.generation, ..after.revocations };
    let stranger = Versions { revocations: elsewhere, ..after };
    assert_eq!(found(&[stranger]).await, changed(&[first, second]), "every one that stands");
    store.change_entries(after.registry, &[], &[]).await.unwrap();
    let registry = known(&*store).await;
    assert_eq!(found(&[after]).await, Some(FreshState { versions: registry, revocations: Vec::new() }));
}

pub(super) async fn the_decision_is_made_once(database: &TestDatabase) {
    let store = database.store().await;
    let mut decisions = 0;
    store
        .record(&[Versions::default()], &[one_time("n", "a")], &mut |_| {
            decisions += 1;
            RecordRows { tokens: vec![token("a", None)], audit: vec![audit("w", 1)] }
        })
        .await
        .unwrap();
    assert_eq!(decisions, 1);
}

pub(super) async fn a_batch_that_was_decided_in_ignorance_is_decided_again(database: &TestDatabase) {
    let store = database.store().await;
    store.revoke(&revocation(RevocationKind::Tenant, None, "acme"), &[]).await.unwrap();
    let mut decide = |fresh: &Fresh| {
        let jti = if fresh.changed.is_none() { "ignorant" } else { "informed" };
        RecordRows { tokens: vec![token(jti, None)], audit: vec![audit(jti, 1)] }
    };
    store.record(&[Versions::default()], &[], &mut decide).await.unwrap();
    assert_eq!(store.token("ignorant").await.unwrap(), None);
    assert_eq!(store.token("informed").await.unwrap(), Some(token("informed", None)));
    let writers: Vec<String> = audit_rows(&*store).await.into_iter().map(|row| row.writer).collect();
    assert_eq!(writers, ["informed"]);
}

pub(super) async fn a_batch_that_is_decided_again_leaves_no_gap_in_the_audit_chain(database: &TestDatabase) {
    let store = database.store().await;
    let writer = Writer {
        store: Arc::clone(&store),
        key: hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]),
        entropy: Arc::new(SystemEntropy),
        metrics: Metrics::new(),
        patience: Duration::from_secs(60),
    };
    let recorder = Recorder::start(writer);
    let recorded = async || {
        let event = Some(Event::new(EventKind::TokenIssued, past()));
        let submission = Submission {
            approval: None,
            known: Versions::default(),
            single_use: Vec::new(),
            standings: Vec::new(),
            token: None,
            event,
        };
        assert_eq!(recorder.record(submission).await.unwrap(), Verdict::Committed);
    };
    recorded().await;
    store.revoke(&revocation(RevocationKind::Tenant, None, "acme"), &[]).await.unwrap();
    recorded().await;
    let sequences: Vec<i64> = audit_rows(&*store).await.into_iter().map(|row| row.writer_sequence).collect();
    assert_eq!(sequences, [1, 2]);
}

pub(super) async fn a_repeated_jti_breaks_the_batch_and_spends_nothing(database: &TestDatabase) {
    let store = database.store().await;
    record_tokens(&*store, vec![token("a", None)]).await.unwrap();
    for jtis in [["b", "a"], ["c", "c"]] {
        let outcome = store
            .record(&[], &[one_time("n", "x")], &mut |_| RecordRows {
                tokens: jtis.map(|jti| token(jti, None)).to_vec(),
                audit: vec![audit("w", 1)],
            })
            .await;
        assert!(matches!(outcome, Err(StorageError::Broken(_))), "{outcome:?}");
    }
    for absent in ["b", "c"] {
        assert_eq!(store.token(absent).await.unwrap(), None);
    }
    assert_eq!(audit_rows(&*store).await, []);
    assert_eq!(spend(&*store, &[one_time("n", "x")]).await, [true]);
}

pub(super) async fn a_repeated_audit_sequence_breaks_the_batch(database: &TestDatabase) {
    let store = database.store().await;
    store.append_audit(&[audit("w", 1), audit("v", 1)]).await.unwrap();
    let outcome = record_rows(&*store, RecordRows { tokens: vec![token("a", None)], audit: vec![audit("w", 1)] }).await;
    assert!(matches!(outcome, Err(StorageError::Broken(_))), "{outcome:?}");
    assert_eq!(store.token("a").await.unwrap(), None);
    assert_eq!(audit_rows(&*store).await.len(), 2);
}

pub(super) async fn two_thousand_decisions_are_one_batch(database: &TestDatabase) {
    let store = database.store().await;
    let size = 2_000;
    let values: Vec<OneTimeValue> = (0..size).map(|number| one_time("n", &number.to_string())).collect();
    let tokens: Vec<TokenRow> = (0..size).map(|number| token(&format!("t{number}"), Some((OURS, "root")))).collect();
    let events: Vec<AuditRow> = (1..=size).map(|number| audit("w", number)).collect();
    let mut rows = Some(RecordRows { tokens: tokens.clone(), audit: events.clone() });
    let mut all_spent = false;
    store
        .record(&[Versions::default()], &values, &mut |fresh| {
            all_spent = fresh.spent.iter().all(|spent| *spent);
            rows.take().unwrap()
        })
        .await
        .unwrap();
    assert!(all_spent);
    assert_eq!(audit_rows(&*store).await, events);
    assert_eq!(store.token("t1999").await.unwrap().as_ref(), tokens.last());
}

/// Text that no database can compress below the limits of an index.
fn longest(seed: u64) -> String {
    let mut state = seed;
    let mut text = String::new();
    while text.len() < KEY_TEXT_BYTES {
        // A linear congruential generator (Knuth's MMIX).
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push(char::from(33 + u8::try_from((state >> 33) % 94).unwrap()));
    }
    text
}

pub(super) async fn the_longest_texts_are_stored_and_found(database: &TestDatabase) {
    let store = database.store().await;
    let [iss, jti, parent_iss, parent_jti, txn, name] = [1, 2, 3, 4, 5, 6].map(longest);
    let row = TokenRow {
        iss: iss.clone(),
        txn: txn.clone(),
        client_id: name.clone(),
        ..token(&jti, Some((&parent_iss, &parent_jti)))
    };
    let event =
        AuditRow { correlation_id: Some(name.clone()), txn: Some(txn), jti: Some(jti.clone()), ..audit(&name, 1) };
    record_rows(&*store, RecordRows { tokens: vec![row.clone()], audit: vec![event.clone()] }).await.unwrap();
    assert_eq!(store.token(&jti).await.unwrap(), Some(row));
    assert_eq!(audit_rows(&*store).await, [event]);
    assert_eq!(spend(&*store, &[one_time(&name, &jti)]).await, [true]);
    assert_eq!(spend(&*store, &[one_time(&name, &jti)]).await, [false]);
    let parent = revocation(RevocationKind::Token, Some(&parent_iss), &parent_jti);
    assert_eq!(store.revoke(&parent, &[]).await.unwrap().1, 1);
    assert_eq!(standing(&*store).await, [(parent.kind, Some(parent_iss), parent_jti)]);
}

/// Records a token and an event that bear this number, beside values that count once, but gives up when the record has had to wait so
/// many times. Whether it came to its end before.
pub(super) async fn record_for_a_while(store: &dyn Store, number: i64, values: &[OneTimeValue], waits: u32) -> bool {
    let name = number.to_string();
    // On a connection that is there already: while one is made nothing can be left behind, and a password takes hundreds of waits.
    record_rows(store, RecordRows::default()).await.unwrap();
    let mut decide = |_: &_| RecordRows { tokens: vec![token(&name, None)], audit: vec![audit("w", number)] };
    let known = [Versions::default()];
    let mut recording = pin!(store.record(&known, values, &mut decide));
    let mut left = waits;
    std::future::poll_fn(|context| match recording.as_mut().poll(context) {
        Poll::Ready(outcome) => {
            outcome.unwrap();
            Poll::Ready(true)
        }
        Poll::Pending if left == 0 => Poll::Ready(false),
        Poll::Pending => {
            left -= 1;
            Poll::Pending
        }
    })
    .await
}

pub(super) async fn a_batch_given_up_at_any_point_is_whole_or_absent(database: &TestDatabase) {
    let store = database.store().await;
    let witness = database.store().await;
    let mut number = 0;
    let mut ended = 0;
    let mut waits = 0;
    // Three ends in a row: no later point is left.
    while ended < 3 {
        assert!(waits < 200, "the record never ends");
        number += 1;
        let value = one_time("n", &number.to_string());
        ended =
            if record_for_a_while(&*store, number, std::slice::from_ref(&value), waits).await { ended + 1 } else { 0 };
        waits += 1;
        // Spending waits for whatever the given up record still holds, so what it left behind is settled now.
        let spent = !spend(&*witness, &[value]).await[0];
        let recorded = witness.token(&number.to_string()).await.unwrap().is_some();
        let audited = audit_rows(&*witness).await.iter().any(|row| row.writer_sequence == number);
        assert_eq!((spent, recorded), (audited, audited), "given up after {waits} waits");
        assert!(audited || ended == 0);
    }
    // The connections that were given up work.
    let all = (0..12).map(|value| one_time("after", &value.to_string()));
    for value in all {
        assert_eq!(spend(&*store, &[value]).await, [true]);
    }
}

pub(super) async fn a_batch_without_values_given_up_at_any_point_is_whole_or_absent(database: &TestDatabase) {
    let store = database.store().await;
    let witness = database.store().await;
    let (mut number, mut ended, mut waits) = (0, 0, 0);
    while ended < 3 {
        assert!(waits < 200, "the record never ends");
        number += 1;
        ended = if record_for_a_while(&*store, number, &[], waits).await { ended + 1 } else { 0 };
        waits += 1;
        // What was sent may still be at work, and nothing that the witness could do waits for it.
        let whole = async {
            loop {
                let recorded = witness.token(&number.to_string()).await.unwrap().is_some();
                let audited = audit_rows(&*witness).await.iter().any(|row| row.writer_sequence == number);
                if recorded == audited {
                    return audited;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let audited = tokio::time::timeout(Duration::from_secs(5), whole).await;
        let audited = audited.unwrap_or_else(|_| panic!("half a batch, given up after {waits} waits"));
        assert!(audited || ended == 0);
    }
}
