//! Rows that servers hold in memory, written, altered, removed, sealed or gone back past them: nothing is believed that no server
//! wrote, nothing that was taken back comes again, and one bad row stops no other.

use serde_json::json;
use sts_jose::SystemEntropy;
use sts_server::admin::{By, Names, Reach, RevokeRequest};
use sts_server::keys::MasterKey;
use sts_server::server::{Foundation, Surroundings};
use sts_server::storage::{EntryChange, EntryKind, EntryRow, KeyChanges, Origin, RevocationKind, TableFault};
use sts_tests::{Harness, Setup};

/// After this, in seconds, a view that was not confirmed issues nothing.
const UNCONFIRMED_AFTER: u64 = 31;

/// What a server does, some time after its database was tampered with.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    /// The status of an exchange by `coordinator`.
    exchange: u16,
    /// The status of an exchange by `inventory` of a token that `coordinator` was issued.
    by_another: u16,
    /// True if introspection calls a token that `coordinator` was issued active; none where it does not answer.
    active: Option<bool>,
    /// The status of `/readyz`.
    ready: u16,
    /// The status of a revocation by the admin API.
    kill_switch: u16,
}

const WELL: Seen = Seen { exchange: 200, by_another: 200, active: Some(true), ready: 200, kill_switch: 200 };
const ALONE: Seen = Seen { exchange: 401, by_another: 400, active: Some(false), ready: 200, kill_switch: 200 };
const STOPPED: Seen = Seen { exchange: 503, by_another: 503, active: None, ready: 503, kill_switch: 200 };

async fn look(harness: &Harness, held: &str) -> Seen {
    let introspected = harness.introspect("inventory", held).send().await;
    let active = (introspected.status == 200).then(|| introspected.json["active"].as_bool().expect("a boolean"));
    let revoked = harness.admin("POST", "/revocations").by("operator").json(&json!({ "agent": "reporter" }));
    Seen {
        exchange: harness.exchange().send().await.status,
        by_another: harness.exchange_by("inventory", held, "warehouse").send().await.status,
        active,
        ready: harness.get("/readyz").await.status,
        kill_switch: revoked.send().await.status,
    }
}

/// Changes of every kind through the store, that change nothing: the server reads all again.
async fn read_all_again(harness: &Harness) {
    let versions = harness.store.state().await.expect("a database").versions;
    harness.store.change_entries(versions.registry, &[], &[]).await.expect("a database");
    harness.store.change_keys(versions.keys, &KeyChanges::default(), &[]).await.expect("a database");
    harness.block(RevocationKind::Agent, None, "nothing here").await;
    harness.refresh().await;
}

async fn on_both() -> [Harness; 2] {
    [Setup::default().operators().start().await, Setup::default().postgres().operators().start().await]
}

/// Tampers with a server's database, and looks at the server when it has read all again, and half a minute later.
async fn assert_seen(label: &str, statement: &str, [at_once, later]: [Seen; 2]) {
    for harness in on_both().await {
        let held = harness.first_hop().await;
        assert_eq!(look(&harness, &held).await, WELL, "{label}: before");
        harness.execute(statement).await;
        read_all_again(&harness).await;
        assert_eq!(look(&harness, &held).await, at_once, "{label}: at once");
        harness.advance(UNCONFIRMED_AFTER);
        assert_eq!(look(&harness, &held).await, later, "{label}: later");
    }
}

#[tokio::test]
async fn an_entry_that_was_altered_is_disabled_alone() {
    let statement = "UPDATE entries SET body = REPLACE(body, 'coordinator', 'coordinatoR') WHERE id = 'coordinator'";
    assert_seen("altered", statement, [ALONE, ALONE]).await;
}

#[tokio::test]
async fn an_entry_whose_disablement_was_lifted_past_the_server_stays_disabled() {
    for mut harness in on_both().await {
        harness.apply(|registry, _names| registry.agent("coordinator", "disabled = true")).await;
        harness.execute("UPDATE entries SET body = REPLACE(body, '\"disabled\":true', '\"disabled\":false')").await;
        read_all_again(&harness).await;
        assert_eq!(harness.exchange().send().await.status, 401);
    }
}

#[tokio::test]
async fn an_entry_of_a_newer_version_is_disabled_alone() {
    for harness in on_both().await {
        let held = harness.first_hop().await;
        let body = json!({ "id": "coordinator", "newer": true }).to_string();
        let (kind, id, origin) = (EntryKind::Agent, "coordinator".to_owned(), Origin::File);
        let row = EntryRow { kind, id, origin, disabled_by_admin: false, body };
        let version = harness.store.state().await.expect("a database").versions.registry;
        harness.store.change_entries(version, &[EntryChange::Put(row)], &[]).await.expect("a database");
        harness.refresh().await;
        assert_eq!(look(&harness, &held).await, ALONE);
        assert!(harness.own_log().contains("a row cannot be read: it is disabled"), "{}", harness.own_log());
    }
}

#[tokio::test]
async fn an_entry_that_was_added_is_not_honoured() {
    let statement = "INSERT INTO entries (kind, id, origin, disabled_by_admin, body) VALUES \
         ('delegation', 'coordinator->shelf', 'api', FALSE, \
         '{\"actor\":\"coordinator\",\"target\":\"shelf\",\"scopes\":[\"stock:read\"]}')";
    assert_seen("added", statement, [WELL, WELL]).await;
    for harness in on_both().await {
        harness.execute(statement).await;
        read_all_again(&harness).await;
        let answer = harness.exchange_by("coordinator", &harness.user_token(), "shelf").send().await;
        assert_eq!((answer.status, answer.json["error"].as_str()), (400, Some("invalid_target")), "{}", answer.text());
        assert!(harness.own_log().contains("written or altered outside the servers"), "{}", harness.own_log());
    }
}

#[tokio::test]
async fn where_an_entry_was_removed_nothing_is_issued_after_half_a_minute() {
    let statement = "DELETE FROM entries WHERE id = 'auditor'";
    assert_seen("removed", statement, [WELL, STOPPED]).await;
}

#[tokio::test]
async fn a_signing_key_that_was_altered_is_left_out_alone() {
    let statement =
        "UPDATE signing_keys SET state_since = state_since + 1 WHERE state = 'next' AND algorithm = 'ES256'";
    assert_seen("altered", statement, [WELL, WELL]).await;
}

#[tokio::test]
async fn where_a_signing_key_was_removed_nothing_is_issued_after_half_a_minute() {
    let statement = "DELETE FROM signing_keys WHERE state = 'next' AND algorithm = 'EdDSA'";
    assert_seen("removed", statement, [WELL, STOPPED]).await;
}

#[tokio::test]
async fn a_revoked_signing_key_that_is_put_back_signs_nothing() {
    for harness in on_both().await {
        let foundation = foundation(&harness).await;
        let kid =
            harness.server.sts().snapshot().ring.active(sts_jose::Algorithm::Es256).expect("a key").kid().to_owned();
        harness.execute(&format!("CREATE TABLE kept AS SELECT * FROM signing_keys WHERE kid = '{kid}'")).await;
        foundation.administration(&harness.config).revoke_key(&kid, &By::default()).await.expect("a database");
        harness.refresh().await;
        let token = harness.first_hop().await;
        harness.execute("INSERT INTO signing_keys SELECT * FROM kept").await;
        read_all_again(&harness).await;
        assert!(!harness.get("/oauth2/jwks").await.text().contains(&kid), "it is not published");
        assert_eq!(look(&harness, &token).await, WELL);
        let restarted = harness.replica().await;
        assert_eq!(harness.exchange().at(&restarted.wire).send().await.status, 503, "nothing is known there yet");
        restarted.server.stop().await;
        harness.advance(UNCONFIRMED_AFTER);
        assert_eq!(look(&harness, &token).await, STOPPED);
        foundation.store.close().await;
    }
}

#[tokio::test]
async fn a_revocation_that_was_removed_or_altered_goes_on_holding() {
    let removed = "DELETE FROM revocations WHERE value = 'alice'";
    let ended = "UPDATE revocations SET at = 0, expires_at = 0 WHERE value = 'alice'";
    let unread = "UPDATE revocations SET kind = 'newer' WHERE value = 'alice'";
    for (statement, later) in [(removed, 503), (ended, 400), (unread, 503)] {
        for harness in on_both().await {
            harness.block(RevocationKind::Subject, None, "alice").await;
            harness.refresh().await;
            harness.execute(statement).await;
            harness.store.purge().await.expect("a database");
            read_all_again(&harness).await;
            harness.store.lift(RevocationKind::Agent, None, "nothing here", &[]).await.expect("a database");
            harness.refresh().await;
            assert_eq!(harness.exchange().send().await.status, 400, "{statement}");
            harness.advance(100);
            // Issued after the block and the skew of clocks: only one that was altered holds without end.
            let answer = harness.exchange().send().await;
            assert_eq!(answer.status, later, "{statement}: {}", answer.text());
        }
    }
}

#[tokio::test]
async fn what_was_removed_shows_without_any_change_and_goes_when_it_was_accepted() {
    for harness in on_both().await {
        harness.execute("DELETE FROM entries WHERE id = 'auditor'").await;
        harness.refresh().await;
        assert_eq!(harness.exchange().send().await.status, 200, "nothing raised a version");
        harness.server.sts().inspect().await.expect("a database");
        harness.refresh().await;
        harness.advance(UNCONFIRMED_AFTER);
        assert_eq!((harness.exchange().send().await.status, harness.get("/readyz").await.status), (503, 503));
        assert!(
            harness.own_log().contains("rows were removed or restored outside the servers"),
            "{}",
            harness.own_log()
        );

        let foundation = foundation(&harness).await;
        let accepted = foundation.administration(&harness.config).accept_tables(&By::default()).await;
        assert_eq!(accepted.expect("our master key"), [TableFault::Incomplete { table: "entries" }]);
        foundation.store.close().await;
        harness.refresh().await;
        assert_eq!((harness.exchange().send().await.status, harness.get("/readyz").await.status), (200, 200));
    }
}

#[tokio::test]
async fn keys_under_another_master_key_stop_the_server_and_what_is_revoked_is_gone_at_once() {
    for harness in on_both().await {
        let held = harness.first_hop().await;
        let foundation = foundation(&harness).await;
        let administration = foundation.administration(&harness.config);
        let new = MasterKey::new(&[9; 32]).expect("a key");
        administration.reseal_keys(&new, &By::default()).await.expect("the configured master key");
        harness.refresh().await;
        assert_eq!(harness.exchange().send().await.status, 200);

        let active =
            || harness.server.sts().snapshot().ring.active(sts_jose::Algorithm::Es256).map(|key| key.kid().to_owned());
        let kid = active().expect("a key");
        let path = harness.path("new.key");
        std::fs::write(&path, "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n").expect("the directory is ours");
        let mut config = harness.config.clone();
        config.keys.master_key_file = path;
        let of_new = Foundation::lay(&config, surroundings(&harness)).await.expect("a database");
        of_new.administration(&config).revoke_key(&kid, &By::default()).await.expect("the new master key");
        harness.refresh().await;
        assert_ne!(active(), Some(kid.clone()), "it signs no more");
        assert!(!harness.get("/oauth2/jwks").await.text().contains(&kid));

        harness.advance(UNCONFIRMED_AFTER);
        let seen = look(&harness, &held).await;
        assert_eq!((seen.exchange, seen.active, seen.ready), (503, None, 503), "{seen:?}");
        assert!(seen.kill_switch >= 500, "nothing is written under the former master key: {seen:?}");
        for foundation in [foundation, of_new] {
            foundation.store.close().await;
        }
    }
}

#[tokio::test]
async fn a_wrong_master_key_changes_nothing_and_says_so() {
    for harness in on_both().await {
        let path = harness.path("wrong.key");
        std::fs::write(&path, "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQk=\n").expect("the directory is ours");
        let mut config = harness.config.clone();
        config.keys.master_key_file = path;
        let foundation = Foundation::lay(&config, surroundings(&harness)).await.expect("a database");
        let administration = foundation.administration(&config);
        let before = (harness.store.state().await.expect("a database").versions, harness.audit_count().await);

        let revocation = sts_server::exchange::Revocation {
            kind: RevocationKind::Agent,
            issuer: None,
            value: "coordinator".to_owned(),
        };
        let request =
            RevokeRequest { revocation: revocation.clone(), reach: Reach::IssuedUntilNow, names: Names::Known };
        let file =
            sts_server::registry::RegistryFile::parse(std::path::Path::new("r.toml"), "[[agents]]\nid = \"a\"\n");
        let refused = [
            administration.revoke(&request, &By::default()).await.expect_err("a revocation").to_string(),
            administration.lift(&revocation, &By::default()).await.expect_err("a lift").to_string(),
            administration.apply(&file, &By::default()).await.expect_err("an apply").to_string(),
            administration.ensure_keys().await.expect_err("keys").to_string(),
            administration.accept_tables(&By::default()).await.expect_err("an acceptance").to_string(),
        ];
        let after = (harness.store.state().await.expect("a database").versions, harness.audit_count().await);
        assert_eq!(before, after, "{refused:?}");
        foundation.store.close().await;
    }
}

#[tokio::test]
async fn a_counter_that_went_back_and_was_raised_by_another_change_is_read_again() {
    for on_postgres in [false, true] {
        let mut attempts = 0..10;
        while !a_lost_change_is_noticed(on_postgres).await {
            attempts.next().expect("an attempt in which the server does not look in between");
        }
    }
}

/// Loses a change, and makes another that raises the counter to where it was. False if the server, which follows its database every
/// quarter of a second and at each announcement, looked in between: it noticed all the same, but not by what is tested here.
async fn a_lost_change_is_noticed(on_postgres: bool) -> bool {
    let setup = Setup::default();
    let harness = if on_postgres { setup.postgres() } else { setup }.start().await;
    // As a standby that was promoted without the last change: the rows are as they were before it.
    let tables = ["counters", "revocations", "entries"];
    for table in tables {
        harness.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
    }
    harness.block(RevocationKind::Subject, None, "alice").await;
    harness.refresh().await;
    let bob = json!({ "sub": "bob" });
    let by_bob = || harness.exchange_by("coordinator", &harness.user_token_with(&bob), "inventory");
    assert_eq!((harness.exchange().send().await.status, by_bob().send().await.status), (400, 200));
    let restored =
        tables.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table};")).concat();
    harness.execute(&format!("BEGIN; {restored} COMMIT")).await;
    harness.block(RevocationKind::Subject, None, "bob").await;
    let held = || harness.server.sts().snapshot().revocations.version();
    let stored = harness.store.state().await.expect("a database").versions.revocations;
    if held().counter != stored.counter {
        return false;
    }
    assert_eq!(by_bob().send().await.status, 400, "found in the commit, or followed");
    harness.refresh().await;
    assert_eq!(by_bob().send().await.status, 400, "followed");
    assert_eq!(held(), stored);
    true
}

fn surroundings(harness: &Harness) -> Surroundings {
    Surroundings { clock: std::sync::Arc::new(harness.clock.clone()), entropy: std::sync::Arc::new(SystemEntropy) }
}

/// A handle on the server's database under the server's master key, as a command has one.
async fn foundation(harness: &Harness) -> Foundation {
    Foundation::lay(&harness.config, surroundings(harness)).await.expect("a database")
}
