//! Backup and restore, as the run-book describes them: taken while the server runs, put back into another database.

use std::process::{Command, Output};

use sts_tests::{not_checked, postgres};

use super::{Shop, claims};

/// Runs a program of the database's own in the shop's folder; `None`, and it is told, where there is none that serves.
fn tool(shop: &Shop, program: &str, arguments: &[&str]) -> Option<Output> {
    let output = Command::new(program).args(arguments).current_dir(shop.folder.path("")).output();
    let Ok(output) = output else {
        not_checked(&format!("a backup and its restore ({program} is not installed)"));
        return None;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    if told.contains("server version mismatch") {
        not_checked(&format!("a backup and its restore ({program} is older than the server)"));
        return None;
    }
    assert!(output.status.success(), "{program}: {told}");
    Some(output)
}

#[tokio::test]
async fn a_backup_of_sqlite_is_restored_into_another_file() {
    let shop = Shop::open();
    let copy = format!("sqlite://{}", shop.folder.path("copy.db").display());
    restored(&shop, &copy, |shop| tool(shop, "sqlite3", &["sts.db", ".backup copy.db"]).map(drop)).await;
}

#[tokio::test]
async fn a_backup_of_postgres_is_restored_into_another_database() {
    let (database, other) = (postgres::database().await, postgres::database().await);
    let shop = Shop::on_database(database.url());
    restored(&shop, other.url(), |shop| {
        tool(shop, "pg_dump", &["--format=custom", "--file=sts.dump", database.url()])?;
        let restore = ["--exit-on-error", "--no-owner", "--dbname", other.url(), "sts.dump"];
        tool(shop, "pg_restore", &restore).map(drop)
    })
    .await;
}

/// A shop with a past is backed up while its server runs, and goes on from the copy.
async fn restored(shop: &Shop, copy: &str, back_up: impl Fn(&Shop) -> Option<()>) {
    let server = shop.folder.serve().await;
    let (kept, revoked) = (shop.token().await, shop.token().await);
    let jti = claims(&revoked)["jti"].as_str().expect("a name").to_owned();
    shop.folder.run(&["revoke", "--jti", &jti]).await.ended_with(0);
    let before = shop.folder.run(&["audit", "export", "--heads"]).await;
    shop.folder.write("before.jsonl", before.ended_with(0));
    if back_up(shop).is_none() {
        return;
    }
    let lost = shop.token().await;
    let after = shop.folder.run(&["audit", "export", "--heads"]).await;
    shop.folder.write("after.jsonl", after.ended_with(0));
    assert_eq!(server.end().await, Some(0));

    let server = shop.folder.serve_with(&[("DATABASE__URL", copy)]).await;
    assert!(shop.is_active(&kept).await, "a token from before the backup");
    assert!(!shop.is_active(&revoked).await, "what was revoked before the backup");
    let anew = shop.token().await;
    let kid = |token: &str| sts_jose::UnverifiedToken::parse(token).expect("a JWT").header().kid.clone();
    assert_eq!(kid(&anew), kid(&kept), "the same keys sign");
    shop.folder.run(&["health", "--database-url", copy]).await.ended_with(0);
    for (heads, code) in [("before.jsonl", 0), ("after.jsonl", 1)] {
        shop.folder.run(&["audit", "verify", "--heads", heads, "--database-url", copy]).await.ended_with(code);
    }
    let lost = claims(&lost)["jti"].as_str().expect("a name").to_owned();
    let events = shop.folder.run(&["audit", "list", "--json", "--jti", &lost, "--database-url", copy]).await;
    assert_eq!(events.ended_with(0), "", "what came after the backup is not in it");
    assert_eq!(server.end().await, Some(0));

    shop.folder.write("master.key", "YW5vdGhlciBtYXN0ZXIga2V5LCBvZiAzMiBieXRlcyE=\n");
    let refused = shop.folder.run(&["serve", "--database-url", copy]).await;
    refused.ended_with(2);
}
