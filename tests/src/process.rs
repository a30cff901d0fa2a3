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

/// The longest that a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest that a command may take: some read everything that half an hour of load has written.
const COMMAND_PATIENCE: Duration = Duration::from_secs(600);
/// Where ports are looked for: below the range that systems give to whoever asks for any.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A folder with a configuration, a registry and a master key.
#[derive(Debug)]
pub struct Folder {
    directory: TempDir,
    issuer: String,
    public: String,
    admin: String,
    program: Option<PathBuf>,
}

/// How a server is started. By default: the program as the tests are built, at the addresses of its folder.
#[derive(Debug, Clone, Default)]
pub struct Launch {
    /// Another program.
    pub program: Option<PathBuf>,
    /// What runs the program: a command to which the program's own is appended.
    pub wrapper: Vec<String>,
    /// The environment. Options have the prefix `STS__`.
    pub environment: Vec<(String, String)>,
    /// Where it listens, the public listener and the admin one, when not where its folder says.
    pub addresses: Option<[String; 2]>,
}

/// A server process. Dropping it kills it.
#[derive(Debug)]
pub struct Serving {
    child: Child,
    log: Arc<Mutex<String>>,
    public: String,
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
        let [public, admin] = [free_address(), free_address()];
        let issuer = format!("http://{public}");
        let configuration = format!(
            "issuer = \"{issuer}\"\nregistry = \"registry.toml\"\n\n[listen]\npublic = \"{public}\"\nadmin = \"{admin}\"\ndrain_delay = \"0s\"\n\n\
             [database]\nurl = \"{url}\"\n"
        );
        let folder =
            Self { directory, public: issuer.clone(), issuer, admin: format!("http://{admin}"), program: None };
        folder.write("sts.toml", &configuration);
        folder.write("registry.toml", &registry.replace("{issuer}", &folder.issuer));
        folder.write("master.key", "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG9mIHRoZSB0ZXM=\n");
        folder.permit("master.key", 0o600);
        folder
    }

    /// Sets the permissions of a file of the folder.
    pub fn permit(&self, name: &str, mode: u32) {
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(self.path(name), permissions).expect("the file is ours");
    }

    /// With another program than the one that is built for the tests.
    #[must_use]
    pub fn of_program(mut self, program: PathBuf) -> Self {
        self.program = Some(program);
        self
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
        let mut command = clean(self.program().await, self.directory.path());
        command.args(arguments).args(["--config", "sts.toml"]);
        outcome(command).await
    }

    /// As [`Folder::run`], with nobody who reads what it prints. Returns the exit code.
    ///
    /// # Panics
    /// When the command does not start or end.
    pub async fn run_unread(&self, arguments: &[&str]) -> i32 {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = clean(self.program().await, self.directory.path());
        command.args(arguments).args(["--config", "sts.toml"]).stdout(writer).stderr(Stdio::null());
        let status = tokio::time::timeout(COMMAND_PATIENCE, command.status()).await;
        status.expect("the command ends").expect("the command starts").code().unwrap_or(-1)
    }

    async fn program(&self) -> &Path {
        match &self.program {
            Some(program) => program,
            None => program().await,
        }
    }

    /// Starts the server, and returns when it serves.
    ///
    /// # Panics
    /// When it does not.
    pub async fn serve(&self) -> Serving {
        self.launch(&Launch::default()).await
    }

    /// As [`Folder::serve`], with options: each the environment variable without its prefix.
    pub async fn serve_with(&self, options: &[(&str, &str)]) -> Serving {
        self.launch(&Launch::default().options(options)).await
    }

    /// As [`Folder::serve`], started in another way.
    ///
    /// # Panics
    /// When it does not serve in time.
    pub async fn launch(&self, launch: &Launch) -> Serving {
        let program = match &launch.program {
            Some(program) => program.as_path(),
            None => self.program().await,
        };
        let [public, admin] = match &launch.addresses {
            Some(addresses) => addresses.each_ref().map(|address| format!("http://{address}")),
            None => [self.public.clone(), self.admin.clone()],
        };
        let mut words = launch.wrapper.iter().map(Path::new).chain([program]);
        let mut command = clean(words.next().expect("at least the program"), self.directory.path());
        command.args(words).args(["serve", "--config", "sts.toml"]).stderr(Stdio::piped());
        command.envs(launch.environment.iter().map(|(name, value)| (name, value)));
        if let Some([public, admin]) = &launch.addresses {
            command.env("STS__LISTEN__PUBLIC", public).env("STS__LISTEN__ADMIN", admin);
        }
        let mut child = command.spawn().expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (serves, is_serving) = oneshot::channel();
        tokio::spawn(follow(BufReader::new(child.stderr.take().expect("it is piped")), Arc::clone(&log), serves));
        let started = tokio::time::timeout(PATIENCE, is_serving).await;
        let serving = Serving { child, log, public, admin };
        assert!(matches!(started, Ok(Ok(()))), "the server does not start:\n{}", serving.log());
        serving
    }
}

impl Launch {
    /// With options: each the environment variable without its prefix.
    #[must_use]
    pub fn options(mut self, options: &[(&str, &str)]) -> Self {
        self.environment.extend(options.iter().map(|(name, value)| (format!("STS__{name}"), (*value).to_owned())));
        self
    }

    /// At addresses of its own, beside the server of the folder.
    #[must_use]
    pub fn elsewhere(mut self) -> Self {
        self.addresses = Some([free_address(), free_address()]);
        self
    }

    /// With no more than so many file descriptors.
    #[must_use]
    pub fn descriptors(mut self, most: u32) -> Self {
        self.wrapper = vec!["/usr/bin/prlimit".to_owned(), format!("--nofile={most}")];
        self
    }
}

impl Serving {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("no test panics here").clone()
    }

    /// The base of its public URLs.
    pub fn public(&self) -> &str {
        &self.public
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
        self.signal("TERM").await;
    }

    /// Sends it a signal, by its name without SIG.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await;
        assert!(sent.expect("kill").success());
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
    let output = tokio::time::timeout(COMMAND_PATIENCE, command.output()).await;
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

/// The program, built as the running test or binary is.
async fn program() -> &'static Path {
    static PROGRAM: OnceCell<PathBuf> = OnceCell::const_new();
    PROGRAM.get_or_init(|| build("sts-server")).await
}

/// Builds a program of the workspace as the running test or binary is built, and returns its path.
///
/// # Panics
/// When it cannot be built.
pub async fn build(name: &str) -> PathBuf {
    let running = std::env::current_exe().expect("the path of this process");
    let folder = running.parent().expect("a folder");
    // A test is at TARGET/PROFILE/deps/it-…, a binary at TARGET/PROFILE/…. The profile "dev" has the folder "debug". The same packages
    // are named as for what is running, so that all are built with the same features, and not anew.
    let (profile, packages): (_, &[&str]) = match folder.ends_with("deps") {
        true => (folder.parent().expect("the folder of the profile"), &["--workspace"]),
        false => (folder, &["--package", "sts-faults", "--package", "sts-server"]),
    };
    let profile_name = match profile.file_name().and_then(|name| name.to_str()).expect("a profile's name") {
        "debug" => "dev",
        name => name,
    };
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--quiet", "--bin", name, "--message-format=json", "--profile", profile_name])
        .args(packages)
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

/// A loopback address that no process listens on. It stays the server's over restarts, for it is part of its issuer identifier.
pub fn free_address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let span = PORTS.end - PORTS.start;
    let begin = u16::try_from(std::process::id() % u32::from(span)).expect("less than the span");
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut candidates = (0..span).map(|_| PORTS.start + (begin + NEXT.fetch_add(1, Ordering::Relaxed)) % span);
    format!("127.0.0.1:{}", candidates.find(is_free).expect("a free port"))
}
