//! `dev`: the first thing that a stranger runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::process::{command, outcome};

#[tokio::test]
async fn dev_makes_what_it_needs_once_and_uses_it_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = dev_once(folder.path()).await;
    assert!(first.contains("sts-dev is made\n"), "{first}");
    for line in [
        "hop 1: coordinator calls inventory",
        "hop 2: inventory calls warehouse",
        "  who     alice of https://login.demo.example",
        "  acting  inventory, called by coordinator",
        "  scope   bin:read stock:read",
        "  tenant  acme",
    ] {
        assert!(first.contains(&format!("{line}\n")), "{line:?} is not in:\n{first}");
    }

    let kept = ["master.key", "registry.toml", "sts.toml", "secrets.toml", "demo-issuer.key"];
    let before = kept.map(|name| std::fs::read(folder.path().join("sts-dev").join(name)).expect("a file"));
    let mode = |name: &str| {
        let metadata = std::fs::metadata(folder.path().join("sts-dev").join(name)).expect("a file");
        metadata.permissions().mode() & 0o777
    };
    for name in ["master.key", "secrets.toml", "demo-issuer.key"] {
        assert_eq!(mode(name), 0o600, "{name} holds a secret");
    }

    let second = dev_once(folder.path()).await;
    assert!(second.contains("sts-dev is used again\n"), "{second}");
    let after = kept.map(|name| std::fs::read(folder.path().join("sts-dev").join(name)).expect("a file"));
    assert_eq!(before, after, "nothing that was there was made anew");
}

#[tokio::test]
async fn the_lines_that_dev_prints_can_be_repeated_while_it_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dev = command(folder.path()).await;
    dev.arg("dev").stdout(Stdio::piped());
    let mut dev = dev.spawn().expect("it starts");
    let mut lines = BufReader::new(dev.stdout.take().expect("it is piped")).lines();
    let mut curls = Vec::new();
    while let Some(line) = lines.next_line().await.expect("it is text") {
        if line.starts_with("curl ") {
            curls.push(line);
        } else if line.starts_with("Serving on ") {
            break;
        }
    }
    assert_eq!(curls.len(), 2, "{curls:?}");
    let issued = curl(folder.path(), &curls[0]).await;
    assert_eq!(issued["token_type"], "Bearer", "{issued}");
    let introspected = curl(folder.path(), &curls[1]).await;
    assert_eq!(introspected["active"], true, "{introspected}");
    assert_eq!(introspected["act"]["sub"], "coordinator", "{introspected}");

    let id = dev.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill").success());
    assert_eq!(dev.wait().await.expect("a status").code(), Some(0), "Ctrl-C ends it in order");
}

#[tokio::test]
async fn dev_token_signs_as_the_demo_issuer_for_any_user() {
    let folder = tempfile::tempdir().expect("a folder");
    dev_once(folder.path()).await;
    let run = async |arguments: &[&str]| {
        let mut command = command(folder.path()).await;
        command.args(arguments);
        outcome(command).await
    };
    let token = run(&["dev", "token", "--sub", "bob", "--scope", "stock:read profile"]).await;
    let token = token.ended_with(0).trim_end();
    let decoded = run(&["token", "decode", token, "--json"]).await.json();
    let claims = &decoded[0]["claims"];
    assert_eq!((&claims["sub"], &claims["scope"]), (&"bob".into(), &"stock:read profile".into()), "{claims}");
    let explained = ["explain", "-c", "sts-dev/sts.toml", "--actor", "coordinator", "--subject-token", token];
    run(&explained).await.ended_with(0);
}

#[tokio::test]
async fn dev_token_makes_no_issuer_of_its_own() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = command(folder.path()).await;
    command.args(["dev", "token", "--sub", "bob"]);
    let outcome = outcome(command).await;
    outcome.ended_with(2);
    assert!(outcome.stderr.contains("no demo issuer in sts-dev: start `sts-server dev` first"), "{}", outcome.stderr);
    assert!(!folder.path().join("sts-dev").exists());
}

#[tokio::test]
async fn dev_makes_no_master_key_beside_a_database() {
    let folder = tempfile::tempdir().expect("a folder");
    dev_once(folder.path()).await;
    let master = folder.path().join("sts-dev/master.key");
    std::fs::remove_file(&master).expect("it was made");
    let refused = dev_refused(folder.path()).await;
    assert!(refused.contains("sealed under a master key that is gone"), "{refused}");
    assert!(!master.exists());
}

/// Needs another user, and so the right to make files of one.
#[tokio::test]
async fn dev_uses_no_folder_of_another_user() {
    for prepared in ["sts-dev", "sts-dev/master.key"] {
        let folder = tempfile::tempdir().expect("a folder");
        dev_once(folder.path()).await;
        if std::os::unix::fs::lchown(folder.path().join(prepared), Some(65_534), None).is_err() {
            sts_tests::not_checked("dev in a folder of another user (needs root)");
            return;
        }
        let refused = dev_refused(folder.path()).await;
        assert!(refused.contains(&format!("{prepared} belongs to another user")), "{refused}");
    }
}

/// What `dev` says when it does not start.
async fn dev_refused(folder: &Path) -> String {
    let mut command = command(folder).await;
    command.args(["dev", "--once"]);
    let outcome = outcome(command).await;
    outcome.ended_with(2);
    outcome.stderr
}

async fn dev_once(folder: &Path) -> String {
    let mut command = command(folder).await;
    command.args(["dev", "--once"]);
    outcome(command).await.ended_with(0).to_owned()
}

/// Does what curl would, of the few flags that are printed.
async fn curl(folder: &Path, line: &str) -> Value {
    let words: Vec<&str> = line.split(' ').collect();
    let url = words.iter().find(|word| word.starts_with("http://")).expect("a URL");
    let mut request = reqwest::Client::new().post(*url);
    let mut form = Vec::new();
    for pair in words.windows(2) {
        match pair {
            ["-u", credentials] => {
                let (id, secret) = credentials.split_once(':').expect("an id and a secret");
                request = request.basic_auth(id, Some(secret));
            }
            ["-d", parameter] => {
                let (name, value) = parameter.split_once('=').expect("a name and a value");
                form.push((name, value.to_owned()));
            }
            ["--data-urlencode", parameter] => {
                let (name, file) = parameter.split_once('@').expect("a name and a file");
                form.push((name, std::fs::read_to_string(folder.join(file)).expect("a file")));
            }
            _ => {}
        }
    }
    request.form(&form).send().await.expect("an answer").json().await.expect("JSON")
}
