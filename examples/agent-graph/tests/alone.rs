//! Each agent as a process of its own, with its file of `deploy/agent-graph/`, as the compose file runs them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agent_graph::idp::{ALICE, BOB, Idp};
use agent_graph::sts::EmbeddedSts;
use agent_graph::user;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

const PROGRAM: &str = env!("CARGO_BIN_EXE_agent-graph");
const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/agent-graph");
/// The longest that a process may take to say something.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, which ends when this is dropped.
struct Part {
    lines: Lines<BufReader<ChildStdout>>,
    url: String,
    _child: Child,
}

impl Part {
    async fn start(name: &str, config: &Path, path: &str, other: &[&str]) -> Self {
        let mut command = Command::new(PROGRAM);
        command
            .args([name, "--listen", "127.0.0.1:0", "--url", "http://127.0.0.1/", "--config"])
            .arg(config)
            .args(other);
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the example is built");
        let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut part = Self { lines, url: String::new(), _child: child };
        let told = part.line().await;
        let address = told.strip_prefix("listening on ").unwrap_or_else(|| panic!("{name}: {told}"));
        part.url = format!("http://{address}{path}");
        part
    }

    async fn line(&mut self) -> String {
        let line = tokio::time::timeout(PATIENCE, self.lines.next_line()).await.expect("it says something in time");
        line.expect("text").expect("it has not ended").trim().to_owned()
    }
}

/// The file of an agent, with places and secrets of this test in place of those of the containers.
fn file(folder: &TempDir, agent: &str, sts: &EmbeddedSts, idp: &Idp, other: Option<[&str; 2]>) -> PathBuf {
    let text = std::fs::read_to_string(format!("{DEPLOY}/{agent}.toml")).expect("it is there");
    let secret = folder.path().join(format!("{agent}_secret"));
    std::fs::write(&secret, sts.secret(agent).expect("every agent has one")).expect("the folder is ours");
    let text = text.replace(&format!("/run/secrets/{agent}_secret"), secret.to_str().expect("a path in UTF-8"));
    let text = text.replace("https://sts.internal:8443", sts.issuer()).replace("http://idp:9000", &idp.issuer);
    let text = text.replace("ca_file = \"/run/secrets/ca\"\n", "");
    let text = match other {
        Some([there, here]) => {
            assert!(text.contains(there), "{agent} has no route to {there}");
            text.replace(there, here)
        }
        None => text,
    };
    assert!(!text.contains("/run/secrets"), "{agent}: {text}");
    let path = folder.path().join(format!("{agent}.toml"));
    std::fs::write(&path, text).expect("the folder is ours");
    path
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_in_processes_of_their_own_pass_a_request_on_and_a_refusal_back() {
    let folder = TempDir::new().expect("a folder");
    let idp = Idp::start().await.expect("an IdP");
    let sts = EmbeddedSts::start(&idp.issuer).await.expect("an STS");
    let config = file(&folder, "warehouse", &sts, &idp, None);
    let mut warehouse = Part::start("warehouse", &config, "/mcp", &[]).await;
    let config = file(&folder, "inventory", &sts, &idp, Some(["http://warehouse:9003/mcp", &warehouse.url]));
    let mut inventory = Part::start("inventory", &config, "/", &["--warehouse", &warehouse.url]).await;
    let config = file(&folder, "coordinator", &sts, &idp, Some(["http://inventory:9002/", &inventory.url]));
    let mut coordinator = Part::start("coordinator", &config, "/", &["--inventory", &inventory.url]).await;

    let ask = |user: &'static str| {
        let mut command = Command::new(PROGRAM);
        command.args(["ask", "--idp", &idp.issuer, "--coordinator", &coordinator.url, user, "stock tea"]);
        command.output()
    };
    let alice = ask("alice").await.expect("it runs");
    assert_eq!(String::from_utf8_lossy(&alice.stdout), "42 packets of tea\n", "{alice:?}");
    let bob = ask("bob").await.expect("it runs");
    assert!(
        !bob.status.success() && String::from_utf8_lossy(&bob.stderr).contains("not allowed: invalid_scope"),
        "{bob:?}"
    );
    let eve = ask("eve").await.expect("it runs");
    assert!(!eve.status.success() && String::from_utf8_lossy(&eve.stderr).contains("no login as eve"), "{eve:?}");
    for (part, verified) in [
        (&mut coordinator, "coordinator  alice in acme: payroll:read profile stock:read"),
        (&mut inventory, "inventory    alice by coordinator in acme: stock:read"),
        (&mut warehouse, "warehouse    alice by inventory (before: coordinator) in acme: bin:read"),
    ] {
        assert_eq!(part.line().await, verified);
    }

    // The warehouse asks of every token whether it is alive: what is revoked is refused at once.
    let token = idp.log_in(ALICE).expect("a token");
    sts.revoke(&idp.issuer, &token.jti).await.expect("it is revoked");
    assert!(user::ask(&coordinator.url, &token, "revoked", "stock tea").await.is_err());
    let token = idp.log_in(BOB).expect("a token");
    assert_eq!(user::ask(&coordinator.url, &token, "bob", "catalogue").await.as_deref(), Ok("there is tea"));
}

#[test]
fn the_compose_file_gives_every_part_what_its_file_and_its_command_name() {
    let compose: Value = {
        let text = std::fs::read_to_string(format!("{DEPLOY}/compose.yaml")).expect("it is there");
        serde_saphyr::from_str(&text).expect("YAML")
    };
    for agent in ["coordinator", "inventory", "warehouse"] {
        let service = &compose["services"][agent];
        let command: Vec<&str> = service["command"]
            .as_array()
            .expect("a command")
            .iter()
            .map(|word| word.as_str().expect("a word"))
            .collect();
        assert_eq!(command[0], agent);
        let after = |flag: &str| {
            let at = command.iter().position(|word| *word == flag).unwrap_or_else(|| panic!("{agent}: no {flag}"));
            command[at + 1]
        };
        assert_eq!(service["volumes"][0], format!("./{agent}.toml:{}:ro", after("--config")));
        let listen = after("--listen").rsplit(':').next().expect("a port");
        assert!(after("--url").starts_with(&format!("http://{agent}:{listen}/")), "{command:?}");
        assert_eq!(service["secrets"], serde_json::json!(["ca", format!("{agent}_secret")]));
        for (flag, next) in [("--inventory", "inventory"), ("--warehouse", "warehouse")] {
            if command.contains(&flag) {
                let text = std::fs::read_to_string(format!("{DEPLOY}/{agent}.toml")).expect("it is there");
                assert!(text.contains(&format!("url = \"{}\"", after(flag))), "{agent} has no route to {next}");
                let commands = compose["services"][next]["command"].to_string();
                assert!(commands.contains(after(flag)), "{next} is elsewhere: {commands}");
            }
        }
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&Value::Bool(true), &Value::from("ALL")));
    }
}
