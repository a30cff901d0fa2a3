//! What ends an approval: withdrawals, revocations, and rows that were written past the servers.

use serde_json::{Value, json};
use sts_server::approval::{Approval, ApprovalAct, DecidedBy};
use sts_tests::Harness;

use super::{BY_OPERATOR, awaited, decided, on_both, state, write};

#[tokio::test]
async fn a_withdrawn_approval_allows_nothing_more() {
    for harness in on_both(BY_OPERATOR).await {
        let replica = harness.replica().await;
        let id = awaited(write(&harness)).await;
        decided(&harness, &id, "grant").await;
        replica.server.sts().refresh().await.expect("a database");
        write(&harness).at(&replica.wire).send().await.token();
        decided(&harness, &id, "withdraw").await;
        // The other server may not know it yet: the commit does.
        assert_ne!(awaited(write(&harness).at(&replica.wire)).await, id);
        assert_eq!(harness.token_count().await, 1);
    }
}

async fn revoke(harness: &Harness, named: &Value) {
    let answer = harness.admin("POST", "/revocations").by("operator").json(named).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

async fn lift(harness: &Harness, named: &Value) {
    let named = named.as_object().expect("an object").iter();
    let query: Vec<String> = named.map(|(name, value)| format!("{name}={}", value.as_str().expect("a text"))).collect();
    let answer = harness.admin("DELETE", &format!("/revocations?{}", query.join("&"))).by("operator").send().await;
    assert_eq!(answer.status, 204, "{}", answer.text());
}

#[tokio::test]
async fn a_revocation_ends_pending_and_remembered_approvals_and_lifting_it_brings_none_back() {
    for harness in on_both(BY_OPERATOR).await {
        let idp = harness.idp.url().to_owned();
        let pending = || harness.exchange().set("scope", "stock:read stock:write");
        for (named, ends) in [
            (json!({ "sub": "alice" }), true),
            (json!({ "sub": "alice", "issuer": idp }), true),
            (json!({ "agent": "coordinator" }), true),
            (json!({ "agent": "inventory" }), true),
            (json!({ "tenant": "acme" }), true),
            (json!({ "agent": "warehouse" }), false),
        ] {
            // Revocations stop what was issued up to a minute after them.
            harness.advance(100);
            let ids = [awaited(write(&harness)).await, awaited(pending()).await];
            decided(&harness, &ids[0], "grant").await;
            write(&harness).send().await.token();
            revoke(&harness, &named).await;
            let ended = if ends { ["ended"; 2] } else { ["granted", "pending"] };
            for (id, expected) in ids.iter().zip(ended) {
                assert_eq!(state(&harness, id).await, expected, "{named}");
            }
            lift(&harness, &named).await;
            harness.advance(100);
            if ends {
                assert!(!ids.contains(&awaited(write(&harness)).await), "{named}");
                assert!(!ids.contains(&awaited(pending()).await), "{named}");
                for id in [awaited(write(&harness)).await, awaited(pending()).await] {
                    decided(&harness, &id, "withdraw").await;
                }
            } else {
                write(&harness).send().await.token();
            }
        }
    }
}

#[tokio::test]
async fn a_row_that_was_altered_past_the_servers_approves_nothing() {
    for (change, is_known) in [
        ("UPDATE approvals SET state = 'granted'", true),
        ("UPDATE approvals SET state = 'granted', version = version + 1", true),
        ("UPDATE approvals SET expires_at = expires_at + 1000000", true),
        ("UPDATE approvals SET body = replace(body, 'stock:write', 'stock:read')", true),
        ("DELETE FROM approvals", false),
    ] {
        for harness in on_both(BY_OPERATOR).await {
            let id = awaited(write(&harness)).await;
            harness.execute(change).await;
            let replica = harness.replica().await;
            let answer = write(&harness).at(&replica.wire).send().await;
            assert_ne!(answer.status, 200, "{change}");
            let shown = harness.admin("GET", &format!("/approvals/{id}")).by("reader").send().await;
            assert_eq!(shown.status, 404, "{change} {is_known}");
            harness.exchange().set("scope", "stock:read").at(&replica.wire).send().await.token();
            let snapshot = replica.server.sts().snapshot();
            assert!(snapshot.faults().any(|fault| fault.table() == "approvals"), "{change}");
        }
    }
}

#[tokio::test]
async fn a_granted_row_that_is_put_back_after_its_withdrawal_approves_nothing() {
    for harness in on_both(BY_OPERATOR).await {
        let id = awaited(write(&harness)).await;
        decided(&harness, &id, "grant").await;
        harness.execute("CREATE TABLE kept AS SELECT * FROM approvals").await;
        decided(&harness, &id, "withdraw").await;
        harness.execute("DELETE FROM approvals").await;
        harness.execute("INSERT INTO approvals SELECT * FROM kept").await;
        let replica = harness.replica().await;
        let answer = write(&harness).at(&replica.wire).send().await;
        assert_ne!(answer.status, 200, "{}", answer.text());
    }
}

#[tokio::test]
async fn a_decision_is_made_once() {
    for harness in on_both(BY_OPERATOR).await {
        awaited(write(&harness)).await;
        let rows = harness.store.approvals().await.expect("a database").rows;
        let approval = Approval::read(&rows[0].row).expect("an approval");
        let now = rows[0].row.requested_at;
        let after = |act| approval.decided(act, DecidedBy::Operator("o"), now).expect("it is pending");
        let (grant, deny) = (after(ApprovalAct::Grant), after(ApprovalAct::Deny));
        let (granted, denied) = tokio::join!(
            harness.store.change_approval(approval.row(), &grant, &[]),
            harness.store.change_approval(approval.row(), &deny, &[]),
        );
        assert_ne!(granted.expect("a database"), denied.expect("a database"));
    }
}
