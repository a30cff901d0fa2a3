//! The server in a memory cgroup, and more hostile connections than it has places: it is not killed, and honest clients are served.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use super::hostile::{is_closed, resident_mib};
use crate::load::Load;
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// The memory limit of `deploy/kubernetes/deployment.yaml`.
const LIMIT_BYTES: u64 = 512 << 20;
/// As many hostile connections as the server has places, of so many sources.
const CONNECTIONS: usize = 4096;
const SOURCES: usize = 64;
/// The number of honest clients there are, and how long each waits between two requests.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(100);
/// The time that an honest request may take, of 99 in 100.
const SERVED_WITHIN: Duration = Duration::from_secs(1);
/// The number of times that an attacker looks which of its connections were closed.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The time that an attacker tries to send before it goes on with the next connection.
const SENT_WITHIN: Duration = Duration::from_secs(2);
/// The head of a request is almost as long as it may be.
const HEAD_BYTES: usize = 15 * 1024;

/// One shape of a hostile connection.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// A request that is answered, and then nothing.
    Idle,
    /// A body in chunks of one byte.
    OneByteChunks,
    /// A long head that does not end.
    Heads,
    /// A long head, and almost all of a body for which every connection has memory of its own.
    ShortBodies,
    /// A long head, and almost all of the longest body.
    LongBodies,
}

const SHAPES: [Shape; 5] = [Shape::Idle, Shape::OneByteChunks, Shape::Heads, Shape::ShortBodies, Shape::LongBodies];

pub(super) async fn of_each_shape(run: Run) -> anyhow::Result<Outcome> {
    let group = match Group::make() {
        Ok(group) => group,
        Err(why) => return Ok(Outcome::NotHere(format!("no memory cgroup can be made: {why:#}"))),
    };
    let mut trial = Trial::prepare(&Home::sqlite(), 1, run.program.as_ref());
    for launch in &mut trial.launches {
        launch.wrapper = group.wrapper();
    }
    trial.start().await;
    let each = run.pick(Duration::from_secs(4), Duration::from_secs(30));
    for shape in SHAPES {
        let seen = tried(&trial, shape, each).await.with_context(|| format!("{shape:?}\n{}", trial.story()))?;
        let killed = group.killed()?;
        anyhow::ensure!(killed == 0, "{shape:?}: the kernel killed {killed} processes for want of memory");
        anyhow::ensure!(seen.p99 < SERVED_WITHIN, "{shape:?}: {}", seen.told());
        trial.notes.push(format!("{shape:?}: {}", seen.told()));
    }
    trial.notes.push(format!("at most {} of {} MiB in the cgroup", group.peak_mib()?, LIMIT_BYTES >> 20));
    let figures = trial.end().await?;
    drop(group);
    Ok(Outcome::Held(figures))
}

/// The results of one shape.
struct Seen {
    connections: usize,
    resident_mib: f64,
    served: usize,
    p50: Duration,
    p99: Duration,
}

impl Seen {
    fn told(&self) -> String {
        let Self { connections, resident_mib, served, p50, p99 } = self;
        let (p50, p99) = (p50.as_millis(), p99.as_millis());
        format!(
            "{connections} hostile connections, {resident_mib:.0} MiB resident, {served} honest tokens, p50 {p50} ms, p99 {p99} ms"
        )
    }
}

/// Keeps as many connections of this shape open as there are places, while honest clients ask; every one of them must be served.
async fn tried(trial: &Trial, shape: Shape, length: Duration) -> anyhow::Result<Seen> {
    let server = trial.server(0);
    let address: SocketAddr = server.public().trim_start_matches("http://").parse()?;
    let bytes: Arc<[u8]> = shape.bytes().into();
    let mut attackers = JoinSet::new();
    for source in 0..SOURCES {
        let source = Ipv4Addr::new(127, 1, 0, u8::try_from(source + 1)?);
        attackers.spawn(attack(address, source, Arc::clone(&bytes), length));
    }
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(honest(Arc::clone(&trial.load), server.public().to_owned(), length));
    }
    let (begun, mut resident) = (now(), 0.0_f64);
    while begun.elapsed() < length {
        resident = resident.max(resident_mib(server.id()).context("the server has ended")?);
        tokio::time::sleep(LOOK_EVERY).await;
    }
    let connections = attackers.join_all().await.into_iter().sum();
    let served: Vec<anyhow::Result<Vec<Duration>>> = clients.join_all().await;
    let mut served: Vec<Duration> = served.into_iter().collect::<anyhow::Result<Vec<_>>>()?.concat();
    served.sort();
    let at = |percent: usize| served.get(served.len() * percent / 100).copied().context("no honest request");
    Ok(Seen { connections, resident_mib: resident, served: served.len(), p50: at(50)?, p99: at(99)? })
}

/// Asks for a token again and again; how long each took.
async fn honest(load: Arc<Load>, base: String, length: Duration) -> anyhow::Result<Vec<Duration>> {
    let (begun, mut took) = (now(), Vec::new());
    while begun.elapsed() < length {
        let asked = now();
        load.chain(&base).await.context("an honest client got no token")?;
        // A chain is two requests.
        took.extend([asked.elapsed() / 2; 2]);
        tokio::time::sleep(PACE).await;
    }
    Ok(took)
}

/// Keeps this source's share of the connections open, each with these bytes sent; how many it had at most.
async fn attack(address: SocketAddr, source: Ipv4Addr, bytes: Arc<[u8]>, length: Duration) -> usize {
    let (begun, mut held, mut most) = (now(), Vec::new(), 0);
    while begun.elapsed() < length {
        held.retain_mut(|stream| !is_closed(stream));
        while held.len() < CONNECTIONS / SOURCES && begun.elapsed() < length {
            let Ok(Ok(stream)) = tokio::time::timeout(SENT_WITHIN, open(address, source, &bytes)).await else { break };
            held.push(stream);
        }
        most = most.max(held.len());
        tokio::time::sleep(LOOK_EVERY).await;
    }
    most
}

async fn open(address: SocketAddr, source: Ipv4Addr, bytes: &[u8]) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((source, 0).into())?;
    let mut stream = socket.connect(address).await?;
    // The server may refuse before it has read all of it.
    let _refused = stream.write_all(bytes).await;
    Ok(stream)
}

impl Shape {
    fn bytes(self) -> Vec<u8> {
        let post = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n";
        let padded = |extra: &str| {
            let mut head = format!("{post}{extra}");
            for number in 0..60 {
                let name = format!("X-{number}: ");
                let value = (HEAD_BYTES - post.len()) / 60 - name.len() - 2;
                head.extend([name.as_str(), &"y".repeat(value), "\r\n"]);
            }
            head
        };
        let begun = |length: usize| {
            let head = padded(&format!("Content-Length: {length}\r\n"));
            format!("{head}\r\n{}", "x".repeat(length - 10))
        };
        let text = match self {
            Self::Idle => "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
            Self::OneByteChunks => format!("{post}Transfer-Encoding: chunked\r\n\r\n{}", "1\r\nx\r\n".repeat(64_000)),
            Self::Heads => padded(""),
            Self::ShortBodies => begun(8 * 1024),
            Self::LongBodies => begun(65_000),
        };
        text.into_bytes()
    }
}

/// A memory cgroup of our own, of either version. Removed when dropped, as far as no process is left in it.
struct Group {
    path: PathBuf,
    version: Version,
}

#[derive(Debug, Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Group {
    fn make() -> anyhow::Result<Self> {
        let [one, two] = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"].map(Path::new);
        let (parent, version, limit, swap) = if one.join("memory.limit_in_bytes").exists() {
            (one, Version::One, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes")
        } else if two.join("cgroup.controllers").exists() {
            std::fs::write(two.join("cgroup.subtree_control"), "+memory").context("the memory controller")?;
            (two, Version::Two, "memory.max", "memory.swap.max")
        } else {
            anyhow::bail!("there is no memory controller below /sys/fs/cgroup");
        };
        let group = Self { path: parent.join(format!("sts-faults-{}", std::process::id())), version };
        std::fs::create_dir(&group.path).with_context(|| format!("{} (as root?)", group.path.display()))?;
        std::fs::write(group.path.join(limit), LIMIT_BYTES.to_string()).context("the limit")?;
        // This file is absent where the kernel does not count swap.
        let swap_bytes = match version {
            Version::One => LIMIT_BYTES,
            Version::Two => 0,
        };
        let _uncounted = std::fs::write(group.path.join(swap), swap_bytes.to_string());
        Ok(group)
    }

    /// What runs a program in the group.
    fn wrapper(&self) -> Vec<String> {
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.path.display());
        ["/bin/sh", "-c", &script, "sh"].map(str::to_owned).into()
    }

    /// The number of processes the kernel killed in the group.
    fn killed(&self) -> anyhow::Result<u64> {
        let name = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        let text = std::fs::read_to_string(self.path.join(name))?;
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        Ok(line.context("oom_kill")?.trim().parse()?)
    }

    /// The most memory that was charged to the group.
    fn peak_mib(&self) -> anyhow::Result<u64> {
        let name = match self.version {
            Version::One => "memory.max_usage_in_bytes",
            Version::Two => "memory.peak",
        };
        Ok(std::fs::read_to_string(self.path.join(name))?.trim().parse::<u64>()? >> 20)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir(&self.path) {
            eprintln!("{} is left behind: {error}", self.path.display());
        }
    }
}
