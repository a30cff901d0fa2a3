//! `dev`: the first thing that a stranger runs.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::process::{Outcome, command, free_address, outcome};

#[tokio::test]
async fn dev_makes_what_it_needs_once_and_uses_it_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = dev_once(folder.path()).await;
    assert!(first.contains("made: sts-dev\n"), "{first}");
    for line in [
        "hop 1: coordinator calls inventory",
        "hop 2: inventory calls warehouse",
        "  who     alice of https://login.demo.example",
        "  acting  inventory, called by coordinator",
        "  scope   payroll:read profile stock:read",
        "  scope   stock:read",
        "  scope   bin:read",
        "  tenant  acme",
        "  coordinator asks for the warehouse   no delegation lets it call that",
        "  coordinator asks for payroll:read    beyond what the delegation allows",
        "  hop 2's token, shown by coordinator  addressed to the warehouse alone",
    ] {
        assert!(first.contains(&format!("{line}\n")), "{line:?} is not in:\n{first}");
    }

    let kept = ["master.key", "registry.toml", "secrets.toml", "demo-issuer.key"];
    let before = kept.map(|name| std::fs::read(folder.path().join("sts-dev").join(name)).expect("a file"));
    let mode = |name: &str| {
        let metadata = std::fs::metadata(folder.path().join("sts-dev").join(name)).expect("a file");
        metadata.permissions().mode() & 0o777
    };
    for name in ["master.key", "secrets.toml", "demo-issuer.key"] {
        assert_eq!(mode(name), 0o600, "{name} holds a secret");
    }

    let second = dev_once(folder.path()).await;
    assert!(second.contains("used again: sts-dev\n"), "{second}");
    let after = kept.map(|name| std::fs::read(folder.path().join("sts-dev").join(name)).expect("a file"));
    assert_eq!(before, after, "nothing that was there was made anew");
}

/// A `dev` that serves, and the lines that it prints after the demonstration.
struct Dev {
    child: Child,
    steps: Vec<String>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Dev {
    async fn serving(folder: &Path, arguments: &[&str]) -> Self {
        let mut dev = command(folder).await;
        dev.arg("dev").args(arguments).stdout(Stdio::piped());
        let mut child = dev.spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut steps = Vec::new();
        while let Some(line) = stdout.next_line().await.expect("it is text") {
            assert!(line.chars().count() <= 80 || line.starts_with("  S=") || line.starts_with("  http://"), "{line}");
            let is_last = line.starts_with("Delete ");
            steps.push(line);
            if is_last {
                break;
            }
        }
        Self { child, steps, stdout }
    }

    /// The next line: a decision, or what became of the registry file.
    async fn line(&mut self) -> String {
        self.stdout.next_line().await.expect("it is text").expect("it runs")
    }

    async fn end(mut self) {
        let id = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().await.expect("kill").success());
        assert_eq!(self.child.wait().await.expect("a status").code(), Some(0), "Ctrl-C ends it in order");
    }
}

#[tokio::test]
async fn the_steps_that_dev_prints_work_and_each_decision_is_shown() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dev = Dev::serving(folder.path(), &[]).await;
    for step in ["  $S revoke -c $C --sub alice --lift  ", "  ${EDITOR:-vi} sts-dev/registry.toml  "] {
        assert!(dev.steps.iter().any(|line| line.starts_with(step)), "{step:?} is not in {:?}", dev.steps);
    }
    let story = dev.steps.iter().find_map(|line| line.split_once("--correlation ")).expect("a story").1.to_owned();
    let story = run(folder.path(), &["audit", "list", "-c", "sts-dev/sts.toml", "--correlation", &story]).await;
    assert!(story.ended_with(0).contains("5 decisions, 3 refused, in 1 transaction"), "{story:?}");
    let decoded = run(folder.path(), &["token", "decode", "@sts-dev/hop2.jwt"]).await;
    assert!(decoded.ended_with(0).contains("bin:read"), "{decoded:?}");

    let issued: Value = serde_json::from_str(&hop1(folder.path()).await).expect("JSON");
    assert_eq!((&issued["token_type"], &issued["scope"]), (&"Bearer".into(), &"stock:read".into()), "{issued}");
    let line = dev.line().await;
    assert!(line.contains("  issued    coordinator -> inventory  for alice  scope stock:read  ["), "{line}");

    let revoke = ["revoke", "-c", "sts-dev/sts.toml", "--sub", "alice", "--hold"];
    run(folder.path(), &revoke).await.ended_with(0);
    let line = dev.line().await;
    assert!(line.contains("  revoked   user alice"), "{line}");
    while hop1(folder.path()).await.contains("access_token") {
        dev.line().await;
    }
    let line = dev.line().await;
    let said =
        "  refused   coordinator  subject_revoked: the subject token is covered by the revocation of its user  [";
    assert!(line.contains(said), "{line}");
    // The audit log has no event of an agent that did not authenticate.
    std::fs::write(folder.path().join("sts-dev/coordinator.secret"), "wrong").expect("ours");
    assert!(hop1(folder.path()).await.contains("invalid_client"));
    let line = dev.line().await;
    assert!(line.contains("  refused   coordinator  ") && line.contains("secret"), "{line}");
    dev.end().await;
}

#[tokio::test]
async fn dev_says_how_to_lift_the_revocation_of_its_user() {
    let folder = tempfile::tempdir().expect("a folder");
    dev_once(folder.path()).await;
    run(folder.path(), &["revoke", "-c", "sts-dev/sts.toml", "--sub", "alice"]).await.ended_with(0);
    let refused = run(folder.path(), &["dev", "--once"]).await;
    let text = refused.ended_with(1);
    assert!(text.contains("  refused  subject_revoked: the subject token is covered by the revocation of"), "{text}");
    let remedy = text.lines().find_map(|line| line.strip_prefix("Lift it: sts-server ")).expect("a remedy");
    assert!(!text.contains("registry.toml"), "a change of the registry cannot help: {text}");
    run(folder.path(), &remedy.split(' ').collect::<Vec<_>>()).await.ended_with(0);
    dev_once(folder.path()).await;
}

#[tokio::test]
async fn a_saved_registry_is_applied_and_a_broken_one_is_explained() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dev = Dev::serving(folder.path(), &[]).await;
    let path = folder.path().join("sts-dev/registry.toml");
    let registry = std::fs::read_to_string(&path).expect("dev made it");
    std::fs::write(&path, registry.replace("max_ttl", "max_tll")).expect("ours");
    let line = dev.line().await;
    assert!(line.contains("registry.toml:") && line.contains("did you mean \"max_ttl\"?"), "{line}");
    assert_eq!(dev.line().await, "sts-dev/registry.toml is not applied, the former registry stays: it has faults");
    assert!(hop1(folder.path()).await.contains("access_token"), "the server goes on");
    assert!(dev.line().await.contains("  issued    coordinator -> inventory"));
    std::fs::write(&path, registry.replace("2m", "90s")).expect("ours");
    let line = dev.line().await;
    assert!(line.contains("registry changed  change delegation inventory->warehouse: max_ttl"), "{line}");
    dev.end().await;
}

#[tokio::test]
async fn dev_serves_on_a_chosen_port_and_writes_it_into_its_configuration() {
    let folder = tempfile::tempdir().expect("a folder");
    let address = free_address();
    let port = address.rsplit(':').next().expect("a port");
    let mut first = Dev::serving(folder.path(), &["--port", port]).await;
    assert!(first.steps.contains(&format!("agent-sts at http://{address}")), "{:?}", first.steps);
    let configuration = std::fs::read_to_string(folder.path().join("sts-dev/sts.toml")).expect("dev made it");
    assert!(configuration.contains(&format!("issuer = \"http://{address}\"")), "{configuration}");
    run(folder.path(), &["health", "-c", "sts-dev/sts.toml"]).await.ended_with(0);

    let second = run(folder.path(), &["dev", "--once"]).await;
    second.ended_with(2);
    assert!(second.stderr.contains("sts-dev is in use by another `sts-server dev`"), "{second:?}");
    let elsewhere = run(folder.path(), &["dev", "--once", "--directory", "other", "--port", port]).await;
    elsewhere.ended_with(2);
    assert!(elsewhere.stderr.contains(&format!("--port: cannot listen on {address}")), "{elsewhere:?}");
    assert!(first.child.try_wait().expect("a status").is_none());
    first.end().await;
}

#[tokio::test]
async fn dev_explains_a_folder_that_does_not_work() {
    let cases: [(&str, Option<&str>, i32, &str); 10] = [
        (
            "demo-issuer.key",
            None,
            2,
            "demo-issuer.jwks.json does not hold the key of sts-dev/demo-issuer.key: delete sts-dev",
        ),
        ("demo-issuer.key", Some("garbage"), 2, "sts-dev/demo-issuer.key is not an ES256 key"),
        ("demo-issuer.jwks.json", Some("garbage"), 2, "demo-issuer.jwks.json does not hold the key"),
        ("demo-issuer.jwks.json", None, 0, "used again: sts-dev (made again: demo-issuer.jwks.json)"),
        (
            "secrets.toml",
            None,
            1,
            "the secret of coordinator in sts-dev/secrets.toml is not the one in sts-dev/registry.toml",
        ),
        ("master.key", Some("garbage"), 2, "sts-dev/master.key must hold one line"),
        (
            "master.key",
            Some("YW5vdGhlciBtYXN0ZXIga2V5IG9mIHRoZSBjb21wYW4=\n"),
            2,
            "the folder sts-dev cannot be used, delete it to start again: ",
        ),
        ("sts.db", Some("garbage"), 2, "sts.db cannot be used: it is not an SQLite database"),
        ("registry.toml", Some("[[agents]]\nid = \"a\"\nscopez = 1\n"), 0, "sts-dev/registry.toml is not applied"),
        ("registry.toml", Some(""), 1, "  refused  "),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (name, content, code, said) in cases {
        let sts_dev = folder.path().join("sts-dev");
        if sts_dev.exists() {
            std::fs::remove_dir_all(&sts_dev).expect("ours");
        }
        dev_once(folder.path()).await;
        match content {
            Some(content) => std::fs::write(sts_dev.join(name), content).expect("ours"),
            None => std::fs::remove_file(sts_dev.join(name)).expect("it was there"),
        }
        let ended = run(folder.path(), &["dev", "--once"]).await;
        ended.ended_with(code);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(all.contains(said), "{name}: {said:?} is not in:\n{all}");
    }
    let refused = run(folder.path(), &["dev", "--public", "127.0.0.1:1"]).await;
    refused.ended_with(2);
    assert!(refused.stderr.contains("does not accept --public: use --directory and --port"), "{refused:?}");
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
    assert!(refused.contains("sealed under a master key that is missing"), "{refused}");
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

/// Runs the script that repeats hop 1.
async fn hop1(folder: &Path) -> String {
    let output = Command::new("sh").arg("sts-dev/hop1.sh").current_dir(folder).output().await.expect("sh");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn run(folder: &Path, arguments: &[&str]) -> Outcome {
    let mut command = command(folder).await;
    command.args(arguments);
    outcome(command).await
}
