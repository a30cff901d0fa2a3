//! The program itself, as an operator runs it: built once, and run in a folder of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::{OnceCell, oneshot};

/// The longest that a command, a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where ports are looked for: below the range that systems give to whoever asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A folder with a configuration, a registry and a master key.
#[derive(Debug)]
pub struct Folder {
    directory: TempDir,
    issuer: String,
    admin: String,
}

/// A server process. Dropping it kills it.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    log: Arc<Mutex<String>>,
    admin: String,
}

/// What a command came to.
#[derive(Debug)]
pub struct Outcome {
    /// The exit code.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Folder {
    /// A folder whose server keeps its data in `SQLite`, beside the configuration.
    pub fn on_sqlite(registry: &str) -> Self {
        Self::on_database("sqlite://sts.db", registry)
    }

    /// A folder whose server keeps its data there.
    pub fn on_database(url: &str, registry: &str) -> Self {
        let directory = tempfile::tempdir().expect("a folder");
        let [public, admin] = [free_port(), free_port()].map(|port| format!("127.0.0.1:{port}"));
        let issuer = format!("http://{public}");
        let configuration = format!(
            "issuer = \"{issuer}\"\nregistry = \"registry.toml\"\n\n[listen]\npublic = \"{public}\"\nadmin = \"{admin}\"\ndrain_delay = \"0s\"\n\n\
             [database]\nurl = \"{url}\"\n"
        );
        let folder = Self { directory, issuer, admin: format!("http://{admin}") };
        folder.write("sts.toml", &configuration);
        folder.write("registry.toml", &registry.replace("{issuer}", &folder.issuer));
        folder.write("master.key", "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG9mIHRoZSB0ZXM=\n");
        folder
    }

    /// The issuer identifier of the server, and the base of its public URLs.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A file of the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the folder.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).expect("the folder is ours");
        path
    }

    /// Runs a command with the folder's configuration to its end.
    pub async fn run(&self, arguments: &[&str]) -> Outcome {
        let mut command = command(self.directory.path()).await;
        command.args(arguments).args(["--config", "sts.toml"]);
        outcome(command).await
    }

    /// Starts the server, and returns when it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn serve(&self) -> Serving {
        self.started(command(self.directory.path()).await).await
    }

    /// As [`Folder::serve`], with options: each the environment variable without its prefix.
    pub async fn serve_with(&self, options: &[(&str, &str)]) -> Serving {
        let mut command = command(self.directory.path()).await;
        command.envs(options.iter().map(|(name, value)| (format!("STS__{name}"), value)));
        self.started(command).await
    }

    /// As [`Folder::serve`], with no more than so many file descriptors.
    pub async fn serve_with_descriptors(&self, most: u32) -> Serving {
        let mut command = clean(Path::new("/usr/bin/prlimit"), self.directory.path());
        command.arg(format!("--nofile={most}")).arg(program().await);
        self.started(command).await
    }

    async fn started(&self, mut command: Command) -> Serving {
        command.args(["serve", "--config", "sts.toml"]).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (serves, is_serving) = oneshot::channel();
        tokio::spawn(follow(BufReader::new(child.stderr.take().expect("it is piped")), Arc::clone(&log), serves));
        let started = tokio::time::timeout(PATIENCE, is_serving).await;
        let serving = Serving { child, log, admin: self.admin.clone() };
        assert!(matches!(started, Ok(Ok(()))), "the server does not start:\n{}", serving.log());
        serving
    }
}

impl Serving {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics here").clone()
    }

    /// The base of the URLs for operators.
    pub fn admin(&self) -> &str {
        &self.admin
    }

    /// The id of its process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Tells it to end (SIGTERM), and waits for its exit code.
    pub async fn end(self) -> Option<i32> {
        self.terminate().await;
        self.ended().await
    }

    /// Tells it to end (SIGTERM).
    pub async fn terminate(&self) {
        let told = Command::new("kill").args(["-TERM", &self.id().to_string()]).status().await.expect("kill");
        assert!(told.success());
    }

    /// Waits for its exit code.
    pub async fn ended(mut self) -> Option<i32> {
        let status = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        status.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log())).expect("a status").code()
    }

    /// Kills it as a power cut would (SIGKILL).
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it is ours");
    }
}

impl Outcome {
    /// Asserts the exit code, and gives standard output.
    #[track_caller]
    pub fn ended_with(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        assert!(!self.stdout.contains('\u{1b}') && !self.stderr.contains('\u{1b}'), "colour in a pipe: {self:?}");
        &self.stdout
    }

    /// Standard output as JSON, one value a line.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let read = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.stdout.lines().map(read).collect()
    }
}

/// The program, to be run in `directory`, with nothing of this process's environment.
pub async fn command(directory: &Path) -> Command {
    clean(program().await, directory)
}

fn clean(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(directory).env_clear().stdin(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a command to its end.
pub async fn outcome(mut command: Command) -> Outcome {
    let output = tokio::time::timeout(PATIENCE, command.output()).await;
    let Output { status, stdout, stderr } = output.expect("the command ends").expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is UTF-8");
    Outcome { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) }
}

async fn follow(
    mut stderr: BufReader<tokio::process::ChildStderr>,
    log: Arc<Mutex<String>>,
    serves: oneshot::Sender<()>,
) {
    let mut serves = Some(serves);
    let mut line = String::new();
    while stderr.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
        // For people, and as JSON.
        if line.contains(" serving ") || line.contains("\"message\":\"serving\"") {
            serves.take().map(|serves| serves.send(()));
        }
        log.lock().expect("no test panics here").push_str(&line);
        line.clear();
    }
}

/// The program, built as the tests are.
async fn program() -> &'static Path {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_init(build).await
}

async fn build() -> PathBuf {
    // This test is at TARGET/PROFILE/deps/it-…; the profile "dev" has the folder "debug".
    let test = std::env::current_exe().expect("the path of this test");
    let profile = test.ancestors().nth(2).expect("the folder of the profile");
    let name = match profile.file_name().and_then(|name| name.to_str()).expect("a profile's name") {
        "debug" => "dev",
        name => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    // The whole workspace is named so that its crates are built with the same features as for the tests, and not anew.
    cargo
        .args(["build", "--quiet", "--workspace", "--bin", "sts-server", "--message-format=json", "--profile", name])
        .arg("--target-dir")
        .arg(profile.parent().expect("the target folder"))
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null());
    let output = cargo.output().await.expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let messages = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executables.next_back().expect("cargo names the program")
}

/// A port that nobody listens on. It stays the server's over restarts, for it is part of its issuer identifier.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let begin = u16::try_from(std::process::id() % u32::from(span)).expect("less than the span");
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut candidates = (0..span).map(|_| PORTS.start + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % span);
    candidates.find(is_free).expect("a free port")
}
