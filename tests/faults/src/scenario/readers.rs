//! Readers of the audit log without pause, beside clients, readiness and the kill switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::StatusCode;
use sts_tests::{Operators, postgres};

use super::{CLIENTS, filled, suspect};
use crate::operator::Operator;
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// Readers without pause.
const READERS: usize = 24;
/// The searches that they make, one after the other.
const SEARCHES: [&str; 5] =
    ["since=1s&limit=1", "since=15m&limit=1000", "since=24h&limit=1000", "limit=1000", "correlation_id=none&since=24h"];
/// The longest that the kill switch may take. It takes much less.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The tokens that come between two disablements.
const BETWEEN: usize = 100;

/// The measurements.
#[derive(Debug, Default)]
struct Seen {
    pages: AtomicU64,
    turned_away: AtomicU64,
    failed: AtomicU64,
    slowest_probe: AtomicU64,
    unready: AtomicU64,
}

pub(super) async fn flood(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
    trial.folder.write("registry.toml", &suspect::registry(&trial));
    trial.options(&[("ADMIN__TOKENS", Operators::all().option.as_str())]);
    trial.start().await;
    let events = run.pick(200_000, 2_000_000);
    let writer = filled::fill(&trial, database.url(), events).await?;

    let operator = Operator::new()?;
    trial.ask(CLIENTS, None);
    trial.tokens(BETWEEN).await?;
    let seen = Arc::new(Seen::default());
    let [flooded, elsewhere] = [0, 1].map(|slot| trial.server(slot).admin().to_owned());
    for number in 0..READERS {
        trial.beside(read(Arc::clone(&trial.load), flooded.clone(), number, Arc::clone(&seen)));
    }
    trial.beside(probe(Arc::clone(&trial.load), trial.server(0).public().to_owned(), Arc::clone(&seen)));
    let (mut slowest_switch, mut slowest_follow) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..run.pick(5, 30) {
        trial.tokens(BETWEEN).await?;
        slowest_switch = slowest_switch.max(revoke(&operator, &flooded).await?);
        slowest_follow =
            slowest_follow.max(suspect::disable(&trial, &operator, &elsewhere, trial.server(0).public()).await?);
    }
    let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
    anyhow::ensure!(of(&seen.pages) > 0, "no page was read");
    anyhow::ensure!(of(&seen.unready) == 0, "it was not ready {} times\n{}", of(&seen.unready), trial.story());
    anyhow::ensure!(of(&seen.failed) == 0, "{} searches failed\n{}", of(&seen.failed), trial.story());
    trial.notes.push(format!(
        "{events} events, {READERS} readers: {} pages, {} turned away; readiness within {} ms; the kill switch within {} ms; a \
         disablement at another server followed within {} ms",
        of(&seen.pages),
        of(&seen.turned_away),
        of(&seen.slowest_probe),
        slowest_switch.as_millis(),
        slowest_follow.as_millis()
    ));
    trial.load.end();
    // A chain as a whole can be removed: what the check at the end reads is what the servers wrote.
    filled::remove(database.url(), &writer).await?;
    Ok(Outcome::Held(trial.end().await?))
}

fn http() -> reqwest::Client {
    let builder = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(40));
    builder.build().expect("a client without options that can fail")
}

/// Searches until the clients end.
async fn read(load: Arc<crate::load::Load>, admin: String, number: usize, seen: Arc<Seen>) {
    let (http, token) = (http(), Operators::all().token("reader"));
    let mut turn = number;
    while !load.is_over() {
        turn += 1;
        let search = SEARCHES[turn % SEARCHES.len()];
        let answer = http.get(format!("{admin}/admin/v1/audit?{search}")).bearer_auth(token).send().await;
        let count = match answer.map(|answer| answer.status()) {
            Ok(StatusCode::OK) => &seen.pages,
            Ok(StatusCode::TOO_MANY_REQUESTS) => &seen.turned_away,
            Ok(_) | Err(_) => &seen.failed,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// Asks for readiness until the clients end.
async fn probe(load: Arc<crate::load::Load>, base: String, seen: Arc<Seen>) {
    while !load.is_over() {
        let begun = now();
        let ready = load.is_ready(&base).await;
        let took = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        seen.slowest_probe.fetch_max(took, Ordering::Relaxed);
        seen.unready.fetch_add(u64::from(!ready), Ordering::Relaxed);
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Revokes a token that was never issued; the time that it took.
async fn revoke(operator: &Operator, admin: &str) -> anyhow::Result<Duration> {
    let took = operator.revoke_unknown(admin).await?;
    anyhow::ensure!(took < PATIENCE, "the kill switch took {took:?}");
    Ok(took)
}
