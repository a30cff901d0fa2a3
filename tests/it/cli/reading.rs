//! Commands that only read: they need no master key.

use super::{IDP, Shop};

/// The commands that read, and the kind of their answer: one of the same bytes with the key and without.
const READ: [&[&str]; 10] = [
    &["revoke", "--list"],
    &["revoke", "--list", "--json"],
    &["keys", "list"],
    &["approvals", "list", "--all"],
    &["audit", "list"],
    &["audit", "list", "--json", "--sub", "alice"],
    &["audit", "export"],
    &["audit", "export", "--heads"],
    &["registry", "export"],
    &["apply", "registry.toml", "--dry-run"],
];

#[tokio::test]
async fn a_command_that_only_reads_needs_no_master_key_and_one_that_verifies_or_changes_does() {
    let (shop, server) = Shop::serving().await;
    shop.token().await;
    shop.folder.run(&["revoke", "--sub", "alice", "--issuer", IDP]).await.ended_with(0);
    assert_eq!(server.end().await, Some(0));
    let mut with = Vec::new();
    for arguments in READ {
        with.push(shop.folder.run(arguments).await.ended_with(0).to_owned());
    }
    std::fs::remove_file(shop.folder.path("master.key")).expect("it was there");
    for (arguments, with) in READ.into_iter().zip(with) {
        assert_eq!(shop.folder.run(arguments).await.ended_with(0), with, "{arguments:?}");
    }
    for arguments in [
        &["audit", "verify"][..],
        &["audit", "archive", "old.jsonl"],
        &["registry", "accept", "--dry-run"],
        &["explain", "--actor", "coordinator", "--target", "inventory", "--service-account"],
        &["revoke", "--agent", "inventory"],
        &["keys", "rotate", "--now"],
        &["apply", "registry.toml"],
    ] {
        let failed = shop.folder.run(arguments).await;
        failed.ended_with(2);
        assert!(failed.stderr.contains("the master key file master.key does not exist"), "{arguments:?}: {failed:?}");
    }
}

#[tokio::test]
async fn an_altered_row_is_disabled_and_without_the_master_key_it_is_shown_as_it_is_stored() {
    let (shop, server) = Shop::serving().await;
    assert_eq!(server.end().await, Some(0));
    let url = format!("sqlite://{}", shop.folder.path("sts.db").display());
    let mut database: sqlx::SqliteConnection =
        <sqlx::SqliteConnection as sqlx::Connection>::connect(&url).await.expect("a database");
    let altered = "UPDATE entries SET body = replace(body, 'stock:read', 'stock:write') WHERE kind = 'delegation'";
    sqlx::query(altered).execute(&mut database).await.expect("a row");
    let accepted = shop.folder.run(&["registry", "accept", "--dry-run"]).await;
    assert!(accepted.ended_with(0).contains("coordinator->inventory"), "{accepted:?}");
    let exported = shop.folder.run(&["registry", "export"]).await;
    assert!(exported.ended_with(0).contains("disabled = true"), "an export is what a server takes: {exported:?}");
    std::fs::remove_file(shop.folder.path("master.key")).expect("it was there");
    let exported = shop.folder.run(&["registry", "export"]).await;
    assert!(exported.ended_with(0).contains("stock:write"), "{exported:?}");
    assert!(!exported.stdout.contains("disabled = true") && exported.stderr.contains("WARN"), "{exported:?}");
}
