//! What commands say: a message names its file, option or flag, and says nothing twice.

use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::Shop;
use crate::process::{Outcome, command, outcome};

/// A spoilt thing, a command, its exit code, and what it says.
type Case = (fn(&Shop), &'static [&'static str], i32, &'static str);

const CASES: &[Case] = &[
    (
        no_change,
        &["keys", "revoke", "nokey"],
        2,
        "there is no signing key \"nokey\": `sts-server keys list` shows the keys",
    ),
    (no_change, &["keys", "rotate", "--algorithm", "es257"], 2, "[possible values: ES256, EdDSA, RS256]"),
    (no_change, &["admin", "token", "--name", "a", "--role", "king"], 2, "[possible values: reader, operator, admin]"),
    (no_change, &["token", "decode", "sts.toml"], 2, "sts.toml is a file: write @sts.toml to read it"),
    (no_change, &["token", "decode", "@nofile"], 2, "nofile cannot be used: No such file"),
    (
        no_change,
        &["audit", "verify", "--heads", "sts.toml"],
        2,
        "sts.toml:1: not a line that `sts-server audit export --heads` wrote",
    ),
    (
        no_change,
        &["explain", "--actor", "coordinator"],
        2,
        "give one of --subject-token TOKEN, --issuer URL with --sub USER, and --service-account",
    ),
    (
        no_change,
        &["explain", "--actor", "coordinator", "--service-account"],
        1,
        "name the agent to be called: --target NAME",
    ),
    (
        no_change,
        &["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", super::IDP, "--sub", "alice"],
        1,
        "give the tenant of the supposed user: --tenant TENANT",
    ),
    (
        no_change,
        &["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", "https://x.example", "--sub", "a"],
        1,
        "(subject_issuer_unknown)",
    ),
    (
        no_change,
        &["revoke", "--agent", "inventry"],
        2,
        "--agent: the registry has no agent \"inventry\"; did you mean \"inventory\"?",
    ),
    (
        |shop| write(shop, "master.key", "c2hvcnQ=\n"),
        &["serve"],
        2,
        "master.key must hold one line, the base64 of 32 bytes, but holds the base64 of 5 bytes",
    ),
    (
        |shop| write(shop, "master.key", &"0f".repeat(32)),
        &["serve"],
        2,
        "master.key must hold one line, the base64 of 32 bytes, but holds the base64 of 48 bytes",
    ),
    (|shop| write(shop, "master.key", ""), &["serve"], 2, "but holds nothing"),
    (
        spoil_master_key,
        &["serve"],
        2,
        "but holds bytes that are not text; for a new database, make a key: openssl rand -base64 32 > master.key",
    ),
    (
        |shop| remove(shop, "master.key"),
        &["serve"],
        2,
        "the master key file master.key does not exist; for a new database",
    ),
    (
        |shop| write(shop, "master.key", "YW5vdGhlciBtYXN0ZXIga2V5IG9mIHRoZSBjb21wYW4=\n"),
        &["serve"],
        2,
        "does not open under the configured master key: nothing was changed",
    ),
    (
        no_change,
        &["keys", "list", "--database-url", "sqlite://none/sts.db"],
        2,
        "none/sts.db cannot be used: its folder does not exist",
    ),
    (
        |shop| std::fs::create_dir(shop.folder.path("folder")).expect("ours"),
        &["keys", "list", "--database-url", "sqlite://folder"],
        2,
        "folder cannot be used: it is a folder",
    ),
    (
        no_change,
        &["keys", "list", "--database-url", "postgres://sts:secret@127.0.0.1:1/sts"],
        2,
        "the database postgres://127.0.0.1:1/sts cannot be used: ",
    ),
    (
        |shop| write(shop, "sts.db", "garbage"),
        &["keys", "list"],
        2,
        "sts.db cannot be used: it is not an SQLite database",
    ),
];

#[tokio::test]
async fn a_message_names_its_place_and_says_nothing_twice() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    shop.folder.run(&["apply", "registry.toml"]).await.ended_with(0);
    let master_key = std::fs::read(shop.folder.path("master.key")).expect("a file");
    for (spoil, arguments, code, said) in CASES {
        spoil(&shop);
        let ended = shop.folder.run(arguments).await;
        ended.ended_with(*code);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains(said), "{arguments:?}: {said:?} is not in:\n{all}");
        assert!(!all.contains("secret@"), "{arguments:?}: {all}");
        assert_says_nothing_twice(&ended);
        std::fs::write(shop.folder.path("master.key"), &master_key).expect("ours");
    }
}

#[tokio::test]
async fn a_busy_port_is_named_with_its_option() {
    let shop = Shop::open();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = listener.local_addr().expect("an address").to_string();
    let ended = shop.folder.run(&["serve", "--public", &busy]).await;
    ended.ended_with(2);
    assert!(ended.stderr.contains(&format!("listen.public: cannot listen on {busy}: ")), "{ended:?}");
}

#[tokio::test]
async fn the_configuration_of_the_current_folder_is_found() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    let ended = run(&shop.folder.path(""), &["keys", "list"]).await;
    assert_eq!(ended.ended_with(0), "");
    let ended = run(&shop.folder.path(""), &["keys", "list", "--config", "nofile.toml"]).await;
    ended.ended_with(2);
}

#[tokio::test]
async fn the_help_of_every_command_fits_a_terminal() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    while let Some(words) = commands.pop() {
        let mut arguments: Vec<&str> = words.iter().map(String::as_str).collect();
        arguments.push("--help");
        let help = run(folder.path(), &arguments).await;
        let text = help.ended_with(0);
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{words:?}: {line}");
        }
        let names_configuration = text.contains("--database-url");
        let is_without = words
            .first()
            .is_some_and(|name| ["dev", "token", "agent", "admin", "config", "completions"].contains(&name.as_str()));
        assert_ne!(names_configuration, is_without, "{words:?}:\n{text}");
        let listed = text.split_once("Commands:\n").map_or("", |(_, rest)| rest.split("\n\n").next().unwrap_or(rest));
        for line in listed.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   ")) {
            let name = line.trim_start().split(' ').next().unwrap_or_default();
            if name != "help" {
                commands.push([words.clone(), vec![name.to_owned()]].concat());
            }
        }
    }
}

#[tokio::test]
async fn completions_name_the_commands() {
    let folder = tempfile::tempdir().expect("a folder");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = run(folder.path(), &["completions", shell]).await;
        let script = script.ended_with(0);
        assert!(script.contains("explain") && script.contains("subject-token"), "{shell}");
        assert!(!script.contains("\\u00"), "{shell}: a character is escaped");
    }
}

#[tokio::test]
async fn a_reader_who_has_seen_enough_ends_a_command_quietly() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut reference = command(folder.path()).await;
    reference.args(["config", "reference"]).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut reference = reference.spawn().expect("it starts");
    let mut lines = BufReader::with_capacity(1, reference.stdout.take().expect("it is piped")).lines();
    lines.next_line().await.expect("text").expect("a line");
    drop(lines);
    let ended = reference.wait_with_output().await.expect("it ends");
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(0), ""));
}

/// Asserts that no part of a message is a part twice.
fn assert_says_nothing_twice(ended: &Outcome) {
    for line in ended.stdout.lines().chain(ended.stderr.lines()).filter(|line| line.contains("error: ")) {
        let mut parts: Vec<&str> = line.split(": ").collect();
        let count = parts.len();
        parts.sort_unstable();
        parts.dedup();
        assert_eq!(parts.len(), count, "{line}");
    }
}

async fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = command(folder).await;
    command.args(arguments);
    outcome(command).await
}

fn no_change(_: &Shop) {}

fn write(shop: &Shop, name: &str, text: &str) {
    shop.folder.write(name, text);
}

fn spoil_master_key(shop: &Shop) {
    std::fs::write(shop.folder.path("master.key"), [0xff; 32]).expect("ours");
}

fn remove(shop: &Shop, name: &str) {
    std::fs::remove_file(shop.folder.path(name)).expect("it was there");
}

#[tokio::test]
async fn a_closed_pipe_does_not_turn_a_bad_answer_into_a_good_one() {
    let (shop, server) = Shop::serving().await;
    for _ in 0..2 {
        shop.token().await;
    }
    assert_eq!(server.end().await, Some(0));
    let question =
        ["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", super::IDP, "--tenant", "acme"];
    let of = |sub: &'static str| [&question[..], &["--sub", sub]].concat();
    let story = ["audit", "list", "--correlation", "the-request-of-alice"];
    for (arguments, code) in [
        (&["audit", "verify"][..], 0),
        (&["check"], 0),
        (&of("alice"), 0),
        (&story, 0),
        (&["audit", "list"], 0),
        (&["audit", "list", "--correlation", "unknown"], 1),
        (&["health"], 1),
        (&["revoke", "--lift", "--agent", "inventory"], 1),
        (&[&of("alice")[..], &["--scope", "stock:write"]].concat(), 1),
        (&["revoke", "--agent", "nobody"], 2),
    ] {
        assert_eq!(shop.folder.run_unread(arguments).await, code, "{arguments:?}");
    }
    super::audit::execute(&shop, "DELETE FROM audit_events WHERE body LIKE '%token.issued%' AND writer_sequence = 1")
        .await;
    shop.folder.write("registry.toml", "[[agents]]\n");
    for arguments in [&["audit", "verify"][..], &["audit", "verify", "--json"], &["check"], &["apply", "registry.toml"]]
    {
        assert_eq!(shop.folder.run_unread(arguments).await, 1, "{arguments:?}");
    }
}
