//! A server whose view of the approvals is behind.

use std::sync::Arc;

use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use sts_tests::refuses;

use super::deferred::{deferred, poll};
use super::{BY_OPERATOR, awaited, decided, on_both, write};
use crate::supervision::serve;

#[tokio::test]
async fn newer_revocations_never_stand_beside_older_approvals() {
    for harness in on_both(BY_OPERATOR).await {
        let store = FaultyStore::new(Arc::clone(&harness.store));
        let server = serve(&harness, &harness.config, &store).await;
        let wire = harness.wire().at(format!("http://{}", server.public()));
        let id = awaited(write(&harness)).await;
        decided(&harness, &id, "grant").await;
        server.sts().refresh().await.expect("a database");
        write(&harness).over(&wire).send().await.token();
        // Its read of the versions comes between an unrelated revocation and the withdrawal, its read of the
        // revocations after both.
        let unrelated = json!({ "sub": "bob", "unknown": true });
        let revoked = harness.admin("POST", "/revocations").by("operator").json(&unrelated).send().await;
        assert_eq!(revoked.status, 200, "{}", revoked.text());
        let between = harness.store.state().await.expect("a database");
        store.fail(Some(StoreFault::OldVersions(between)));
        decided(&harness, &id, "withdraw").await;
        server.sts().refresh().await.expect("a database");
        // Whether it has seen the withdrawal or not: it asks for another approval, or cannot commit that.
        let answer = write(&harness).over(&wire).send().await;
        let expected = [(400, "interaction_required"), (503, "temporarily_unavailable")];
        assert!(expected.contains(&(answer.status, answer.error())), "{}", answer.text());
        assert_eq!(harness.token_count().await, 1);
        server.stop().await;
    }
}

#[tokio::test]
async fn a_server_reads_the_changes_of_approvals_alone() {
    for harness in on_both(BY_OPERATOR).await {
        let store = FaultyStore::new(Arc::clone(&harness.store));
        let server = serve(&harness, &harness.config, &store).await;
        let wire = harness.wire().at(format!("http://{}", server.public()));
        store.fail(Some(StoreFault::WholeApprovals));
        for _ in 0..3 {
            let id = awaited(write(&harness).over(&wire)).await;
            decided(&harness, &id, "grant").await;
            server.sts().refresh().await.expect("a database");
            write(&harness).over(&wire).send().await.token();
            decided(&harness, &id, "withdraw").await;
            server.sts().refresh().await.expect("a database");
        }
        assert_eq!(server.sts().snapshot().approvals.iter().count(), 3);
        server.stop().await;
    }
}

#[tokio::test]
async fn approvals_that_cannot_be_read_count_for_nothing_and_the_rest_goes_on() {
    for harness in on_both(BY_OPERATOR).await {
        let store = FaultyStore::new(Arc::clone(&harness.store));
        let server = serve(&harness, &harness.config, &store).await;
        let wire = harness.wire().at(format!("http://{}", server.public()));
        let id = awaited(write(&harness)).await;
        decided(&harness, &id, "grant").await;
        server.sts().refresh().await.expect("a database");
        write(&harness).over(&wire).send().await.token();
        store.fail(Some(StoreFault::Approvals));
        decided(&harness, &id, "withdraw").await;
        for _ in 0..3 {
            harness.advance(20);
            server.sts().refresh().await.expect("the rest is read");
        }
        let answer = write(&harness).over(&wire).send().await;
        assert_eq!((answer.status, answer.error()), (400, "interaction_required"), "{}", answer.text());
        harness.exchange().set("scope", "stock:read").over(&wire).send().await.token();
        server.stop().await;
    }
}

#[tokio::test]
async fn a_code_is_redeemed_once_at_a_server_that_had_not_read_its_approval() {
    for harness in on_both(BY_OPERATOR).await {
        let replica = harness.replica().await;
        let (code, id) = deferred(&harness).await;
        decided(&harness, &id, "grant").await;
        let poll = || poll(&harness, "coordinator", &code).at(&replica.wire);
        let mut first = poll().send().await;
        if first.error() == "authorization_pending" {
            // It had read the approval, and not its grant.
            replica.server.sts().refresh().await.expect("a database");
            first = poll().send().await;
        }
        first.token();
        refuses("twice", &poll().send().await, ErrorKind::Deferral);
        assert_eq!(harness.token_count().await, 1);
    }
}

#[tokio::test]
async fn a_poll_counts_once_however_often_a_server_decides_it_anew() {
    for harness in on_both(BY_OPERATOR).await {
        let store = FaultyStore::new(Arc::clone(&harness.store));
        let server = serve(&harness, &harness.config, &store).await;
        let wire = harness.wire().at(format!("http://{}", server.public()));
        store.fail(Some(StoreFault::Approvals));
        let (code, _id) = deferred(&harness).await;
        server.sts().refresh().await.expect("the rest is read");
        // Each is decided four times, which is more than a code has in a minute.
        for _ in 0..5 {
            let answer = poll(&harness, "coordinator", &code).over(&wire).send().await;
            assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"), "{}", answer.text());
        }
        server.stop().await;
    }
}
