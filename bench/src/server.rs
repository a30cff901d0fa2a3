//! The server under load: the program as it is shipped, in a process and a folder of its own, on an empty database.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Method, Uri};
use serde_json::Value;
use sts_jose::Algorithm;
use sts_tests::{TestIssuer, TestKey};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::load::Endpoint;
use crate::process;
use crate::tokens::Users;

/// The algorithms that are measured: what the users' tokens are signed with, and what the minted ones are.
pub const ALGORITHMS: [Algorithm; 3] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Rs256];
/// How many targets one user's token is exchanged for where it fans out.
pub const FAN_OUT: usize = 8;
/// The agent that asks.
pub const CLIENT: &str = "coordinator";
/// Its secret.
pub const SECRET: &str = "correct-horse-battery-staple";

/// An agent that authenticates by a key.
pub const ROBOT: &str = "robot";

/// A server that serves. Dropping it kills it.
#[derive(Debug)]
pub struct Server {
    child: Child,
    address: SocketAddr,
    issuer: String,
    database_url: String,
    users: Users,
    robot: Arc<TestKey>,
    folder: TempDir,
}

impl Server {
    /// Starts `program` on a database that is empty.
    ///
    /// # Errors
    /// The output of the server before it exited.
    pub async fn start(program: &Path, database: Database<'_>) -> anyhow::Result<Self> {
        Self::start_with(program, database, None).await
    }

    /// The same over TLS, with client certificates.
    ///
    /// # Errors
    /// The output of the server before it exited.
    pub async fn start_over(
        program: &Path,
        database: Database<'_>,
        certificates: &Certificates,
    ) -> anyhow::Result<Self> {
        Self::start_with(program, database, Some(certificates)).await
    }

    async fn start_with(
        program: &Path,
        database: Database<'_>,
        certificates: Option<&Certificates>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sts-bench-").tempdir()?;
        let keys: Vec<_> = ALGORITHMS.iter().map(|algorithm| (*algorithm, TestKey::new(*algorithm))).collect();
        let idp = TestIssuer::with_keys(keys.iter().map(|(_, key)| key.clone()).collect()).await;
        let users = Users { issuer: idp.url().to_owned(), keys };
        let robot = TestKey::new(Algorithm::Es256);
        let database_url = match database {
            Database::Sqlite => format!("sqlite://{}/sts.db", folder.path().display()),
            Database::Postgres(url) => url.to_owned(),
        };
        let [address, admin] = [free_address()?, free_address()?];
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let issuer = format!("{scheme}://{address}");
        let tls = certificates.map(|certificates| certificates.write(folder.path())).transpose()?.unwrap_or_default();
        let configuration = format!(
            "issuer = \"{issuer}\"\nregistry = \"registry.toml\"\n[listen]\npublic = \"{address}\"\nadmin = \"{admin}\"\n\
             [database]\nurl = \"{database_url}\"\n{tls}"
        );
        std::fs::write(folder.path().join("sts.toml"), configuration)?;
        std::fs::write(folder.path().join("registry.toml"), registry(&users.issuer, &robot))?;
        std::fs::write(folder.path().join("master.key"), "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG9mIHRoZSB0ZXM=\n")?;
        let child = spawn(program, folder.path()).await?;
        Ok(Self { child, address, issuer, database_url, users, robot, folder })
    }

    /// The id of its process.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// Its issuer identifier, and the base of its URLs.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Its database.
    #[must_use]
    pub fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Whose tokens it believes.
    #[must_use]
    pub fn users(&self) -> &Users {
        &self.users
    }

    /// The key of [`ROBOT`].
    #[must_use]
    pub fn robot(&self) -> &Arc<TestKey> {
        &self.robot
    }

    /// Where it keeps its files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// An endpoint where the client authenticates by its secret.
    #[must_use]
    pub fn post(&self, path: &'static str) -> Endpoint {
        let credentials = STANDARD.encode(format!("{CLIENT}:{SECRET}"));
        let authorization = HeaderValue::try_from(format!("Basic {credentials}")).expect("base64");
        Endpoint {
            address: self.address,
            method: Method::POST,
            path: Uri::from_static(path),
            authorization: Some(authorization),
        }
    }

    /// An endpoint that is read.
    #[must_use]
    pub fn get(&self, path: &'static str) -> Endpoint {
        Endpoint { address: self.address, method: Method::GET, path: Uri::from_static(path), authorization: None }
    }

    /// Its memory in RAM, in MiB.
    ///
    /// # Errors
    /// When it has ended.
    pub fn resident_mib(&self) -> anyhow::Result<f64> {
        process::resident_mib(self.pid())
    }
}

/// The certificates of a server and of its client, in PEM.
#[derive(Debug)]
pub struct Certificates {
    /// The authority of both.
    pub authority: String,
    /// The certificate and the key of the server.
    pub server: [String; 2],
}

impl Certificates {
    /// Writes the files of a server; returns the lines of its configuration.
    fn write(&self, folder: &Path) -> anyhow::Result<String> {
        let [certificate, key] = &self.server;
        for (name, text) in [("ca.crt", &self.authority), ("tls.crt", certificate), ("tls.key", key)] {
            std::fs::write(folder.join(name), text)?;
        }
        let lines = "[tls]\ncertificate_file = \"tls.crt\"\nprivate_key_file = \"tls.key\"\n\
                     client_certificates = \"optional\"\nclient_ca_file = \"ca.crt\"\n";
        Ok(lines.to_owned())
    }
}

/// Starts the server of a folder, and returns when it serves. Dropping it kills it.
///
/// # Errors
/// The last words of a server that ended.
pub async fn spawn(program: &Path, folder: &Path) -> anyhow::Result<Child> {
    let mut command = Command::new(program);
    command.args(["serve", "--config", "sts.toml"]).current_dir(folder).env_clear();
    let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stderr = child.stderr.take().context("standard error is piped")?;
    serving(BufReader::new(stderr), "sts-server").await?;
    Ok(child)
}

/// Where a server keeps its data.
#[derive(Debug, Clone, Copy)]
pub enum Database<'a> {
    /// A file beside its configuration.
    Sqlite,
    /// An empty database.
    Postgres(&'a str),
}

/// The audience whose tokens are signed with this algorithm.
#[must_use]
pub fn audience(algorithm: Algorithm) -> String {
    format!("target-{algorithm}")
}

/// The audience of the `index`-th target of a fan-out.
#[must_use]
pub fn fan_out_audience(index: usize) -> String {
    format!("fan-out-{index}")
}

/// Builds a program as it is shipped.
///
/// # Errors
/// What cargo said.
pub async fn build(name: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .args(["build", "--profile", "dist", "--package", name, "--bin", name])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    let output = cargo.output().await.context("cargo")?;
    if !output.status.success() {
        bail!("{name} does not build: cargo ended with {}, and wrote why above", output.status);
    }
    let messages = String::from_utf8(output.stdout)?;
    let mut executables = messages.lines().filter_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        Some(PathBuf::from(message.get("executable")?.as_str()?))
    });
    executables.next_back().context("cargo names no program")
}

/// The digest of [`SECRET`], as a registry has it.
pub(crate) fn secret_sha256() -> String {
    sts_jose::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes()).as_ref())
}

fn registry(users: &str, robot: &TestKey) -> String {
    let sha256 = secret_sha256();
    let jwk = robot.jwk();
    let members: Vec<String> =
        jwk.as_object().into_iter().flatten().map(|(name, value)| format!("{name} = {value}")).collect();
    let key = members.join(", ");
    let mut registry = format!(
        "[[issuers]]\nissuer = \"{users}\"\ntenant_claim = \"org_id\"\n\n\
         [[agents]]\nid = \"{CLIENT}\"\naccepts = [\"web-app\"]\nauth = {{ client_secret_sha256 = \"{sha256}\", tls_client_auth_san_dns = \"{CLIENT}\" }}\n\n\
         [[agents]]\nid = \"{ROBOT}\"\naccepts = [\"web-app\"]\nauth.jwks = {{ keys = [{{ {key} }}] }}\n\n\
         [[delegations]]\nactor = \"{ROBOT}\"\ntarget = \"{target}\"\nscopes = [\"stock:read\", \"stock:write\"]\n",
        target = audience(Algorithm::Es256)
    );
    let by_algorithm = ALGORITHMS.map(|algorithm| (audience(algorithm), algorithm));
    let fan_out = (0..FAN_OUT).map(|index| (fan_out_audience(index), Algorithm::Es256));
    for (target, algorithm) in by_algorithm.into_iter().chain(fan_out) {
        let _ = write!(
            registry,
            "\n[[agents]]\nid = \"{target}\"\nsigning_alg = \"{algorithm}\"\n\n\
             [[delegations]]\nactor = \"{CLIENT}\"\ntarget = \"{target}\"\nscopes = [\"stock:read\", \"stock:write\"]\n\
             service_account = true\n"
        );
    }
    registry
}

/// Waits until a program serves, and goes on reading what it logs.
pub(crate) async fn serving(
    mut stderr: BufReader<tokio::process::ChildStderr>,
    name: &'static str,
) -> anyhow::Result<()> {
    let mut log = String::new();
    loop {
        let begin = log.len();
        if stderr.read_line(&mut log).await? == 0 {
            bail!("{name} does not start:\n{log}");
        }
        if log[begin..].contains(" serving ") {
            break;
        }
    }
    tokio::spawn(async move {
        let mut line = String::new();
        while stderr.read_line(&mut line).await.is_ok_and(|bytes| bytes > 0) {
            eprint!("{name}: {line}");
            line.clear();
        }
    });
    Ok(())
}

/// Returns an address at which nothing listens.
pub(crate) fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
