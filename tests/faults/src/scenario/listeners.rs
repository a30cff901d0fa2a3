//! Servers that are told to end, and clients that are slow, or too many.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use sts_tests::postgres;
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::CLIENTS;
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// How many tokens come before and after a fault.
const CALM: usize = 60;
/// The longest that anything may take that must happen.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Servers are told to end and are started again, in turn, as a rolling restart does: nothing is cut short, and no request fails.
pub(super) async fn drain(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
    trial.options(&[("LISTEN__DRAIN_DELAY", "1s")]);
    trial.load.retry_elsewhere();
    trial.begin(CLIENTS).await;
    for slot in [0, 1].repeat(run.pick(1, 10)) {
        trial.tokens(CALM).await?;
        anyhow::ensure!(trial.take(slot).end().await == Some(0), "it does not end in order");
        trial.start().await;
        trial.recover().await?;
    }
    trial.tokens(CALM).await?;
    let counts = trial.load.tally.counts();
    anyhow::ensure!(counts.truncated == 0, "{} answers were cut short", counts.truncated);
    Ok(Outcome::Held(trial.end().await?))
}

/// How long heads and bodies may take here, in seconds.
const SLOWEST: u64 = 2;

/// Connections that send a byte now and then: they are closed in time, and others are served as ever.
pub(super) async fn slowloris_sqlite(run: Run) -> anyhow::Result<Outcome> {
    slowloris(run, &Home::sqlite()).await
}

pub(super) async fn slowloris_postgres(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    slowloris(run, &Home::at(database.url())).await
}

async fn slowloris(run: Run, home: &Home) -> anyhow::Result<Outcome> {
    let mut trial = Trial::prepare(home, 1, run.program.as_ref());
    let slowest = format!("{SLOWEST}s");
    trial.options(&[("LIMITS__HEADER_TIMEOUT", &slowest), ("LIMITS__BODY_TIMEOUT", &slowest)]);
    trial.begin(CLIENTS).await;
    trial.tokens(CALM).await?;
    let address = address(&trial);
    let mut slow = JoinSet::new();
    for number in 0..run.pick(100, 600) {
        let head = if number % 2 == 0 { "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nX-A: " } else { BODY };
        slow.spawn(dribble(address.clone(), head));
    }
    let mut longest = Duration::ZERO;
    while let Some(closed) = slow.join_next().await {
        longest = longest.max(closed??);
    }
    anyhow::ensure!(longest < Duration::from_secs(10 * SLOWEST), "a slow connection was open for {longest:?}");
    trial.tokens(CALM).await?;
    trial.notes.push(format!("the slowest of them was closed after {} ms", longest.as_millis()));
    Ok(Outcome::Held(trial.end().await?))
}

const BODY: &str = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                    Content-Length: 1000\r\n\r\n";

/// Sends the beginning of a request and then a byte each half second, until the server closes; how long that took.
async fn dribble(address: String, head: &'static str) -> anyhow::Result<Duration> {
    let begun = now();
    let mut stream = TcpStream::connect(address).await?;
    let dribbled = async {
        let (mut read, mut write) = stream.split();
        let listen = async { while read.read(&mut [0; 512]).await.is_ok_and(|bytes| bytes > 0) {} };
        tokio::select! {
            _broken = talk(&mut write, head) => {}
            () = listen => {}
        }
    };
    tokio::time::timeout(PATIENCE, dribbled).await.context("a slow connection is never closed")?;
    Ok(begun.elapsed())
}

async fn talk(write: &mut (impl AsyncWrite + Unpin), head: &str) -> std::io::Result<Infallible> {
    write.write_all(head.as_bytes()).await?;
    loop {
        write.write_all(b"a").await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn address(trial: &Trial) -> String {
    trial.server(0).public().trim_start_matches("http://").to_owned()
}

const DESCRIPTORS: u32 = 128;
const FLOOD: usize = 300;
/// How often a flood is told in the log at most.
const MOST_TOLD: usize = 8;
/// For how long the use of the processor is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// Clock ticks of the system in a second, in `/proc/PID/stat`.
const TICKS: u64 = 100;

/// More connections than the system has descriptors for: the server backs off, goes on with those it has, and recovers.
pub(super) async fn descriptors_sqlite(run: Run) -> anyhow::Result<Outcome> {
    descriptors(run, &Home::sqlite()).await
}

pub(super) async fn descriptors_postgres(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    descriptors(run, &Home::at(database.url())).await
}

async fn descriptors(run: Run, home: &Home) -> anyhow::Result<Outcome> {
    let mut trial = Trial::prepare(home, 1, run.program.as_ref());
    // The flood is not to go away by itself while it is looked at.
    trial.options(&[("LIMITS__HEADER_TIMEOUT", "5m")]);
    trial.launches[0] = trial.launches[0].clone().descriptors(DESCRIPTORS);
    trial.start().await;
    let flooded = flood(&trial).await?;
    let before = ticks(trial.server(0).id())?;
    tokio::time::sleep(MEASURED).await;
    let used = ticks(trial.server(0).id())? - before;
    anyhow::ensure!(used < MEASURED.as_secs() * TICKS / 4, "it spins: {used} of {} ticks", MEASURED.as_secs() * TICKS);
    trial.notes.push(format!("{used} of {} ticks of the processor while it starves", MEASURED.as_secs() * TICKS));
    drop(flooded);
    trial.recover().await?;

    trial.ask(CLIENTS, None);
    for _ in 0..run.pick(1, 5) {
        trial.tokens(CALM).await?;
        trial.load.storm();
        let flooded = flood(&trial).await?;
        // Connections that are open are served meanwhile.
        trial.tokens(CALM).await?;
        drop(flooded);
        trial.recover().await?;
    }
    trial.tokens(CALM).await?;
    Ok(Outcome::Held(trial.end().await?))
}

/// Connects until the server says that it cannot accept.
async fn flood(trial: &Trial) -> anyhow::Result<Vec<TcpStream>> {
    let told = || trial.server(0).log().matches("failed to accept connections").count();
    let (before, address) = (told(), address(trial));
    let mut flood = Vec::new();
    for _ in 0..FLOOD {
        // What the system's queue does not hold either is refused or waits; both are a flood.
        let connected = tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(&address)).await;
        flood.extend(connected.ok().and_then(Result::ok));
    }
    let starved = async {
        while told() == before {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    let starved = tokio::time::timeout(PATIENCE, starved).await;
    starved.with_context(|| format!("{} connections are no flood", flood.len()))?;
    let times = told() - before;
    // A descriptor may be free for a moment now and then; it tries twenty times a second.
    anyhow::ensure!(times <= MOST_TOLD, "it is told each time: {times} times");
    Ok(flood)
}

/// The processor time that a process has used, in user and kernel mode (proc(5)).
fn ticks(id: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("a name in parentheses")?;
    // Behind the name, the state is the first field; utime and stime are the 12th and the 13th.
    fields.split_whitespace().skip(11).take(2).map(|field| Ok(field.parse::<u64>()?)).sum()
}
