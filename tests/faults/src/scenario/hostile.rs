//! Half an hour of clients that mean ill, beside those that mean well: the memory of the server stays flat.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use sts_tests::postgres;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

use crate::load::Load;
use crate::shop::{Bad, Form, Shop, random};
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// How many clients mean well, and how long each waits between two requests.
const CLIENTS: usize = 8;
const PACE: Duration = Duration::from_millis(150);
/// How long an attacker waits between two attempts.
const ATTACK_EVERY: Duration = Duration::from_millis(50);
/// How many connections one flood opens.
const FLOOD: usize = 200;
const FLOOD_EVERY: Duration = Duration::from_secs(15);
/// The number of connections one attacker keeps alive: more than one source may have.
const KEPT_ALIVE: usize = 300;
const KEPT_ALIVE_EVERY: Duration = Duration::from_secs(2);
const SAMPLE_EVERY: Duration = Duration::from_secs(5);
/// How much the memory may grow from the end of the first third on, in MiB: less than an hour of it would fill anything.
const MAY_GROW_MIB: f64 = 8.0;
/// The lines that the server may log in a second about requests it cannot serve.
const MAX_LINES_A_SECOND: f64 = 1.0;
/// How many points of the curve are told.
const TOLD: usize = 11;

/// One kind of attack. Each comes from an address of its own: what limits a source is not to hide the others.
#[derive(Debug, Clone, Copy)]
enum Attack {
    /// What a client may send, and be refused.
    Refused,
    /// Bodies of bytes that are no form, or too large a one.
    Malformed,
    /// Subject tokens of any bytes.
    Garbage,
    /// A new agent's name and a new secret each time.
    MadeUpAgents,
    /// A new correlation id, path and header each time.
    Labels,
    /// Heads and bodies that never end.
    Slow,
    /// Many connections at once, on which nothing comes.
    Flood,
    /// Bodies in chunks of one byte.
    Chunks,
    /// A registered agent asks for scopes of 60 KB: one, or thousands.
    LongScopes,
    /// Wrong secrets of a registered agent, without pause.
    WrongSecrets,
    /// More connections than a source may have, each kept alive by a request now and then.
    KeptAlive,
    /// Tokens of an issuer whose keys cannot be fetched: each is an outage, and none may fill the log.
    SilentIssuer,
}

const ATTACKS: [Attack; 12] = [
    Attack::Refused,
    Attack::Malformed,
    Attack::Garbage,
    Attack::MadeUpAgents,
    Attack::Labels,
    Attack::Slow,
    Attack::Flood,
    Attack::Chunks,
    Attack::LongScopes,
    Attack::WrongSecrets,
    Attack::KeptAlive,
    Attack::SilentIssuer,
];

pub(super) async fn load(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 1, run.program.as_ref());
    // The tokens of the first minutes are dead and deleted before the end, as in a service that has run for long.
    trial.folder.write("registry.toml", &(trial.load.shop.registry() + Shop::silent_workload()));
    trial.options(&[("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "1000"), ("LIMITS__MAX_TTL", "2m")]);
    trial.start().await;
    trial.ask(CLIENTS, Some(PACE));
    let attempts = Arc::new(AtomicU64::new(0));
    for (number, attack) in (2_u8..).zip(ATTACKS) {
        let attacker = Attacker {
            load: Arc::clone(&trial.load),
            base: trial.server(0).public().to_owned(),
            source: IpAddr::V4(Ipv4Addr::new(127, 0, 0, number)),
            attempts: Arc::clone(&attempts),
        };
        trial.beside(attacker.run(attack));
    }
    let length = Duration::from_secs_f64(run.minutes.max(0.2) * 60.0);
    let memory = sample(&trial, length).await?;
    let attempts = attempts.load(Ordering::Relaxed);
    trial.notes.push(format!("{attempts} hostile attempts; {}", memory.told()));
    memory.is_flat()?;
    log_is_quiet(&trial, length)?;
    Ok(Outcome::Held(trial.end().await?))
}

/// The log has a bounded number of lines about requests that could not be served.
fn log_is_quiet(trial: &Trial, length: Duration) -> anyhow::Result<()> {
    let log = trial.server(0).log();
    let lines = log.lines().filter(|line| line.contains("could not be served")).count();
    anyhow::ensure!(lines > 0, "no request met the issuer whose keys are out of reach");
    let allowed = length.as_secs_f64() * MAX_LINES_A_SECOND;
    anyhow::ensure!((lines as f64) <= allowed, "{lines} lines about requests that could not be served");
    Ok(())
}

/// What the memory of a server was, in MiB, one after the other.
struct Memory(Vec<f64>);

async fn sample(trial: &Trial, length: Duration) -> anyhow::Result<Memory> {
    let (begun, mut memory) = (now(), Vec::new());
    while begun.elapsed() < length {
        memory.push(resident_mib(trial.server(0).id())?);
        let breaches = trial.load.breaches();
        anyhow::ensure!(breaches.is_empty(), "{}\n{}", breaches.join("\n"), trial.story());
        tokio::time::sleep(SAMPLE_EVERY).await;
    }
    Ok(Memory(memory))
}

impl Memory {
    /// From the end of the first third on.
    fn settled(&self) -> &[f64] {
        &self.0[self.0.len() / 3..]
    }

    /// By how much it grows in a minute, by least squares, from the end of the first third on.
    fn slope(&self) -> f64 {
        let minutes = |sample: usize| SAMPLE_EVERY.as_secs_f64() / 60.0 * sample as f64;
        let points = || self.settled().iter().enumerate().map(|(at, mib)| (minutes(at), *mib));
        let count = points().count() as f64;
        let (x, y) = points().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
        let (above, below) = points().fold((0.0, 0.0), |(above, below), point| {
            (above + (point.0 - x) * (point.1 - y), below + (point.0 - x).powi(2))
        });
        if below > 0.0 { above / below } else { 0.0 }
    }

    fn told(&self) -> String {
        let step = (self.0.len() / (TOLD - 1)).max(1);
        let told: Vec<String> = self.0.iter().step_by(step).map(|mib| format!("{mib:.1}")).collect();
        format!(
            "memory of the server every {} s: {} MiB; slope of the last two thirds {:+.3} MiB a minute",
            step as u64 * SAMPLE_EVERY.as_secs(),
            told.join(", "),
            self.slope()
        )
    }

    fn is_flat(&self) -> anyhow::Result<()> {
        let settled = self.settled();
        let minutes = SAMPLE_EVERY.as_secs_f64() / 60.0 * settled.len() as f64;
        let growth = self.slope() * minutes;
        anyhow::ensure!(growth < MAY_GROW_MIB, "the memory grows by {growth:.1} MiB: {}", self.told());
        Ok(())
    }
}

/// What a process has in memory, in MiB (proc(5)).
pub(super) fn resident_mib(id: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024.0)
}

struct Attacker {
    load: Arc<Load>,
    base: String,
    source: IpAddr,
    attempts: Arc<AtomicU64>,
}

impl Attacker {
    async fn run(self, attack: Attack) {
        let mut held = Vec::new();
        let mut turn = 0;
        while !self.load.is_over() {
            turn += 1;
            let pause = match attack {
                Attack::Flood => FLOOD_EVERY,
                Attack::KeptAlive => KEPT_ALIVE_EVERY,
                _ => ATTACK_EVERY,
            };
            match attack {
                Attack::Refused => self.send(&self.load.shop.bad(Bad::ALL[turn % Bad::ALL.len()])).await,
                Attack::Malformed => self.malformed(turn).await,
                Attack::Garbage => self.send(&self.garbage(turn)).await,
                Attack::MadeUpAgents => self.made_up(turn).await,
                Attack::Labels => self.labels().await,
                Attack::Slow | Attack::Flood => self.hold(attack, turn, &mut held).await,
                Attack::Chunks => self.chunks().await,
                Attack::LongScopes => self.send(&self.long_scope(turn)).await,
                Attack::WrongSecrets => self.wrong_secret(turn).await,
                Attack::KeptAlive => self.keep_alive(&mut held).await,
                Attack::SilentIssuer => self.unverifiable().await,
            }
            tokio::time::sleep(pause).await;
        }
    }

    fn http(&self) -> reqwest::RequestBuilder {
        self.client().post(format!("{}/oauth2/token", self.base))
    }

    /// A client of this source, with connections of its own: attackers keep none.
    fn client(&self) -> reqwest::Client {
        let builder = reqwest::Client::builder().no_proxy().local_address(self.source);
        builder.timeout(Duration::from_secs(40)).build().expect("a client without options that can fail")
    }

    /// Sends it, and takes any answer but a success.
    async fn attack(&self, request: reqwest::RequestBuilder) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if let Ok(answer) = request.send().await {
            let status = answer.status().as_u16();
            let is_refusal = (400..500).contains(&status);
            if !is_refusal {
                self.load.breach(format!("an attack was answered with {status}"));
            }
        }
    }

    async fn send(&self, form: &Form) {
        self.attack(form.put_into(self.http())).await;
    }

    async fn malformed(&self, turn: usize) {
        let bodies: [Vec<u8>; 5] = [
            vec![0xff; 1000],
            b"a=%zz&b=%0".to_vec(),
            "x=1&".repeat(1000).into_bytes(),
            vec![b'a'; 65 * 1024],
            b"grant_type=\0".to_vec(),
        ];
        let kinds = ["application/x-www-form-urlencoded", "application/json"];
        let body = bodies[turn % bodies.len()].clone();
        self.attack(self.http().header("content-type", kinds[turn % kinds.len()]).body(body)).await;
    }

    fn garbage(&self, turn: usize) -> Form {
        let tokens = ["a.b.c".to_owned(), ".".repeat(5000), "eyJhbGciOiJub25lIn0.e30.".to_owned(), "e".repeat(60_000)];
        self.load.shop.second_hop(&tokens[turn % tokens.len()])
    }

    async fn made_up(&self, turn: usize) {
        let mut form = self.load.shop.first_hop();
        form.basic = None;
        let request = form.put_into(self.http());
        self.attack(request.basic_auth(format!("agent-{turn}-{}", random()), Some(random().to_string()))).await;
    }

    /// The answer comes before the end of the body, which does not come.
    async fn chunks(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let Ok(mut stream) = self.connect().await else { return };
        let head = "POST /oauth2/token HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n\
                    Transfer-Encoding: chunked\r\n\r\n";
        let _refused = stream.write_all((head.to_owned() + &"1\r\nx\r\n".repeat(64_000)).as_bytes()).await;
        let mut answer = [0; 12];
        if stream.read_exact(&mut answer).await.is_ok() && !answer.starts_with(b"HTTP/1.1 4") {
            self.load.breach(format!("chunks were answered with {}", String::from_utf8_lossy(&answer)));
        }
    }

    fn long_scope(&self, turn: usize) -> Form {
        let scope = if turn.is_multiple_of(2) { "x".repeat(60_000) } else { "x ".repeat(15_000) };
        let mut form = self.load.shop.first_hop();
        form.parameters.push(("scope", scope));
        form
    }

    async fn wrong_secret(&self, turn: usize) {
        let mut form = self.load.shop.first_hop();
        let agent = form.basic.take().map(|(id, _)| id).unwrap_or_default();
        self.attack(form.put_into(self.http()).basic_auth(agent, Some(format!("guess-{turn}")))).await;
    }

    /// The answer is an outage, until the source has asked too often.
    async fn unverifiable(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        let Ok(answer) = self.load.shop.by_silent_workload().put_into(self.http()).send().await else { return };
        let status = answer.status().as_u16();
        if !matches!(status, 429 | 503) {
            self.load.breach(format!("a token that cannot be verified was answered with {status}"));
        }
    }

    async fn keep_alive(&self, held: &mut Vec<TcpStream>) {
        held.retain_mut(|stream| !is_closed(stream));
        while held.len() < KEPT_ALIVE {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            let Ok(stream) = self.connect().await else { break };
            held.push(stream);
        }
        for stream in held {
            let _closed = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await;
        }
    }

    async fn labels(&self) {
        let name = random();
        let request = self.client().post(format!("{}/oauth2/{name:x}", self.base));
        self.attack(request.header("x-correlation-id", name.to_string()).header(format!("x-{name:x}"), "1").body("x"))
            .await;
    }

    /// Opens connections and leaves them; the server closes them in its time.
    async fn hold(&self, attack: Attack, turn: usize, held: &mut Vec<TcpStream>) {
        let (count, begun) = match attack {
            Attack::Flood => (FLOOD, ""),
            _ => (1, ["POST /oauth2/token HTTP/1.1\r\nHost: x\r\nX-A: ", "GET /healthz HT"][turn % 2]),
        };
        if matches!(attack, Attack::Flood) {
            held.clear();
        }
        for _ in 0..count {
            self.attempts.fetch_add(1, Ordering::Relaxed);
            if let Ok(mut stream) = self.connect().await {
                let _closed = stream.write_all(begun.as_bytes()).await;
                held.push(stream);
            }
        }
        held.retain_mut(|stream| !is_closed(stream));
    }

    async fn connect(&self) -> std::io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((self.source, 0).into())?;
        let address = self.base.trim_start_matches("http://").parse().map_err(std::io::Error::other)?;
        socket.connect(address).await
    }
}

/// Whether the other end has closed.
pub(super) fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.try_read(&mut [0; 256]), Ok(0))
        || stream.try_read(&mut [0; 1]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_not_flat() {
        let flat = Memory((0..360).map(|sample| 40.0 + f64::from(sample % 3)).collect());
        let leaks = Memory((0..360).map(|sample| 40.0 + f64::from(sample) / 12.0).collect());
        assert!(flat.is_flat().is_ok() && leaks.is_flat().is_err());
        assert!((leaks.slope() - 1.0).abs() < 0.01, "{}", leaks.slope());
    }
}
