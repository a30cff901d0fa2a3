//! A throw-away cluster of the machine's own `PostgreSQL` binaries.

use std::ffi::OsString;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, bail};
use url::Url;

use super::Database;
use super::process::{Afterwards, run};

/// Where Debian and its children put the binaries: one folder for each version.
const DEBIAN_VERSIONS: &str = "/usr/lib/postgresql";
/// The programs without which a folder is not one of `PostgreSQL`.
const PROGRAMS: [&str; 3] = ["initdb", "pg_ctl", "postgres"];
/// How often a port is tried: another process may take it between our finding and our using it.
const PORT_ATTEMPTS: u32 = 5;
/// How long killed processes may take to be gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// Stops the server in the data directory `$2` with the `pg_ctl` at `$1`, and removes everything under `$3`.
const REMOVE: &str = r#""$1" stop --pgdata="$2" --mode=immediate --silent; rm -rf "$3""#;

/// A server of its own, which a test may stop, kill and start again; removed with this value, or when the process ends. It keeps what
/// it acknowledges: `fsync` is on.
#[derive(Debug)]
pub struct Cluster {
    binaries: PathBuf,
    version: String,
    owner: Owner,
    directory: PathBuf,
    server_url: Url,
    _removal: Afterwards,
}

impl Cluster {
    /// Makes and starts one.
    ///
    /// # Panics
    ///
    /// When the machine has no binaries of `PostgreSQL` and they cannot be installed.
    pub async fn start() -> Self {
        Self::start_in(&std::env::temp_dir()).await
    }

    /// Makes and starts one whose files are in a folder of this one.
    ///
    /// # Panics
    ///
    /// As [`Cluster::start`].
    pub async fn start_in(parent: &Path) -> Self {
        match Self::launch(parent).await {
            Ok(cluster) => cluster,
            Err(reason) => panic!("this test needs the binaries of PostgreSQL (package \"postgresql\"): {reason:#}"),
        }
    }

    pub(super) async fn launch(parent: &Path) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(parent).await?;
        let mut initdb = cluster.command("initdb");
        initdb.arg("--pgdata").arg(cluster.directory.join("data")).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        run(initdb).await?;
        cluster.start_on_some_port().await?;
        Ok(cluster)
    }

    /// Makes a hot standby of this server by `pg_basebackup`, and starts it. It follows asynchronously, through `upstream`.
    ///
    /// # Panics
    ///
    /// When the backup fails, or the standby does not start.
    pub async fn standby(&self, upstream: SocketAddr) -> Self {
        Self::launch_standby(upstream).await.expect("a standby of the test's own PostgreSQL server")
    }

    async fn launch_standby(upstream: SocketAddr) -> anyhow::Result<Self> {
        let mut cluster = Self::prepare(&std::env::temp_dir()).await?;
        let mut backup = cluster.command("pg_basebackup");
        backup.arg("--pgdata").arg(cluster.directory.join("data"));
        backup.arg(format!("--host={}", upstream.ip())).arg(format!("--port={}", upstream.port())).args([
            "--username=postgres",
            "--no-password",
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]);
        run(backup).await?;
        cluster.start_on_some_port().await?;
        Ok(cluster)
    }

    /// Promotes this standby, and returns when it takes writes.
    ///
    /// # Panics
    ///
    /// When it is no standby that runs.
    pub async fn promote(&self) {
        run(self.pg_ctl(&["promote", "--wait"])).await.expect("the standby is promoted");
    }

    /// The folder and the programs of a server that has no data yet.
    async fn prepare(parent: &Path) -> anyhow::Result<Self> {
        let binaries = match find_binaries() {
            Some(binaries) => binaries,
            None => install().await?,
        };
        let mut version = Command::new(binaries.join("postgres"));
        version.arg("--version");
        let version = run(version).await?;

        let directory = tempfile::Builder::new().prefix("sts-postgres-").tempdir_in(parent)?.keep();
        let owner = Owner::of_cluster(&directory).await?;
        let data = directory.join("data");
        let removal = Afterwards::run(
            owner.command("env", &directory),
            REMOVE,
            &[binaries.join("pg_ctl").as_os_str(), data.as_os_str(), directory.as_os_str()],
        )?;
        let nowhere = Url::parse("postgres://postgres@127.0.0.1/postgres")?;
        Ok(Self { binaries, version, owner, directory, server_url: nowhere, _removal: removal })
    }

    /// What `postgres --version` says.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn server_url(&self) -> &Url {
        &self.server_url
    }

    /// The URL of the copy of another server's database, on a standby of that server.
    #[must_use]
    pub fn url_of_copy(&self, database: &Database) -> Url {
        let mut url = self.server_url.clone();
        url.set_path(&database.name);
        url
    }

    /// Where it listens.
    ///
    /// # Panics
    ///
    /// When it was never started.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        let addresses = self.server_url.socket_addrs(|| None).expect("an address");
        addresses[0]
    }

    /// Does something as the administrator of the server.
    ///
    /// # Panics
    ///
    /// When the server refuses it.
    pub async fn execute(&self, statement: &str) {
        super::administer(&self.server_url, statement.to_owned()).await.expect("the administrator may do all");
    }

    /// Lets this role in with its password alone, from now on.
    ///
    /// # Panics
    ///
    /// When the server does not run.
    pub async fn require_password_of(&self, role: &str) {
        let rules =
            format!("host all {role} 127.0.0.1/32 scram-sha-256\nhost all,replication postgres 127.0.0.1/32 trust\n");
        std::fs::write(self.directory.join("data/pg_hba.conf"), rules).expect("the rules of the server");
        self.execute("SELECT pg_reload_conf()").await;
    }

    /// A fresh, empty database of this server.
    ///
    /// # Panics
    ///
    /// When the server is stopped.
    pub async fn database(&self) -> Database {
        Database::create(&self.server_url).await.expect("a database on the test's own PostgreSQL server")
    }

    /// Stops the server as a crash would: nothing is written any more, clients are cut off.
    ///
    /// # Panics
    ///
    /// When it was stopped already.
    pub async fn stop_immediate(&self) {
        run(self.pg_ctl(&["stop", "--mode=immediate"])).await.expect("the server stops");
    }

    /// Kills the server and all of its processes (SIGKILL), as a power cut would.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub async fn kill(&self) {
        // Standing still, it begets no more of them.
        self.suspend().await;
        let processes = self.processes();
        self.signal("KILL").await;
        let gone = async {
            while processes.iter().any(|id| is_alive(*id)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("they are gone");
        // After a power cut no process has its number. Here one may wait to be reaped, and would be taken for the server.
        std::fs::remove_file(self.directory.join("data/postmaster.pid")).expect("it was there");
    }

    /// Stops all processes of the server where they are (SIGSTOP): it is there and answers nothing.
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub async fn suspend(&self) {
        self.signal("STOP").await;
    }

    /// Lets the server go on after [`Cluster::suspend`].
    ///
    /// # Panics
    ///
    /// When it does not run.
    pub async fn resume(&self) {
        self.signal("CONT").await;
    }

    /// The processes of the server, the postmaster first; none when it does not run.
    #[must_use]
    pub fn processes(&self) -> Vec<u32> {
        let file = std::fs::read_to_string(self.directory.join("data/postmaster.pid")).unwrap_or_default();
        let Some(postmaster) = file.lines().next().and_then(|line| line.trim().parse::<u32>().ok()) else {
            return Vec::new();
        };
        let children = std::fs::read_to_string(format!("/proc/{postmaster}/task/{postmaster}/children"));
        let children = children.unwrap_or_default();
        [postmaster].into_iter().chain(children.split_whitespace().filter_map(|id| id.parse().ok())).collect()
    }

    async fn signal(&self, name: &str) {
        let mut kill = Command::new("kill");
        kill.arg(format!("-{name}")).args(self.processes().iter().map(ToString::to_string));
        // A process that has ended meanwhile is reported, and the others have the signal all the same.
        let _some_may_be_gone = run(kill).await;
    }

    /// Stops the server in order; clients are told and cut off.
    ///
    /// # Panics
    ///
    /// When it was stopped already.
    pub async fn stop_fast(&self) {
        run(self.pg_ctl(&["stop", "--mode=fast"])).await.expect("the server stops");
    }

    /// Starts the server after a stop, at the same address.
    ///
    /// # Panics
    ///
    /// When it does not start.
    pub async fn start_again(&self) {
        self.start_on(self.server_url.port().expect("a port")).await.expect("the server starts again");
    }

    /// Stops the server in order and starts it again.
    ///
    /// # Panics
    ///
    /// When it was stopped already, or does not start.
    pub async fn restart(&self) {
        self.stop_fast().await;
        self.start_again().await;
    }

    async fn start_on_some_port(&mut self) -> anyhow::Result<()> {
        let mut attempts = PORT_ATTEMPTS;
        loop {
            attempts -= 1;
            let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
            match self.start_on(port).await {
                Ok(()) => {
                    self.server_url = Url::parse(&format!("postgres://postgres@127.0.0.1:{port}/postgres"))?;
                    return Ok(());
                }
                Err(reason) if attempts == 0 => return Err(reason),
                Err(_) => {}
            }
        }
    }

    async fn start_on(&self, port: u16) -> anyhow::Result<()> {
        let log = self.directory.join("log");
        let mut command = self.pg_ctl(&["start", "--wait"]);
        // The log file also keeps the server from holding our pipe open.
        command
            .arg("--log")
            .arg(&log)
            .arg("--options")
            .arg(format!("-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c max_connections=200"));
        if let Err(reason) = run(command).await {
            let log = std::fs::read_to_string(log).unwrap_or_default();
            bail!("{reason:#}\n{log}");
        }
        Ok(())
    }

    /// The folder of its files.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// A program that runs as the user of the server: one of its own, or one at an absolute path.
    pub(super) fn command(&self, program: &str) -> Command {
        self.owner.command(self.binaries.join(program), &self.directory)
    }

    fn pg_ctl(&self, arguments: &[&str]) -> Command {
        let mut command = self.command("pg_ctl");
        command.args(arguments).arg("--silent").arg("--pgdata").arg(self.directory.join("data"));
        command
    }
}

/// Whether a process runs: neither gone nor waiting to be reaped.
fn is_alive(id: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z'))
}

/// Who runs the server: it refuses to run as root.
#[derive(Debug)]
enum Owner {
    /// The user who runs the tests.
    Ourselves,
    /// The user `postgres`, whom root becomes through one of the programs that do so: the program and its arguments.
    Postgres(Vec<OsString>),
}

impl Owner {
    /// Finds out, and gives the directory to whoever it is.
    async fn of_cluster(directory: &Path) -> anyhow::Result<Self> {
        if std::fs::metadata(directory)?.uid() != 0 {
            return Ok(Self::Ourselves);
        }
        let user = run(id("-u")).await.context("there is no user postgres to run the server as")?.parse()?;
        let group = run(id("-g")).await?.parse()?;
        std::os::unix::fs::chown(directory, Some(user), Some(group))?;
        let ways: [&[&str]; 2] = [
            &["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"],
            &["runuser", "-u", "postgres", "--"],
        ];
        for way in ways {
            let way: Vec<OsString> = way.iter().map(OsString::from).collect();
            let owner = Self::Postgres(way);
            if run(owner.command("true", directory)).await.is_ok() {
                return Ok(owner);
            }
        }
        bail!("neither setpriv nor runuser can become the user postgres")
    }

    fn command(&self, program: impl Into<OsString>, directory: &Path) -> Command {
        let program = program.into();
        let mut command = match self {
            Self::Ourselves => Command::new(program),
            Self::Postgres(way) => {
                let mut command = Command::new(&way[0]);
                command.args(&way[1..]).arg(program);
                command
            }
        };
        // The present directory may be closed to that user.
        command.current_dir(directory);
        command
    }
}

fn id(what: &str) -> Command {
    let mut command = Command::new("id");
    command.args([what, "postgres"]);
    command
}

fn find_binaries() -> Option<PathBuf> {
    let path = path_folders().into_iter().filter_map(|folder| {
        // Through a symbolic link, the folder where the other programs are too.
        let pg_ctl = folder.join("pg_ctl").canonicalize().ok()?;
        pg_ctl.parent().map(Path::to_path_buf)
    });
    path.chain(debian_folders()).find(|folder| PROGRAMS.iter().all(|program| folder.join(program).is_file()))
}

#[expect(clippy::disallowed_methods, reason = "no configuration stands between a test run and its environment")]
fn path_folders() -> Vec<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    std::env::split_paths(&path).collect()
}

/// The folders of all versions, the newest first.
fn debian_folders() -> Vec<PathBuf> {
    let Ok(versions) = std::fs::read_dir(DEBIAN_VERSIONS) else {
        return Vec::new();
    };
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|version| {
            let version = version.ok()?;
            let number = version.file_name().to_str()?.parse().ok()?;
            Some((number, version.path().join("bin")))
        })
        .collect();
    versions.sort();
    versions.into_iter().rev().map(|(_, folder)| folder).collect()
}

/// Installs the package where that is possible: as root on Debian and its children.
async fn install() -> anyhow::Result<PathBuf> {
    crate::packages::install(&["postgresql"]).await.context("no binaries of PostgreSQL on this machine")?;
    find_binaries().context("the package \"postgresql\" holds no server")
}
