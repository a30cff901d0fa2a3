//! A server whose view of the approvals is behind.

use std::sync::Arc;

use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_server::server::Server;
use sts_tests::faulty_store::{FaultyStore, StoreFault};
use sts_tests::{FormRequest, Harness, Wire, refuses};

use super::deferred::{deferred, poll};
use super::{BY_OPERATOR, awaited, decided, on_both, write};
use crate::supervision::serve;

/// A server whose reads of the database can fail or be late, beside the harness's own.
struct Behind {
    harness: Harness,
    store: FaultyStore,
    server: Server,
    wire: Wire,
}

impl Behind {
    async fn on_both() -> Vec<Self> {
        let mut all = Vec::new();
        for harness in on_both(BY_OPERATOR).await {
            let store = FaultyStore::new(Arc::clone(&harness.store));
            let server = serve(&harness, &harness.config, &store).await;
            let wire = harness.wire().at(format!("http://{}", server.public()));
            all.push(Self { harness, store, server, wire });
        }
        all
    }

    /// It reads what has changed, as far as it can.
    async fn reads(&self) {
        self.server.sts().refresh().await.expect("a database");
    }

    /// An exchange that needs an approval, at this server.
    fn write(&self) -> FormRequest {
        write(&self.harness).over(&self.wire)
    }

    /// Decides at the other server.
    async fn decided(&self, id: &str, decision: &str) {
        decided(&self.harness, id, decision).await;
    }

    /// A granted approval that this server has read and issued a token by.
    async fn granted(&self) -> String {
        let id = awaited(write(&self.harness)).await;
        self.decided(&id, "grant").await;
        self.reads().await;
        self.write().send().await.token();
        id
    }
}

#[tokio::test]
async fn newer_revocations_never_stand_beside_older_approvals() {
    for behind in Behind::on_both().await {
        let id = behind.granted().await;
        let harness = &behind.harness;
        // Its read of the versions comes between an unrelated revocation and the withdrawal, its read of the
        // revocations after both.
        let unrelated = json!({ "sub": "bob", "unknown": true });
        let revoked = harness.admin("POST", "/revocations").by("operator").json(&unrelated).send().await;
        assert_eq!(revoked.status, 200, "{}", revoked.text());
        let between = harness.store.state().await.expect("a database");
        behind.store.fail(Some(StoreFault::OldVersions(between)));
        behind.decided(&id, "withdraw").await;
        behind.reads().await;
        // Whether it has seen the withdrawal or not: it asks for another approval, or cannot commit that.
        let answer = behind.write().send().await;
        let expected = [(400, "interaction_required"), (503, "temporarily_unavailable")];
        assert!(expected.contains(&(answer.status, answer.error())), "{}", answer.text());
        assert_eq!(harness.token_count().await, 1);
        behind.server.stop().await;
    }
}

#[tokio::test]
async fn a_server_reads_the_changes_of_approvals_alone() {
    for behind in Behind::on_both().await {
        behind.store.fail(Some(StoreFault::WholeApprovals));
        for _ in 0..3 {
            let id = behind.granted().await;
            behind.decided(&id, "withdraw").await;
            behind.reads().await;
        }
        assert_eq!(behind.server.sts().snapshot().approvals.iter().count(), 3);
        behind.server.stop().await;
    }
}

#[tokio::test]
async fn approvals_that_cannot_be_read_count_for_nothing_and_the_rest_goes_on() {
    for behind in Behind::on_both().await {
        let id = behind.granted().await;
        behind.store.fail(Some(StoreFault::Approvals));
        behind.decided(&id, "withdraw").await;
        for _ in 0..3 {
            behind.harness.advance(20);
            behind.reads().await;
        }
        let answer = behind.write().send().await;
        assert_eq!((answer.status, answer.error()), (400, "interaction_required"), "{}", answer.text());
        behind.harness.exchange().set("scope", "stock:read").over(&behind.wire).send().await.token();
        behind.server.stop().await;
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
    for behind in Behind::on_both().await {
        behind.store.fail(Some(StoreFault::Approvals));
        let (code, _id) = deferred(&behind.harness).await;
        behind.reads().await;
        // Each is decided four times, which is more than a code has in a minute.
        for _ in 0..5 {
            let answer = poll(&behind.harness, "coordinator", &code).over(&behind.wire).send().await;
            assert_eq!((answer.status, answer.error()), (503, "temporarily_unavailable"), "{}", answer.text());
        }
        behind.server.stop().await;
    }
}
