//! Two PostgreSQL servers under Patroni, with etcd: the leader is killed under load.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};

use super::CLIENTS;
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

const CALM: usize = 60;
/// The folder of the programs of PostgreSQL in Debian.
const BINARIES: &str = "/usr/lib/postgresql";
/// The longest until the cluster is there.
const STARTED_WITHIN: Duration = Duration::from_secs(90);
/// The longest from the kill of the leader until all servers issue.
const SERVED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// A node: Patroni, and the PostgreSQL server that it runs.
struct Node {
    patroni: Child,
    data: PathBuf,
    api: u16,
    database: u16,
}

/// Both nodes and their etcd, in a folder of their own.
struct Patroni {
    nodes: Vec<Node>,
    etcd: Child,
    _folder: tempfile::TempDir,
    http: reqwest::Client,
}

pub(super) async fn leader_killed(run: Run) -> anyhow::Result<Outcome> {
    if let Some(why) = missing()? {
        return Ok(Outcome::NotHere(why.to_owned()));
    }
    let mut patroni = Patroni::start().await?;
    let leader = patroni.led().await?;
    let mut administrator = PgConnection::connect(&patroni.url(&[leader], "postgres")).await?;
    sqlx::raw_sql("CREATE DATABASE sts").execute(&mut administrator).await?;
    administrator.close().await?;

    let hosts: Vec<usize> = (0..patroni.nodes.len()).collect();
    let url = format!("{}?target_session_attrs=read-write", patroni.url(&hosts, "sts"));
    let mut trial = Trial::prepare(&Home { url: url.clone(), behind: None }, 3, run.program.as_ref());
    trial.begin(CLIENTS).await;
    trial.tokens(run.pick(CALM, 1_000)).await?;
    trial.load.storm();
    let begun = now();
    patroni.nodes[leader].kill()?;
    let new_leader = patroni.led_by_another_than(leader).await?;
    let elected = begun.elapsed();
    trial.behind(&patroni.url(&[new_leader], "sts"));
    trial.recover().await?;
    let served = begun.elapsed();
    anyhow::ensure!(served < SERVED_WITHIN, "served again after {served:?}");
    trial.tokens(CALM).await?;
    trial.notes.push(format!(
        "a new leader {} ms, and all servers issuing {} ms after the kill",
        elected.as_millis(),
        served.as_millis()
    ));
    Ok(Outcome::Held(trial.end().await?))
}

/// The reason why this machine cannot run it, if any.
fn missing() -> anyhow::Result<Option<&'static str>> {
    if std::fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(Some("only root can run Patroni as the user postgres"));
    }
    let are_there = ["/usr/bin/patroni", "/usr/bin/etcd", BINARIES].into_iter().all(|path| Path::new(path).exists());
    Ok((!are_there).then_some("it needs the packages patroni, python3-etcd, etcd-server and postgresql"))
}

impl Patroni {
    async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path();
        let user = id("-u")?;
        chown(path, Some(user), Some(id("-g")?))?;
        let [client, peer] = [free_port()?, free_port()?];
        let etcd = as_postgres("/usr/bin/etcd", path)
            .arg(format!("--data-dir={}", path.join("etcd").display()))
            .arg(format!("--listen-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--advertise-client-urls=http://127.0.0.1:{client}"))
            .arg(format!("--listen-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"))
            .arg(format!("--initial-cluster=default=http://127.0.0.1:{peer}"))
            .spawn()
            .context("etcd")?;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
        let mut patroni = Self { nodes: Vec::new(), etcd, _folder: folder, http };
        for name in ["one", "two"] {
            let node = Node::start(patroni._folder.path(), name, client)?;
            patroni.nodes.push(node);
            // The first node makes the cluster, and the second one follows.
            patroni.led().await?;
        }
        let begun = now();
        while !patroni.has_synchronous_standby().await {
            patroni.look_again(begun).await?;
        }
        Ok(patroni)
    }

    /// The URL of a database at these nodes.
    fn url(&self, nodes: &[usize], database: &str) -> String {
        let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", self.nodes[*node].database)).collect();
        format!("postgres://postgres@{}/{database}", hosts.join(","))
    }

    /// Waits for a leader. Returns the index of its node.
    async fn led(&self) -> anyhow::Result<usize> {
        self.led_by_another_than(usize::MAX).await
    }

    async fn led_by_another_than(&self, former: usize) -> anyhow::Result<usize> {
        let begun = now();
        loop {
            if let Some(leader) = self.leader(former).await {
                return Ok(leader);
            }
            self.look_again(begun).await?;
        }
    }

    async fn leader(&self, former: usize) -> Option<usize> {
        for (index, node) in self.nodes.iter().enumerate() {
            if index == former {
                continue;
            }
            let answer = self.http.get(format!("http://127.0.0.1:{}/primary", node.api)).send().await;
            if answer.is_ok_and(|answer| answer.status() == 200) {
                return Some(index);
            }
        }
        None
    }

    async fn has_synchronous_standby(&self) -> bool {
        let Ok(answer) = self.http.get(format!("http://127.0.0.1:{}/cluster", self.nodes[0].api)).send().await else {
            return false;
        };
        let cluster: Value = answer.json().await.unwrap_or_default();
        let members = cluster["members"].as_array().cloned().unwrap_or_default();
        members.iter().any(|member| member["role"] == "sync_standby")
    }

    async fn look_again(&self, begun: Instant) -> anyhow::Result<()> {
        anyhow::ensure!(begun.elapsed() < STARTED_WITHIN, "Patroni takes too long");
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(())
    }
}

impl Node {
    fn start(folder: &Path, name: &str, etcd: u16) -> anyhow::Result<Self> {
        let [api, database] = [free_port()?, free_port()?];
        let data = folder.join(name);
        let file = folder.join(format!("{name}.yaml"));
        std::fs::write(&file, configuration(name, [api, database, etcd], &data)?)?;
        let log = std::fs::File::create(folder.join(format!("{name}.log")))?;
        let mut patroni = as_postgres("/usr/bin/patroni", folder);
        patroni.arg(&file).stdout(log.try_clone()?).stderr(log);
        Ok(Self { patroni: patroni.spawn().context("patroni")?, data, api, database })
    }

    /// Kills Patroni and its PostgreSQL server (SIGKILL), as a lost machine would.
    fn kill(&mut self) -> anyhow::Result<()> {
        self.patroni.kill()?;
        self.patroni.wait()?;
        if let Some(postmaster) = self.postmaster() {
            run(Command::new("kill").args(["-KILL", &postmaster]))?;
            // Its id may soon be that of another process.
            std::fs::remove_file(self.data.join("postmaster.pid"))?;
        }
        Ok(())
    }

    fn postmaster(&self) -> Option<String> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid")).ok()?;
        Some(file.lines().next()?.trim().to_owned())
    }
}

impl Drop for Patroni {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            // What ended already is ended.
            let _ended = node.kill();
        }
        let _ended = self.etcd.kill();
        let _reaped = self.etcd.wait();
    }
}

fn configuration(name: &str, [api, database, etcd]: [u16; 3], data: &Path) -> anyhow::Result<String> {
    let mut versions: Vec<PathBuf> =
        std::fs::read_dir(BINARIES)?.map(|version| Ok(version?.path().join("bin"))).collect::<std::io::Result<_>>()?;
    versions.sort();
    let binaries = versions.pop().context("the programs of PostgreSQL")?;
    Ok(format!(
        "scope: sts
name: {name}
restapi: {{ listen: '127.0.0.1:{api}', connect_address: '127.0.0.1:{api}' }}
etcd3: {{ host: '127.0.0.1:{etcd}' }}
bootstrap:
  dcs: {{ ttl: 20, loop_wait: 5, retry_timeout: 5, synchronous_mode: true, postgresql: {{ parameters: {{ max_connections: 200 }} }} }}
  initdb: [encoding: UTF8, data-checksums]
  pg_hba: ['host all all 127.0.0.1/32 trust', 'host replication all 127.0.0.1/32 trust']
postgresql:
  listen: '127.0.0.1:{database}'
  connect_address: '127.0.0.1:{database}'
  data_dir: {}
  bin_dir: {}
  authentication: {{ superuser: {{ username: postgres }}, replication: {{ username: postgres }} }}
  parameters: {{ unix_socket_directories: '' }}
",
        data.display(),
        binaries.display()
    ))
}

/// A program that runs as the user `postgres`, in this folder, and prints nothing here.
fn as_postgres(program: &str, folder: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups", "--", program]).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn id(what: &str) -> anyhow::Result<u32> {
    Ok(run(Command::new("id").args([what, "postgres"]))?.parse()?)
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output()?;
    anyhow::ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}
