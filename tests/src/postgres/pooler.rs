//! `PgBouncer` in front of a cluster.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;

use super::process::run;
use super::{Cluster, Database};

/// Where Debian puts it, which is in the path of root alone.
const DEBIAN: &str = "/usr/sbin/pgbouncer";

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pooler of its own; ended with this value.
#[derive(Debug)]
pub struct Pooler {
    child: Child,
    address: SocketAddr,
    version: (u32, u32),
}

impl Pooler {
    /// Makes and starts one before a cluster, with this `pool_mode`.
    ///
    /// # Panics
    ///
    /// When the machine has no `pgbouncer` and it cannot be installed.
    pub async fn start(cluster: &Cluster, pool_mode: &str) -> Self {
        match Self::launch(cluster, pool_mode).await {
            Ok(pooler) => pooler,
            Err(reason) => panic!("this test needs PgBouncer (package \"pgbouncer\"): {reason:#}"),
        }
    }

    async fn launch(cluster: &Cluster, pool_mode: &str) -> anyhow::Result<Self> {
        let program = find().await?;
        let mut version = Command::new(&program);
        version.arg("--version");
        let version = numbers(&run(version).await?).context("a version of PgBouncer")?;
        let address = std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let users = cluster.directory().join("pooler-users");
        std::fs::write(&users, "\"postgres\" \"\"\n")?;
        let server = cluster.address();
        let configuration = format!(
            "[databases]\n* = host={} port={}\n[pgbouncer]\nlisten_addr = {}\nlisten_port = {}\nauth_type = trust\n\
             auth_file = {}\npool_mode = {pool_mode}\nunix_socket_dir =\n",
            server.ip(),
            server.port(),
            address.ip(),
            address.port(),
            users.display()
        );
        let file = cluster.directory().join(format!("pooler-{}.ini", address.port()));
        std::fs::write(&file, configuration)?;
        let mut command = cluster.command(&program);
        command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let pooler = Self { child: command.spawn()?, address, version };
        let listening = async {
            while tokio::net::TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, listening).await.context("it does not listen")?;
        Ok(pooler)
    }

    /// Its version, major and minor.
    #[must_use]
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The URL of a database of the cluster, through this pooler.
    #[must_use]
    pub fn url_of(&self, database: &Database) -> String {
        database.url_at(&[self.address], "sslmode=disable")
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The first two numbers of a text such as `PgBouncer 1.18.0`.
fn numbers(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split_whitespace().nth(1)?.split('.').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The program, by its absolute path.
async fn find() -> anyhow::Result<String> {
    let mut which = Command::new("sh");
    which.args(["-c", "command -v pgbouncer"]);
    if let Ok(found) = run(which).await {
        return Ok(found);
    }
    if !Path::new(DEBIAN).is_file() {
        crate::packages::install(&["pgbouncer"]).await.context("no pgbouncer on this machine")?;
    }
    Ok(DEBIAN.to_owned())
}
