//! Readers of the audit log without pause, beside clients, readiness and the kill switch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use jiff::{SignedDuration, Timestamp};
use reqwest::StatusCode;
use sts_jose::{Clock as _, SystemClock, SystemEntropy};
use sts_server::keys::MasterKey;
use sts_server::record::{AuditWriter, Event, EventKind};
use sts_server::storage::{self, AuditFilter};
use sts_tests::{Operators, postgres};

use super::CLIENTS;
use crate::operator::Operator;
use crate::shop::{Shop, service_request};
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// Readers without pause.
const READERS: usize = 24;
/// The searches that they make, one after the other.
const SEARCHES: [&str; 5] =
    ["since=1s&limit=1", "since=15m&limit=1000", "since=24h&limit=1000", "limit=1000", "correlation_id=none&since=24h"];
/// The rows that are written at once.
const BATCH: usize = 2_000;
/// The longest that the kill switch or the following of a change may take. Both take much less.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The tokens that come between two disablements.
const BETWEEN: usize = 100;

/// An agent that the clients do not use, to be disabled.
const SUSPECT: &str = "suspect";

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
    let file = format!("{}{}", trial.load.shop.registry(), Shop::service(SUSPECT));
    trial.folder.write("registry.toml", &file);
    trial.options(&[("ADMIN__TOKENS", Operators::all().option.as_str())]);
    trial.start().await;
    let events = run.pick(200_000, 2_000_000);
    let writer = fill(&trial, database.url(), events).await?;

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
        slowest_follow = slowest_follow.max(disable(&trial, &operator, &elsewhere).await?);
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
    remove(database.url(), &writer).await?;
    Ok(Outcome::Held(trial.end().await?))
}

/// Fills the audit log with events of the last hours, in a chain of their own; the name of the chain.
async fn fill(trial: &Trial, url: &str, events: usize) -> anyhow::Result<String> {
    let master = MasterKey::read(&trial.folder.path("master.key"))?;
    let store = storage::open(url, 4, sts_tests::keyring::row_codes(&master)).await?;
    let mut writer = AuditWriter::new(master.audit().clone(), &SystemEntropy);
    let (begun, present) = (now(), SystemClock.now());
    let mut name = String::new();
    for first in (0..events).step_by(BATCH) {
        let event = |number: usize| event(present, events - number);
        let rows: Vec<_> = (first..events.min(first + BATCH)).map(|number| writer.seal(&event(number))).collect();
        store.append_audit(&rows).await?;
        name.clone_from(&rows.first().context("a row")?.writer);
    }
    eprintln!("{events} events in {:.0} s", begun.elapsed().as_secs_f64());
    let some = store.audit(&AuditFilter::default(), 10).await?.rows;
    anyhow::ensure!(!some.is_empty(), "an empty log");
    store.close().await;
    Ok(name)
}

/// An event of a refusal, so many turns of 2 ms ago.
fn event(present: Timestamp, ago: usize) -> Event {
    let milliseconds = i64::try_from(ago).unwrap_or(i64::MAX / 2).saturating_mul(2);
    let at = present.checked_sub(SignedDuration::from_millis(milliseconds)).unwrap_or(present);
    let mut event = Event::new(EventKind::TokenRefused, at);
    event.correlation_id = Some(format!("filled-{ago}"));
    event.client_id = Some("coordinator".to_owned());
    event.sub = Some("alice".to_owned());
    event.reason = Some("scope_beyond".to_owned());
    event.detail = Some("an event as large as most of them ".repeat(8));
    event
}

async fn remove(url: &str, writer: &str) -> anyhow::Result<()> {
    let pool = sqlx::PgPool::connect(url).await?;
    sqlx::query("DELETE FROM audit_events WHERE writer = $1").bind(writer).execute(&pool).await?;
    pool.close().await;
    Ok(())
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

/// Disables the agent at one server, waits until the other refuses it, and lets it in again; how long the other took to follow.
async fn disable(trial: &Trial, operator: &Operator, elsewhere: &str) -> anyhow::Result<Duration> {
    let base = trial.server(0).public();
    until(trial, base, StatusCode::OK).await?;
    operator.disable(elsewhere, SUSPECT).await?;
    let begun = now();
    until(trial, base, StatusCode::UNAUTHORIZED).await?;
    let followed = begun.elapsed();
    operator.enable(elsewhere, SUSPECT).await?;
    Ok(followed)
}

/// Sends requests as the agent until the answer has this status.
async fn until(trial: &Trial, base: &str, status: StatusCode) -> anyhow::Result<()> {
    let begun = now();
    while trial.load.status(base, &service_request(SUSPECT)).await != Some(status.as_u16()) {
        anyhow::ensure!(begun.elapsed() < PATIENCE, "the agent does not get {status} within {PATIENCE:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(())
}
