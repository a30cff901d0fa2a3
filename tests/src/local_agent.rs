//! The process `sts-agent`, as it runs beside an agent.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, watch};

use crate::process;

/// The longest that a start, a reload or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A folder for the process: its file, its socket, its secrets.
#[derive(Debug)]
pub struct LocalFolder(TempDir);

/// A process that serves. Dropping it kills it.
#[derive(Debug)]
pub struct LocalAgent {
    child: Child,
    log: watch::Receiver<String>,
    socket: PathBuf,
}

/// What the process answered.
#[derive(Debug)]
pub struct LocalAnswer {
    /// The status.
    pub status: u16,
    /// The headers.
    pub headers: http::HeaderMap,
    /// The body; null when it is no JSON.
    pub json: Value,
    /// The body as text.
    pub text: String,
}

impl LocalFolder {
    /// A folder with this text as `agent.toml`, and these files.
    pub fn new(agent_toml: &str, files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().expect("a folder"));
        folder.write("agent.toml", agent_toml);
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("the folder is ours");
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The program, to be run in the folder, with nothing of this process's environment.
    pub async fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program().await);
        command.current_dir(self.0.path()).env_clear().args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        command
    }

    /// Starts the process on the socket of the folder.
    pub async fn serve(&self) -> LocalAgent {
        self.serve_at(&["--listen", "./agent.sock"]).await
    }

    /// Starts the process with these arguments.
    ///
    /// # Panics
    /// When it does not serve.
    pub async fn serve_at(&self, arguments: &[&str]) -> LocalAgent {
        let mut command = self.command(&["serve"]).await;
        let mut child = command.args(arguments).stderr(Stdio::piped()).spawn().expect("the program starts");
        let (write, log) = watch::channel(String::new());
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                write.send_modify(|log| {
                    log.push_str(&line);
                    log.push('\n');
                });
            }
        });
        let agent = LocalAgent { child, log, socket: self.path("agent.sock") };
        agent.logged("serving place").await;
        agent
    }
}

impl LocalAgent {
    /// The path of its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// A client of its socket.
    pub fn client(&self) -> reqwest::Client {
        reqwest::Client::builder().unix_socket(self.socket.clone()).no_proxy().build().expect("a client")
    }

    /// Asks a question.
    pub async fn ask(&self, path: &str, question: &Value) -> LocalAnswer {
        let client = self.client();
        answer(client.post(format!("http://sts-agent{path}")).body(question.to_string())).await
    }

    /// Gets a document.
    pub async fn get(&self, path: &str) -> LocalAnswer {
        answer(self.client().get(format!("http://sts-agent{path}"))).await
    }

    /// Waits until the log has this text, and returns the log.
    ///
    /// # Panics
    /// When it does not come to that.
    pub async fn logged(&self, text: &str) -> String {
        let mut log = self.log.clone();
        let found = tokio::time::timeout(PATIENCE, log.wait_for(|log| log.contains(text))).await;
        match found {
            Ok(Ok(log)) => log.clone(),
            Ok(Err(_)) | Err(_) => panic!("not logged: {text}\n{}", self.log.borrow().clone()),
        }
    }

    /// Sends it a signal, by its name without SIG.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await;
        assert!(sent.expect("kill").success());
    }

    /// Tells it to end (SIGTERM), and waits for its exit code.
    pub async fn end(mut self) -> Option<i32> {
        self.signal("TERM").await;
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        status.expect("it ends").expect("a status").code()
    }

    /// Kills it as a power cut would (SIGKILL).
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is ours");
    }
}

/// Sends a request to the process.
///
/// # Panics
/// When there is no answer.
pub async fn answer(request: reqwest::RequestBuilder) -> LocalAnswer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let text = response.text().await.expect("a text");
    LocalAnswer { status, headers, json: serde_json::from_str(&text).unwrap_or_default(), text }
}

async fn program() -> &'static Path {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_init(|| process::build("sts-agent")).await
}
