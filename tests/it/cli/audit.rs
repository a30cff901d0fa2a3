//! `audit`.

use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection as _, SqliteConnection};
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Shop, claims};
use crate::process::command;

#[tokio::test]
async fn audit_lists_the_events_of_one_request() {
    let (shop, _server) = Shop::serving().await;
    let token = shop.token().await;
    let refused = shop.exchange("no token").await;
    assert_eq!(refused["error"], "invalid_request");

    let listed = shop.folder.run(&["audit", "list", "--correlation", "the-request-of-alice", "--json"]).await;
    listed.ended_with(0);
    let events = listed.json();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0]["event"], "token.refused", "the newest first");
    assert_eq!(events[0]["reason"], "subject_malformed");
    assert_eq!(events[1]["event"], "token.issued");
    assert_eq!(events[1]["jti"], claims(&token)["jti"]);

    assert!(
        events.iter().all(|event| event["duration_micros"].as_u64().is_some_and(|micros| micros > 0)),
        "{events:?}"
    );

    let all = shop.folder.run(&["audit", "list"]).await;
    assert!(
        in_a_row(all.ended_with(0))
            .contains("token.issued coordinator -> inventory for alice of https://login.example.com"),
        "{all:?}"
    );
    let other = shop.folder.run(&["audit", "list", "--correlation", "another", "--json"]).await;
    assert_eq!(other.ended_with(1), "");
}

#[tokio::test]
async fn the_story_of_a_correlation_id_tells_every_hop_of_every_transaction() {
    let (shop, _server) = Shop::serving().await;
    let (first, second) = (shop.token().await, shop.token().await);
    // The second hop of the first transaction, and a first hop that comes to nothing.
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", first.as_str()),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "coordinator"),
    ];
    assert_eq!(shop.post("token", "inventory", &form).await["error"], "invalid_target");
    assert_eq!(shop.exchange("no token").await["error"], "invalid_request");

    let told = shop.folder.run(&["audit", "list", "--correlation", "the-request-of-alice"]).await;
    let text = told.ended_with(0);
    let paragraphs: Vec<&str> = text.split("\n\n").collect();
    let [head, of_first, of_second, of_none] = paragraphs[..] else { panic!("{text}") };
    assert!(head.starts_with("the-request-of-alice: 4 decisions, 2 refused, in 2 transactions and "), "{text}");
    for (paragraph, token) in [(of_first, &first), (of_second, &second)] {
        let claims = claims(token);
        let txn = claims["txn"].as_str().expect("a transaction");
        let subject = format!("transaction {txn} for alice of https://login.example.com in tenant acme\n");
        assert!(paragraph.starts_with(&subject), "{text}");
        let issued = "issued   coordinator -> inventory  scope stock:read  rule coordinator->inventory  took ";
        assert!(paragraph.contains(issued) && paragraph.contains(" ms\n      chain coordinator\n      jti "), "{text}");
    }
    assert!(of_first.contains("refused  inventory -> coordinator  reason no_delegation  took "), "{text}");
    let from = format!("from {}", claims(&first)["jti"].as_str().expect("a jti"));
    assert!(of_first.contains(&from) && !of_second.contains("refused"), "{text}");
    assert!(of_none.starts_with("no transaction: refused at a first hop\n"), "{text}");
    assert!(of_none.contains("refused  coordinator -> inventory  reason subject_malformed  took "), "{text}");

    let other = shop.folder.run(&["audit", "list", "--correlation", "another"]).await;
    let expected = "no event has the correlation id another: a request whose agent did not authenticate leaves no \
        event, only a line in the service's log\n";
    assert_eq!(other.ended_with(1), expected);
}

#[tokio::test]
async fn the_story_of_one_decision_has_no_span_of_time() {
    for (is_issued, head) in [
        (true, "the-request-of-alice: 1 decision, 0 refused, in 1 transaction\n"),
        (false, "the-request-of-alice: 1 decision, 1 refused\n\nno transaction: "),
    ] {
        let (shop, _server) = Shop::serving().await;
        let token = if is_issued { shop.user_token() } else { "no token".to_owned() };
        assert_eq!(shop.exchange(&token).await["error"].is_null(), is_issued);
        let told = shop.folder.run(&["audit", "list", "--correlation", "the-request-of-alice"]).await;
        assert!(told.ended_with(0).starts_with(head), "{told:?}");
    }
}

#[tokio::test]
async fn audit_follows_events_as_they_happen() {
    let (shop, _server) = Shop::serving().await;
    let mut follow = command(&shop.folder.path("")).await;
    follow.args(["audit", "follow", "--json", "--config", "sts.toml"]).stdout(Stdio::piped());
    let mut follow = follow.spawn().expect("it starts");
    let mut lines = BufReader::new(follow.stdout.take().expect("it is piped")).lines();
    // It tells what happens after it has begun, which nobody can see from outside: so something goes on happening.
    let line = loop {
        shop.token().await;
        if let Ok(line) = tokio::time::timeout(Duration::from_secs(1), lines.next_line()).await {
            break line.expect("it is text").expect("a line");
        }
    };
    let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(event["sub"], "alice");
    follow.kill().await.expect("it is ours");
}

#[tokio::test]
async fn audit_follow_continues_after_its_cursor_and_loses_nothing() {
    let (shop, _server) = Shop::serving().await;
    let all = shop.folder.run(&["audit", "list", "--json"]).await.json();
    let mut seen: Vec<(i64, serde_json::Value)> = Vec::new();
    for round in 1..=2 {
        shop.token().await;
        let after = seen.last().map_or(0, |(cursor, _)| *cursor).to_string();
        let mut follow = command(&shop.folder.path("")).await;
        follow.args(["audit", "follow", "--after", &after, "--json", "--config", "sts.toml"]).stdout(Stdio::piped());
        let mut follow = follow.spawn().expect("it starts");
        let mut lines = BufReader::new(follow.stdout.take().expect("it is piped")).lines();
        while seen.len() < all.len() + round {
            let line = lines.next_line().await.expect("it is text").expect("a line");
            let mut event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
            let cursor = event.as_object_mut().and_then(|event| event.remove("cursor")).expect("a cursor");
            seen.push((cursor.as_i64().expect("a number"), event));
        }
        follow.kill().await.expect("it is ours");
    }
    let listed = shop.folder.run(&["audit", "list", "--json"]).await.json();
    let oldest_first: Vec<serde_json::Value> = listed.into_iter().rev().collect();
    assert_eq!(seen.into_iter().map(|(_, event)| event).collect::<Vec<_>>(), oldest_first);
}

#[tokio::test]
async fn audit_follow_with_a_cursor_beyond_the_log_says_so_and_continues_at_its_end() {
    let (shop, _server) = Shop::serving().await;
    shop.token().await;
    let mut follow = command(&shop.folder.path("")).await;
    follow.args(["audit", "follow", "--after", "1000000", "--json", "--config", "sts.toml"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut log = BufReader::new(follow.stderr.take().expect("it is piped")).lines();
    while !log.next_line().await.expect("it is text").expect("a line").contains("ends before the cursor") {}
    shop.token().await;
    let mut lines = BufReader::new(follow.stdout.take().expect("it is piped")).lines();
    let line = lines.next_line().await.expect("it is text").expect("a line");
    assert!(line.contains("token.issued"), "{line}");
    follow.kill().await.expect("it is ours");
}

#[tokio::test]
async fn audit_list_selects_by_user_agent_tenant_target_outcome_and_time() {
    let (shop, _server) = Shop::serving().await;
    shop.token().await;
    shop.exchange("no token").await;
    shop.folder.run(&["revoke", "--agent", "inventory"]).await.ended_with(0);
    let kinds = async |filter: &[&str]| {
        let listed = shop.folder.run(&[&["audit", "list", "--json"], filter].concat()).await;
        listed.ended_with(0);
        listed.json().iter().map(|event| event["event"].as_str().expect("a kind").to_owned()).collect::<Vec<_>>()
    };
    for (filter, expected) in [
        (vec!["--sub", "alice"], vec!["token.issued"]),
        (vec!["--sub", "alic"], vec![]),
        (vec!["--agent", "coordinator"], vec!["token.refused", "token.issued"]),
        (vec!["--agent", "inventory"], vec!["revoked"]),
        (vec!["--tenant", "acme"], vec!["token.issued"]),
        (vec!["--target", "inventory"], vec!["token.refused", "token.issued"]),
        (vec!["--outcome", "refused"], vec!["token.refused"]),
        (vec!["--agent", "coordinator", "--outcome", "allowed"], vec!["token.issued"]),
        (vec!["--agent", "coordinator", "--limit", "1"], vec!["token.refused"]),
        (vec!["--agent", "coordinator", "--since", "1h"], vec!["token.refused", "token.issued"]),
        (vec!["--agent", "coordinator", "--until", "1h"], vec![]),
        (vec!["--agent", "coordinator", "--since", "2001-01-01T00:00:00Z", "--until", "2001-01-02T00:00:00Z"], vec![]),
    ] {
        assert_eq!(kinds(&filter).await, expected, "{filter:?}");
    }
    for filter in [["--outcome", "maybe"], ["--since", "yesterday"], ["--until", "0s"], ["--limit", "0"]] {
        shop.folder.run(&[&["audit", "list"], filter.as_slice()].concat()).await.ended_with(2);
    }
    let listed = shop.folder.run(&["audit", "list", "--limit", "2"]).await;
    assert!(listed.ended_with(0).contains("these are the latest 2 events; --limit shows more"), "{listed:?}");
}

#[tokio::test]
async fn audit_verify_names_the_row_that_was_edited() {
    let (shop, server) = Shop::serving().await;
    shop.token().await;
    shop.token().await;
    assert_eq!(server.end().await, Some(0));
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);

    execute(&shop, "UPDATE audit_events SET body = replace(body, 'alice', 'mallory') WHERE body LIKE '%token.issued%' AND writer_sequence = 2")
        .await;
    let verified = shop.folder.run(&["audit", "verify", "--json"]).await;
    verified.ended_with(1);
    let faults = verified.json()[0]["faults"].clone();
    assert_eq!(faults.as_array().map(Vec::len), Some(1), "{faults}");
    assert_eq!((&faults[0]["fault"], &faults[0]["sequence"]), (&json!("altered"), &json!(2)), "{faults}");
}

#[tokio::test]
async fn a_malformed_row_is_named_and_hides_no_other() {
    let (shop, server) = Shop::serving().await;
    for _ in 0..5 {
        shop.token().await;
    }
    assert_eq!(server.end().await, Some(0));
    let whole = shop.folder.run(&["audit", "list", "--json"]).await.json().len();
    for (change, sequence) in [
        (
            "UPDATE audit_events SET mac = substr(mac, 1, 31) WHERE body LIKE '%token.issued%' AND writer_sequence = 5",
            5,
        ),
        (
            "UPDATE audit_events SET at = 9223372036854775807 WHERE body LIKE '%token.issued%' AND writer_sequence = 4",
            4,
        ),
        ("UPDATE audit_events SET body = '{ none' WHERE body LIKE '%token.issued%' AND writer_sequence = 3", 3),
        (
            "UPDATE audit_events SET body = CAST(x'ff' AS TEXT) WHERE body LIKE '%token.issued%' AND writer_sequence = 2",
            2,
        ),
    ] {
        execute(&shop, change).await;
        let verified = shop.folder.run(&["audit", "verify", "--json"]).await;
        verified.ended_with(1);
        let faults = verified.json()[0]["faults"].clone();
        assert_eq!(faults.as_array().map(Vec::len), Some(1), "{change}: {faults}");
        assert_eq!((&faults[0]["fault"], &faults[0]["sequence"]), (&json!("altered"), &json!(sequence)), "{faults}");
    }
    let listed = shop.folder.run(&["audit", "list", "--json"]).await;
    listed.ended_with(0);
    let listed = listed.json();
    assert_eq!(listed.len(), whole);
    let malformed: Vec<_> =
        listed.iter().filter_map(|row| row["malformed"].as_i64().zip(row["writer_sequence"].as_i64())).collect();
    assert_eq!(malformed.iter().map(|(_, sequence)| *sequence).collect::<Vec<_>>(), [5, 4, 3, 2], "{listed:?}");
    let in_words = shop.folder.run(&["audit", "list"]).await;
    assert_eq!(in_words.ended_with(0).matches("malformed: row ").count(), 4, "{in_words:?}");
    let exported = shop.folder.run(&["audit", "export"]).await;
    exported.ended_with(0);
    assert_eq!(exported.json().len(), whole);
    shop.folder.run(&["audit", "export", "--heads"]).await.ended_with(0);
}

#[tokio::test]
async fn audit_list_says_what_was_revoked_and_what_changed() {
    let (shop, _server) = Shop::serving().await;
    for (revoked, line) in [
        (vec!["--agent", "inventory"], "revoked agent inventory"),
        (vec!["--tenant", "acme"], "revoked tenant acme"),
        (vec!["--sub", "alice", "--issuer", super::IDP], "revoked user alice of https://login.example.com"),
        (vec!["--txn", "t-1"], "revoked txn t-1"),
        (vec!["--jti", "j-1", "--unknown"], "revoked jti j-1"),
    ] {
        shop.folder.run(&[vec!["revoke"], revoked.clone()].concat()).await.ended_with(0);
        let listed = shop.folder.run(&["audit", "list"]).await;
        assert!(in_a_row(listed.ended_with(0)).contains(line), "{line}: {listed:?}");
        let named: Vec<&str> = revoked.into_iter().filter(|argument| *argument != "--unknown").collect();
        shop.folder.run(&[vec!["revoke"], named, vec!["--lift"]].concat()).await.ended_with(0);
        let listed = shop.folder.run(&["audit", "list"]).await;
        let lifted = line.replace("revoked ", "revocation.lifted ");
        assert!(in_a_row(listed.ended_with(0)).contains(&lifted), "{line}: {listed:?}");
    }
    let listed = shop.folder.run(&["audit", "list"]).await;
    assert!(in_a_row(listed.ended_with(0)).contains("registry.changed add issuer "), "{listed:?}");
}

#[tokio::test]
async fn audit_verify_finds_a_removed_row_and_against_heads_a_cut_tail_and_a_missing_writer() {
    let (shop, server) = Shop::serving().await;
    for _ in 0..3 {
        shop.token().await;
    }
    assert_eq!(server.end().await, Some(0));
    let heads = shop.folder.run(&["audit", "export", "--heads"]).await;
    shop.folder.write("heads.jsonl", heads.ended_with(0));
    let against_heads = ["audit", "verify", "--heads", "heads.jsonl"];
    shop.folder.run(&against_heads).await.ended_with(0);

    // The last row: the chain by itself cannot tell.
    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 3").await;
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);
    let verified = shop.folder.run(&against_heads).await;
    assert!(verified.ended_with(1).contains("ends at row 2; it had 3 rows"), "{verified:?}");

    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 1").await;
    let verified = shop.folder.run(&["audit", "verify"]).await;
    assert!(verified.ended_with(1).contains("is missing: removed or moved"), "{verified:?}");

    execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%'").await;
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);
    let verified = shop.folder.run(&against_heads).await;
    assert!(verified.ended_with(1).contains("are missing; it had 3 rows"), "{verified:?}");
}

#[tokio::test]
async fn audit_verify_finds_a_forged_row_wherever_it_sorts_and_rows_in_another_order() {
    let (shop, server) = Shop::serving().await;
    for _ in 0..3 {
        shop.token().await;
    }
    assert_eq!(server.end().await, Some(0));
    execute(&shop, "UPDATE audit_events SET id = -id").await;
    let verified = shop.folder.run(&["audit", "verify"]).await;
    assert!(verified.ended_with(1).contains("was moved"), "{verified:?}");
    execute(&shop, "UPDATE audit_events SET id = -id").await;
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);

    execute(
        &shop,
        "PRAGMA ignore_check_constraints = ON;
         INSERT INTO audit_events (writer, writer_sequence, at, body, mac)
         VALUES ('', -9223372036854775808, 0, '{}', zeroblob(32))",
    )
    .await;
    let verified = shop.folder.run(&["audit", "verify"]).await;
    assert!(verified.ended_with(1).contains("is missing"), "{verified:?}");
}

#[tokio::test]
async fn audit_export_writes_every_row_as_it_is_stored() {
    let (shop, _server) = Shop::serving().await;
    shop.token().await;
    let exported = shop.folder.run(&["audit", "export"]).await;
    exported.ended_with(0);
    let rows = exported.json();
    assert!(rows.len() >= 3, "keys, registry, token: {rows:?}");
    for row in rows {
        assert_eq!(row["mac"].as_str().map(str::len), Some(64), "{row}");
        assert!(row["body"].as_str().is_some_and(|body| body.starts_with('{')), "{row}");
    }
}

#[tokio::test]
async fn a_listed_event_is_aligned_and_fits_a_terminal() {
    let (shop, _server) = Shop::serving().await;
    shop.token().await;
    assert_eq!(shop.exchange("no token").await["error"], "invalid_request");
    let listed = shop.folder.run(&["audit", "list"]).await;
    let text = listed.ended_with(0);
    for line in text.lines() {
        assert!(line.len() <= 80, "{line}");
        let (at, kind) = (line.get(..22).unwrap_or_default(), line.get(22..23).unwrap_or_default());
        let is_head = at.len() == 22 && at.ends_with("Z  ") && !at.contains('.') && kind != " ";
        assert!(is_head || (at.trim().is_empty() && kind != " "), "not aligned: {line}");
    }
    assert!(in_a_row(text).contains("token.refused coordinator -> inventory reason subject_malformed"), "{text}");
}

/// The words of a text that was wrapped.
fn in_a_row(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Changes the database behind the server's back, as its administrator could.
pub(super) async fn execute(shop: &Shop, statement: &'static str) {
    let url = format!("sqlite://{}", shop.folder.path("sts.db").display());
    let mut connection = SqliteConnection::connect(&url).await.expect("the database");
    let changed = sqlx::query(statement).execute(&mut connection).await.expect("a statement");
    assert!(changed.rows_affected() > 0, "{statement}");
    connection.close().await.expect("it was open");
}
