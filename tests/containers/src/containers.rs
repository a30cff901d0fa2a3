//! Servers in containers: those of `deploy/compose.yaml`, with a registry and secrets of their own.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use sts_server::keys::MasterKey;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The servers of the compose file.
pub const SERVERS: [&str; 3] = ["sts-1", "sts-2", "sts-3"];
/// How they name themselves.
pub const ISSUER: &str = "https://sts.internal:8443";
/// The database's user, and the database.
const USER: &str = "sts";
/// The longest that a command may take: an image may have to be fetched.
const PATIENCE: Duration = Duration::from_secs(600);
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// The containers of a project.
#[derive(Debug)]
pub struct Containers {
    /// The words of the command, up to the project and its files.
    compose: Vec<String>,
    folder: PathBuf,
    ports: [u16; 3],
    database_port: u16,
}

impl Containers {
    /// Writes the configuration, a registry with the key set of its issuer, and secrets into a folder. `compose` are the words of the
    /// command.
    ///
    /// # Errors
    /// When that cannot be done.
    pub async fn prepare(
        compose: &[String],
        project: &str,
        folder: &Path,
        registry: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let [ports @ .., database_port] = free_ports()?;
        let configuration = folder.join("configuration");
        std::fs::create_dir(&configuration)?;
        std::fs::set_permissions(&configuration, std::fs::Permissions::from_mode(0o755))?;
        for (name, text) in registry {
            std::fs::write(configuration.join(name), text)?;
        }
        // The database is made reachable for whoever looks behind the servers. JSON is YAML.
        let reachable = json!({ "ports": [format!("127.0.0.1:{database_port}:5432")], "networks": ["data", "agents"] });
        let reachable = json!({ "services": { "postgres": reachable } });
        std::fs::write(folder.join("reachable.yaml"), reachable.to_string())?;
        let file = format!("{ROOT}/deploy/compose.yaml");
        let reachable = folder.join("reachable.yaml").display().to_string();
        let options = ["--project-name", project, "--file", &file, "--file", &reachable].map(str::to_owned);
        let containers =
            Self { compose: [compose, &options].concat(), folder: folder.to_owned(), ports, database_port };
        containers.configure("sts")?;
        let secrets = containers.secret("").display().to_string();
        let mut make = Command::new(format!("{ROOT}/deploy/make-secrets"));
        make.args([&secrets, "sts.internal"]);
        output(make, &[]).await?;
        Ok(containers)
    }

    /// Tells the servers, from their next start on, to use a database of this name.
    ///
    /// # Errors
    /// When the configuration is not as it was.
    pub fn configure(&self, database: &str) -> anyhow::Result<()> {
        let shipped = std::fs::read_to_string(format!("{ROOT}/deploy/compose/sts.toml"))?;
        let url = format!("url = \"postgres://{USER}@postgres/");
        anyhow::ensure!(
            shipped.contains(&format!("{url}sts?")) && !shipped.contains("[limits]"),
            "another configuration"
        );
        let text = shipped.replace(&format!("{url}sts?"), &format!("{url}{database}?"));
        // The clients make bad requests too, more of them than any agent should.
        let text = format!(
            "{text}\n[limits]\nfailed_attempts_per_minute = 1000000\nrefusals_per_minute_per_client = 1000000\n"
        );
        Ok(std::fs::write(self.folder.join("configuration/sts.toml"), text)?)
    }

    /// Writes a file that commands in the containers find beside their configuration.
    ///
    /// # Errors
    /// When the folder is not ours.
    pub fn hand_over(&self, name: &str, text: &[u8]) -> anyhow::Result<String> {
        std::fs::write(self.folder.join("configuration").join(name), text)?;
        Ok(format!("/etc/agent-sts/{name}"))
    }

    /// Runs a command of compose; what it printed.
    ///
    /// # Errors
    /// What it told, when it failed.
    pub async fn compose(&self, arguments: &[&str]) -> anyhow::Result<Vec<u8>> {
        self.compose_with(arguments, &[]).await
    }

    /// As [`Containers::compose`], with something to read.
    ///
    /// # Errors
    /// What it told, when it failed.
    pub async fn compose_with(&self, arguments: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (program, options) = self.compose.split_first().context("no command")?;
        let mut command = Command::new(program);
        command.args(options).args(arguments);
        command.env("STS_CONFIG_DIRECTORY", self.folder.join("configuration"));
        command.env("STS_SECRETS_DIRECTORY", self.secret(""));
        for (slot, port) in self.ports.iter().enumerate() {
            command.env(format!("STS_PORT_{}", slot + 1), port.to_string());
        }
        output(command, input).await
    }

    /// Runs a command of the database's own in its container, as the database's user.
    ///
    /// # Errors
    /// What it told, when it failed.
    pub async fn database_command(&self, command: &[&str], input: &[u8]) -> anyhow::Result<Vec<u8>> {
        let (program, arguments) = command.split_first().context("no command")?;
        let password = std::fs::read_to_string(self.secret("database_password"))?;
        let password = format!("PGPASSWORD={}", password.trim());
        let entry = ["exec", "-T", "-e", &password, "postgres", program, "--host=127.0.0.1", "--username", USER];
        self.compose_with(&[&entry, arguments].concat(), input).await
    }

    /// Where the servers are, seen from this machine.
    #[must_use]
    pub fn bases(&self) -> Vec<String> {
        self.ports.iter().map(|port| format!("https://127.0.0.1:{port}")).collect()
    }

    /// Where a database is, seen from this machine.
    ///
    /// # Errors
    /// When there is no password.
    pub fn database_url(&self, database: &str) -> anyhow::Result<String> {
        let password = std::fs::read_to_string(self.secret("database_password"))?;
        Ok(format!("postgres://{USER}:{}@127.0.0.1:{}/{database}", password.trim(), self.database_port))
    }

    /// The certificate authority of the servers, in PEM.
    ///
    /// # Errors
    /// When there is none.
    pub fn authority(&self) -> anyhow::Result<Vec<u8>> {
        Ok(std::fs::read(self.secret("ca.crt"))?)
    }

    /// The master key of the servers.
    ///
    /// # Errors
    /// When there is none.
    pub fn master_key(&self) -> anyhow::Result<MasterKey> {
        Ok(MasterKey::read(&self.secret("master.key"))?)
    }

    fn secret(&self, name: &str) -> PathBuf {
        self.folder.join("secrets").join(name)
    }
}

/// Runs a command to its end.
async fn output(mut command: Command, input: &[u8]) -> anyhow::Result<Vec<u8>> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("{command:?}"))?;
    let mut stdin = child.stdin.take().context("it is piped")?;
    let input = input.to_owned();
    let writing = tokio::spawn(async move { stdin.write_all(&input).await });
    let output = tokio::time::timeout(PATIENCE, child.wait_with_output()).await.context("a command does not end")??;
    let told = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{:?}: {}\n{told}", command.as_std(), output.status);
    writing.await?.context("the command did not read to the end")?;
    Ok(output.stdout)
}

/// Ports that nobody listens on. They stay the same over restarts of a container, as one that Docker chooses does not.
fn free_ports() -> anyhow::Result<[u16; 4]> {
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(TcpListener::bind("127.0.0.1:0")?);
    }
    let ports: Vec<u16> =
        held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect::<anyhow::Result<_>>()?;
    ports.try_into().ok().context("four ports")
}
