//! `serve`, and what all commands share.

use std::process::Stdio;
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpListener;

use super::{Shop, follows};
use crate::process::{command, free_address, outcome};

/// The longest wait for what a server logs.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn serve_ends_with_0_when_it_is_told_to() {
    let (shop, server) = Shop::serving().await;
    shop.token().await;
    let metrics = shop.http.get(format!("{}/metrics", server.admin())).send().await.expect("an answer");
    assert!(
        metrics.text().await.expect("text").contains(
            "sts_requests_total{endpoint=\"token\",grant=\"token_exchange\",outcome=\"ok\",reason=\"none\"} 1"
        )
    );
    assert!(!server.log().contains('\u{1b}'), "colour in a pipe: {}", server.log());
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn sighup_applies_the_registry_file_again_and_ends_nothing() {
    let (shop, server) = Shop::serving().await;
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    shop.folder.write("registry.toml", "[[agents]]\nid = 7\n");
    server.signal("HUP").await;
    follows("faults are logged", async || server.log().contains("the registry file is not applied")).await;
    shop.token().await;
    shop.folder.write("registry.toml", &format!("{registry}\n[[agents]]\nid = \"auditor\"\n"));
    server.signal("HUP").await;
    // The start logs changes too.
    follows("the change is logged", async || server.log().contains("add agent auditor")).await;
    let listed = shop.folder.run(&["audit", "list", "--json", "--limit", "1"]).await.json();
    assert!(listed[0]["detail"].as_str().is_some_and(|detail| detail.contains("add agent auditor")), "{listed:?}");
    assert!(!server.log().contains("restart the server"), "{}", server.log());
    let configuration = std::fs::read_to_string(shop.folder.path("sts.toml")).expect("the configuration");
    shop.folder.write("sts.toml", &format!("{configuration}\n[log]\nformat = \"json\"\n"));
    server.signal("HUP").await;
    follows("options need a restart", async || server.log().contains("restart the server to apply its options")).await;
    assert_eq!(server.log().lines().find(|line| line.starts_with('{')), None, "the former format");
    shop.token().await;
    assert_eq!(server.end().await, Some(0));
}

/// The number of lines of a text that contain these words.
fn count(text: &str, words: &str) -> usize {
    text.lines().filter(|line| line.contains(words)).count()
}

#[tokio::test]
async fn sighup_says_of_every_changed_option_that_it_needs_a_restart() {
    let shop = Shop::open();
    let mut hashes = Vec::new();
    for _ in 0..2 {
        let made = shop.folder.run(&["admin", "token", "--name", "carol", "--role", "operator"]).await;
        let (_, lines) = made.ended_with(0).split_once("[[admin.tokens]]").expect("lines of the configuration");
        hashes.push(format!("[[admin.tokens]]{lines}"));
    }
    let plain = std::fs::read_to_string(shop.folder.path("sts.toml")).expect("the configuration");
    let egress = |password: &str| format!("[egress]\nproxy = \"http://user:{password}@proxy.example:3128\"\n");
    let running = format!("{plain}{}{}", egress("former"), hashes[0]);
    shop.folder.write("sts.toml", &running);
    let server = shop.folder.serve().await;
    let database = |option: &str| running.replace("[database]", &format!("[database]\n{option}"));
    for (index, changed) in [
        running.replace(&hashes[0], &hashes[1]),
        running.replace(&egress("former"), &egress("latter")),
        database("migrate = false"),
        database("listen = false"),
        database("max_connections = 11"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_ne!(changed, running);
        shop.folder.write("sts.toml", &changed);
        server.signal("HUP").await;
        let is_said = async || count(&server.log(), "restart the server to apply its options") == index + 1;
        follows("options need a restart", is_said).await;
    }
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn sighup_applies_no_other_registry_file_and_no_older_one() {
    let (shop, server) = Shop::serving().await;
    let configuration = std::fs::read_to_string(shop.folder.path("sts.toml")).expect("the configuration");
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    shop.folder.write("other.toml", &format!("{registry}\n[[agents]]\nid = \"other\"\n"));
    shop.folder.write("sts.toml", &configuration.replace("registry.toml", "other.toml"));
    server.signal("HUP").await;
    follows("it needs a restart", async || server.log().contains("restart the server to apply its options")).await;
    shop.folder.write("sts.toml", &configuration);
    shop.folder.write("registry.toml", &format!("{registry}\n[[agents]]\nid = \"auditor\"\n"));
    server.signal("HUP").await;
    follows("the change is logged", async || server.log().contains("add agent auditor")).await;
    assert!(!server.log().contains("agent other"), "{}", server.log());

    shop.folder.write("newer.toml", &format!("generation = 7\n{registry}"));
    shop.folder.run(&["apply", "newer.toml"]).await.ended_with(0);
    server.signal("HUP").await;
    let words = "the registry file is older than the database: not applied";
    follows("an older file is a warning", async || server.log().contains(words)).await;
    assert!(!server.log().contains("failed to apply the registry file"), "{}", server.log());
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn a_signal_to_stop_does_not_wait_for_a_reload() {
    let (shop, server) = Shop::serving().await;
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    shop.folder.write("registry.toml", &format!("{registry}\n[[agents]]\nid = \"auditor\"\n"));
    let url = format!("sqlite://{}", shop.folder.path("sts.db").display());
    let mut writer = SqliteConnection::connect(&url).await.expect("the database");
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut writer).await.expect("the lock of the writer");
    server.signal("HUP").await;
    follows("it reads its files", async || server.log().contains("reading the configuration")).await;
    server.terminate().await;
    follows("it shuts down", async || server.log().contains("shutting down: finishing the requests")).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut writer).await.expect("the lock of the writer");
    assert_eq!(server.ended().await, Some(0));
}

/// A database at this address that knows no password, until it is dropped.
async fn refusing_database(address: &str) -> tokio::task::AbortHandle {
    let listener = TcpListener::bind(address).await.expect("a free address");
    let serve = tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut request = [0; 1024];
            // The request for TLS, and the start of a session without it.
            let Ok(8) = client.read(&mut request).await else { continue };
            let _sent = client.write_all(b"N").await;
            let _read = client.read(&mut request).await;
            let fields = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"sts\"\0\0";
            let length = u32::try_from(fields.len() + 4).expect("a short message").to_be_bytes();
            let _sent = client.write_all(&[b"E", &length[..], fields].concat()).await;
        }
    });
    serve.abort_handle()
}

#[tokio::test]
async fn every_new_cause_of_an_unreachable_database_is_logged_once() {
    let address = free_address();
    let shop = Shop::on_database(&format!("postgres://sts@{address}/sts"));
    // A rejected password is an outage where it stands in a file, which an operator may replace.
    let password = shop.folder.write("password", "secret\n");
    let mut serve = command(&shop.folder.path("")).await;
    serve.env("STS__DATABASE__PASSWORD_FILE", password);
    let mut server = serve.args(["serve", "--config", "sts.toml"]).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut lines = BufReader::new(server.stderr.take().expect("it is piped")).lines();
    let mut next_cause = async || {
        let mut seen = Vec::new();
        loop {
            let line = lines.next_line().await.expect("text");
            let line = line.unwrap_or_else(|| panic!("it has ended: {seen:?}"));
            seen.push(line.clone());
            if line.contains("retrying until it answers") {
                return line;
            }
        }
    };
    let causes = async {
        let refused = next_cause().await;
        let database = refusing_database(&address).await;
        let rejected = next_cause().await;
        assert!(rejected.contains("28P01") || rejected.contains("password"), "{rejected}");
        assert_ne!(rejected, refused);
        database.abort();
        let again = next_cause().await;
        assert!(!again.contains("password"), "{again}");
    };
    tokio::time::timeout(PATIENCE, causes).await.expect("a cause is not logged");
    server.kill().await.expect("it is ours");
}

#[tokio::test]
async fn a_server_that_must_not_migrate_refuses_a_new_database_in_words() {
    let shop = Shop::open();
    let ended = shop.folder.run(&["serve", "--no-migrate"]).await;
    ended.ended_with(2);
    assert!(ended.stderr.contains("run `sts-server migrate`, or start without --no-migrate"), "{ended:?}");
    shop.folder.run(&["migrate"]).await.ended_with(0);
    let server = shop.folder.serve_with(&[("DATABASE__MIGRATE", "false")]).await;
    shop.token().await;
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn events_of_commands_name_the_user_and_the_host() {
    let (shop, _server) = Shop::serving().await;
    shop.folder.run(&["revoke", "--agent", "inventory"]).await.ended_with(0);
    let listed = shop.folder.run(&["audit", "list", "--json"]).await.json();
    assert!(listed[0]["run_by"].as_str().is_some_and(|run_by| run_by.contains('@')), "{}", listed[0]);
    assert!(listed[1..].iter().all(|event| event["run_by"].is_null()), "the server itself is no user: {listed:?}");
}

#[tokio::test]
async fn logs_are_json_objects_where_the_configuration_says_so() {
    let shop = Shop::open();
    let configuration = std::fs::read_to_string(shop.folder.path("sts.toml")).expect("the configuration");
    shop.folder.write("sts.toml", &format!("{configuration}\n[log]\nformat = \"json\"\n"));
    let server = shop.folder.serve().await;
    let log = server.log();
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(line["at"].is_string() && line["level"].is_string() && line["target"].is_string(), "{line}");
    }
    let serving = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let serving: Vec<_> = serving.filter(|line| line["message"] == "serving").collect();
    assert_eq!(serving.len(), 1, "{log}");
    assert_eq!((&serving[0]["level"], &serving[0]["issuer"]), (&"info".into(), &shop.folder.issuer().into()));
}

#[tokio::test]
async fn serve_does_not_start_without_its_master_key_and_says_so() {
    let shop = Shop::open();
    std::fs::remove_file(shop.folder.path("master.key")).expect("it was there");
    let ended = shop.folder.run(&["serve"]).await;
    ended.ended_with(2);
    assert!(
        ended.stderr.contains("the master key file master.key does not exist; for a new database, make a key: openssl"),
        "{ended:?}"
    );
    assert!(!shop.folder.path("sts.db").exists(), "nothing was begun");
}

#[tokio::test]
async fn a_command_without_configuration_says_what_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command(folder.path()).await;
    command.args(["keys", "list"]);
    let ended = outcome(command).await;
    assert_eq!(ended.ended_with(2), "");
    assert!(ended.stderr.starts_with("error: no configuration: give --config FILE, set STS_CONFIG"), "{ended:?}");
}

#[tokio::test]
async fn every_command_teaches_itself() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["dev", "serve", "check", "migrate", "apply", "explain", "keys", "audit", "revoke", "token"] {
        let mut command = command(folder.path()).await;
        command.args([name, "--help"]);
        let help = outcome(command).await;
        assert!(help.ended_with(0).contains("Usage: sts-server "), "{name}: {help:?}");
    }
}
