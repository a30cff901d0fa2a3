//! Runs the agent as its README says, against `sts-server dev`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sts_tests::process::command;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// The longest that a process may take to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// A process, killed when this is dropped.
struct Part {
    told: String,
    child: Child,
}

impl Part {
    /// Starts a program, and reads what it prints up to a line that begins so.
    async fn start(mut command: Command, until: &str) -> Self {
        let mut child = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("it is built");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let mut told = String::new();
        let started = async {
            while let Some(line) = lines.next_line().await.expect("text") {
                told.push_str(&line);
                told.push('\n');
                if line.starts_with(until) {
                    return;
                }
            }
            panic!("it ended: {told}");
        };
        tokio::time::timeout(PATIENCE, started).await.expect("it starts in time");
        // What it prints from now on must not fill the pipe.
        tokio::spawn(async move { while lines.next_line().await.is_ok_and(|line| line.is_some()) {} });
        Self { told, child }
    }

    async fn agent(program: &str, folder: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.current_dir(folder).args(arguments).env("RUST_BACKTRACE", "1");
        Self::start(command, "listening on ").await
    }

    /// The rest of the line that starts with these words.
    fn said(&self, words: &str) -> &str {
        self.told.lines().find_map(|line| line.strip_prefix(words)).unwrap_or_else(|| panic!("{}", self.told))
    }
}

async fn get(url: &str, token: Option<&str>) -> (u16, String) {
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let request = client.get(url);
    let request = match token {
        Some(token) => request.bearer_auth(token),
        None => request,
    };
    let answer = request.send().await.expect("an answer");
    (answer.status().as_u16(), answer.text().await.expect("a text"))
}

#[tokio::test]
async fn the_agent_of_the_readme_runs_against_dev_and_answers_errors_without_a_backtrace() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut dev = command(folder.path()).await;
    dev.arg("dev");
    let dev = Part::start(dev, "Serving on ").await;
    let issuer = dev.said("agent-sts at ");

    let files = [("inventory.toml", include_str!("../inventory.toml")), ("agent.toml", include_str!("../agent.toml"))];
    for (name, text) in files {
        assert!(text.contains("http://127.0.0.1:8080"), "{name}");
        std::fs::write(folder.path().join(name), text.replace("http://127.0.0.1:8080", issuer)).expect("ours");
    }
    let mut inventory = Part::agent(env!("CARGO_BIN_EXE_inventory"), folder.path(), &["127.0.0.1:0"]).await;
    let place = format!("http://{}/", inventory.said("listening on "));
    let agent_toml = std::fs::read_to_string(folder.path().join("agent.toml")).expect("it is there");
    let agent_toml = agent_toml.replace("http://127.0.0.1:9001/", &place);
    std::fs::write(folder.path().join("agent.toml"), agent_toml).expect("ours");
    let stock = format!("{place}stock");
    let agent = Part::agent(env!("CARGO_BIN_EXE_first-agent"), folder.path(), &["127.0.0.1:0", &stock]).await;
    let url = format!("http://{}/stock", agent.said("listening on "));

    let token = std::fs::read_to_string(folder.path().join("sts-dev/user.jwt")).expect("dev wrote it");
    let (status, body) = get(&url, Some(&token)).await;
    let readme = include_str!("../README.md");
    assert_eq!(status, 200, "{body}");
    assert!(readme.contains(&format!("```text\n{body}\n```")), "{body}");

    assert_eq!(get(&url, None).await.0, 401);
    assert_eq!(get(&stock, Some(&token)).await.0, 401, "the user's own token is not for the inventory");

    let busy = agent.said("listening on ");
    for program in [env!("CARGO_BIN_EXE_inventory"), env!("CARGO_BIN_EXE_first-agent")] {
        let second = Command::new(program).current_dir(folder.path()).arg(busy).output().await.expect("it is built");
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(!second.status.success() && said.contains(&format!("cannot listen on {busy}: ")), "{said}");
    }

    inventory.child.kill().await.expect("it runs");
    let (status, body) = get(&url, Some(&token)).await;
    assert_eq!(status, 424, "{body}");
    assert!(body.contains("UPSTREAM_UNREACHABLE"), "{body}");
    assert!(body.len() < 500 && !body.to_lowercase().contains("backtrace") && !body.contains(".rs:"), "{body}");
}

#[test]
fn the_file_of_the_agent_is_short() {
    assert_eq!(include_str!("../agent.toml").lines().count(), 12);
    assert!(include_str!("../src/main.rs").lines().count() < 40);
}
