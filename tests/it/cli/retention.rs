//! `audit archive` and `audit acknowledge`, and the retention of a server.

use std::time::Duration;

use super::Shop;
use super::audit::execute;
use crate::process::Folder;

/// The longest wait for the maintenance of a server, which runs every 10 s.
const PATIENCE: Duration = Duration::from_secs(60);

/// A shop whose server has ended, with this number of issued tokens in one chain.
async fn with_tokens(count: usize) -> Shop {
    let (shop, server) = Shop::serving().await;
    for _ in 0..count {
        shop.token().await;
    }
    assert_eq!(server.end().await, Some(0));
    shop
}

/// Acknowledges the only fault of the log. Returns its row.
async fn acknowledge(shop: &Shop) -> String {
    let report = shop.folder.run(&["audit", "verify", "--json"]).await;
    report.ended_with(1);
    let report = report.json().remove(0);
    assert_eq!(report["faults"].as_array().map(Vec::len), Some(1), "{report}");
    let fault = &report["faults"][0];
    let row = format!("{}:{}", fault["writer"].as_str().expect("a writer"), fault["sequence"]);
    shop.folder.run(&["audit", "acknowledge", &row, "--why", "the standby of 1 May lost it"]).await.ended_with(0);
    assert_eq!(verified(&shop.folder).await.1, 0);
    row
}

/// The number of rows and of faults that `audit verify` finds.
async fn verified(folder: &Folder) -> (u64, usize, usize) {
    let verified = folder.run(&["audit", "verify", "--json"]).await;
    let report = verified.json().remove(0);
    let count = |member: &str| report[member].as_array().map_or(0, Vec::len);
    (report["rows"].as_u64().expect("a count"), count("faults"), count("acknowledged"))
}

#[tokio::test]
async fn a_server_removes_events_older_than_its_retention_and_the_rest_verifies() {
    let (shop, server) = Shop::serving().await;
    shop.token().await;
    let archived = shop.folder.run(&["audit", "archive", "archive.jsonl"]).await;
    archived.ended_with(0);
    assert_eq!(server.end().await, Some(0));
    let (before, ..) = verified(&shop.folder).await;
    let _server = shop.folder.serve_with(&[("AUDIT__RETAIN", "1s")]).await;
    let removed = async { while verified(&shop.folder).await.0 >= before {} };
    tokio::time::timeout(PATIENCE, removed).await.expect("old events are removed");
    shop.token().await;
    assert_eq!(verified(&shop.folder).await.1, 0);
    let checked = shop.folder.run(&["audit", "verify", "--archive", "archive.jsonl"]).await;
    assert!(checked.ended_with(0).contains("0 faults"), "{checked:?}");
    assert_eq!(shop.folder.run(&["audit", "archive", "archive.jsonl"]).await.code, 2, "never overwritten");
}

#[tokio::test]
async fn a_fault_that_was_explained_no_longer_counts_until_its_row_changes_again() {
    let shop = with_tokens(4).await;
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 2").await;
    let report = shop.folder.run(&["audit", "verify", "--json"]).await;
    report.ended_with(1);
    let fault = report.json()[0]["faults"][0].clone();
    let row = format!("{}:{}", fault["writer"].as_str().expect("a writer"), fault["sequence"]);
    let acknowledge = ["audit", "acknowledge", &row, "--why", "the standby of 1 May lost it"];
    for refused in [["audit", "acknowledge", "nonsense", "--why", "x"], ["audit", "acknowledge", &row, "--why", " "]] {
        shop.folder.run(&refused).await.ended_with(2);
    }
    shop.folder.run(&acknowledge).await.ended_with(0);
    let verified_again = shop.folder.run(&["audit", "verify"]).await;
    assert!(verified_again.ended_with(0).contains("0 faults, 1 acknowledged"), "{verified_again:?}");
    shop.folder.run(&acknowledge).await.ended_with(2);
    let listed = shop.folder.run(&["audit", "list", "--json", "--limit", "1"]).await.json();
    assert_eq!((listed[0]["event"].as_str(), listed[0]["row"].as_str()), (Some("audit.acknowledged"), Some(&*row)));

    // The next row goes too: that is another fault.
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 3").await;
    assert_eq!(verified(&shop.folder).await.1, 1);
}

#[tokio::test]
async fn an_acknowledgement_is_found_without_summaries() {
    let shop = with_tokens(4).await;
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 2").await;
    acknowledge(&shop).await;
    execute(&shop, "INSERT INTO audit_summaries (segment, names, identifiers) VALUES (0, x'', x'')").await;
    let (_, faults, acknowledged) = verified(&shop.folder).await;
    assert_eq!((faults, acknowledged), (0, 1));
    let archived = shop.folder.run(&["audit", "archive", "archive.jsonl"]).await;
    assert!(archived.ended_with(0).contains("0 faults, 1 acknowledged"), "{archived:?}");
}

#[tokio::test]
async fn a_row_removed_before_an_acknowledged_gap_is_another_fault() {
    let shop = with_tokens(4).await;
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 3").await;
    acknowledge(&shop).await;
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 2").await;
    acknowledge(&shop).await;
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 1").await;
    assert_eq!(verified(&shop.folder).await.1, 1);
}

#[tokio::test]
async fn a_further_edit_of_an_acknowledged_row_is_another_fault() {
    let shop = with_tokens(3).await;
    for edit in [
        "UPDATE audit_events SET jti = 'x' WHERE body LIKE '%token.issued%' AND writer_sequence = 2",
        "UPDATE audit_events SET txn = 'x' WHERE body LIKE '%token.issued%' AND writer_sequence = 2",
        "UPDATE audit_events SET txn = '' WHERE body LIKE '%token.issued%' AND writer_sequence = 2",
        "UPDATE audit_events SET correlation_id = 'x' WHERE body LIKE '%token.issued%' AND writer_sequence = 2",
        "UPDATE audit_events SET at = at + 1 WHERE body LIKE '%token.issued%' AND writer_sequence = 2",
    ] {
        execute(&shop, edit).await;
        assert_eq!(verified(&shop.folder).await.1, 1, "{edit}");
        acknowledge(&shop).await;
    }
}

#[tokio::test]
async fn a_chain_with_an_acknowledged_gap_that_is_cut_off_has_a_fault() {
    let shop = with_tokens(4).await;
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 2").await;
    acknowledge(&shop).await;
    let heads = shop.folder.run(&["audit", "export", "--heads"]).await;
    shop.folder.write("heads.jsonl", heads.ended_with(0));
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 4").await;
    let verified = shop.folder.run(&["audit", "verify", "--heads", "heads.jsonl", "--json"]).await;
    verified.ended_with(1);
    let report = verified.json().remove(0);
    assert_eq!(
        (&report["faults"][0]["fault"], &report["acknowledged"][0]["fault"]),
        (&"cut".into(), &"missing".into())
    );
}

#[tokio::test]
async fn another_master_key_acknowledges_nothing_and_writes_nothing() {
    let shop = with_tokens(2).await;
    execute(&shop, "UPDATE audit_events SET jti = 'x' WHERE body LIKE '%token.issued%' AND writer_sequence = 2").await;
    let (rows, ..) = verified(&shop.folder).await;
    let ours = std::fs::read_to_string(shop.folder.path("master.key")).expect("a key");
    shop.folder.write("master.key", "YW5vdGhlciBtYXN0ZXIga2V5IG9mIDMyIGJ5dGVzISE=\n");
    let report = shop.folder.run(&["audit", "verify", "--json"]).await.json().remove(0);
    let fault = &report["faults"][0];
    let row = format!("{}:{}", fault["writer"].as_str().expect("a writer"), fault["sequence"]);
    let refused = shop.folder.run(&["audit", "acknowledge", &row, "--why", "the key"]).await;
    refused.ended_with(2);
    assert!(refused.stderr.contains("does not open under the configured master key"), "{refused:?}");
    shop.folder.write("master.key", &ours);
    assert_eq!(verified(&shop.folder).await, (rows, 1, 0));
}

#[tokio::test]
async fn an_archive_has_the_acknowledgements_of_its_faults() {
    let shop = with_tokens(4).await;
    execute(&shop, "UPDATE audit_events SET jti = 'x' WHERE body LIKE '%token.issued%' AND writer_sequence = 1").await;
    acknowledge(&shop).await;
    execute(&shop, "UPDATE audit_events SET body = 'x' WHERE body LIKE '%token.issued%' AND writer_sequence = 2").await;
    acknowledge(&shop).await;
    let archived = shop.folder.run(&["audit", "archive", "known.jsonl"]).await;
    assert!(archived.ended_with(0).contains("0 faults, 2 acknowledged"), "{archived:?}");
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 3").await;
    let archived = shop.folder.run(&["audit", "archive", "unknown.jsonl"]).await;
    assert!(archived.ended_with(1).contains("1 fault, 2 acknowledged"), "{archived:?}");
    acknowledge(&shop).await;
    let archived = shop.folder.run(&["audit", "archive", "explained.jsonl"]).await;
    assert!(archived.ended_with(0).contains("0 faults, 3 acknowledged"), "{archived:?}");
}
