//! One run: agents, callers and an STS in trouble, all by one seed.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use sts_client::propagate::Credential;
use sts_client::{CorrelationId, Credentials, Error, Propagator, ServiceAccount, Sts};
use tokio::task::JoinSet;

use super::cast::{AGENTS, CAST, STS, VirtualClock};
use super::chance::Chance;
use super::oracle;
use super::sts::{Door, SimulatedSts, Weather};

/// So many attempts an exchange may make.
pub const ATTEMPTS: u32 = 3;
/// No new calls after this, but for those that find everything healed.
const TROUBLE: Duration = Duration::from_secs(45);
/// By then the breaker has closed, every refusal is forgotten, and no `Retry-After` holds any more.
const PEACE: Duration = Duration::from_secs(95);

/// Who calls where, and when.
#[derive(Debug, Clone)]
pub struct Call {
    pub at: Duration,
    pub agent: usize,
    pub caller: usize,
    pub route: usize,
    /// The caller has no more patience than this.
    pub patience: Option<Duration>,
    /// The caller has the token forgotten afterwards.
    pub forgets: bool,
}

/// What came of a call that was not given up.
#[derive(Debug)]
pub struct Seen {
    pub call: Call,
    pub ended: Duration,
    pub headers: HeaderMap,
    pub outcome: Result<Credential, Error>,
}

/// All that happened in a run.
pub struct Run {
    pub sts: Arc<SimulatedSts>,
    pub seen: Vec<Seen>,
    /// The calls that were made when all had healed.
    pub healed: Vec<Seen>,
}

/// Lives through one seed.
pub fn run(seed: u64) -> Run {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(live(Chance::new(seed)))
}

async fn live(chance: Chance) -> Run {
    let clock = VirtualClock::begin();
    let sts = Arc::new(SimulatedSts::new(chance.clone(), clock));
    let mut agents = Vec::new();
    for agent in 0..AGENTS.len() {
        agents.push(propagator(agent, &sts, &chance, clock).await);
    }
    sts.lock().bad_percent = *chance.pick(&[0, 10, 40]);
    let (calls, weather) = (calls(&chance), weather(&chance));
    let mut tasks = JoinSet::new();
    for call in calls {
        let agent = (agents[call.agent].clone(), Arc::clone(&sts));
        tasks.spawn(make(call, agent, chance.clone(), clock));
    }
    tokio::join!(change(&sts, weather, clock), async {});
    let seen = tasks.join_all().await.into_iter().flatten().collect();
    heal(&sts);
    until(clock, PEACE).await;
    let mut healed = Vec::new();
    for _ in 0..2 {
        let call = Call { at: clock.elapsed(), patience: None, ..any_call(&chance) };
        let agent = (agents[call.agent].clone(), Arc::clone(&sts));
        healed.extend(make(call, agent, chance.clone(), clock).await);
    }
    Run { sts, seen, healed }
}

async fn propagator(agent: usize, sts: &Arc<SimulatedSts>, chance: &Chance, clock: VirtualClock) -> Propagator {
    let door = Door { sts: Arc::clone(sts), agent };
    let client = Sts::builder(STS, AGENTS[agent], Credentials::ClientSecret("secret".into()))
        .transport(Arc::new(door))
        .keys(CAST.sts_keys.clone())
        .attempts(ATTEMPTS)
        .clock(Arc::new(clock))
        .entropy(Arc::new(chance.clone()))
        .build()
        .unwrap();
    let builder = Propagator::builder().sts(client).service_account(ServiceAccount::Sts);
    let builder = CAST.routes.iter().cloned().fold(builder, |builder, route| builder.route(route));
    builder.cache_capacity(1_000).clock(Arc::new(clock)).entropy(Arc::new(chance.clone())).build().await.unwrap()
}

/// Some calls alone, some at the same moment or nearly so.
fn calls(chance: &Chance) -> Vec<Call> {
    let mut calls = Vec::new();
    for _ in 0..3 + chance.below(4) {
        let call = any_call(chance);
        for _ in 0..1 + chance.below(4) {
            let mut again = call.clone();
            again.at += *chance.pick(&[
                Duration::ZERO,
                Duration::ZERO,
                Duration::from_millis(300),
                Duration::from_secs(4),
                Duration::from_secs(7),
            ]);
            again.forgets = chance.percent(10);
            again.patience = chance.percent(25).then(|| chance.millis(1, 3_000));
            if chance.percent(15) {
                again.caller = chance.below(CAST.callers.len());
            }
            if chance.percent(15) {
                again.route = chance.below(CAST.routes.len());
            }
            calls.push(again);
        }
    }
    calls
}

fn any_call(chance: &Chance) -> Call {
    // Users more often than others: theirs are the exchanges.
    let users = CAST.callers.iter().filter(|caller| caller.user().is_some()).count();
    let among = if chance.percent(80) { users } else { CAST.callers.len() };
    Call {
        at: chance.millis(0, u64::try_from(TROUBLE.as_millis()).unwrap()),
        agent: chance.below(AGENTS.len()),
        caller: chance.below(among),
        route: chance.below(CAST.routes.len()),
        patience: None,
        forgets: false,
    }
}

async fn make(
    call: Call,
    (propagator, sts): (Propagator, Arc<SimulatedSts>),
    chance: Chance,
    clock: VirtualClock,
) -> Option<Seen> {
    until(clock, call.at).await;
    let context = CAST.callers[call.caller].context(&chance).with_correlation_id(CorrelationId::random(&chance));
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("Bearer smuggled"));
    headers.insert("x-tenant-id", HeaderValue::from_static("smuggled"));
    headers.insert("x-delegation-fallback", HeaderValue::from_static("smuggled"));
    let url = CAST.routes[call.route].url.join("./x").unwrap();
    let url = if call.route == 1 { CAST.routes[1].url.clone() } else { url };
    let work = propagator.apply(&context, &url, &mut headers);
    let outcome = match call.patience {
        None => work.await,
        Some(patience) => tokio::time::timeout(patience, work).await.ok()?,
    };
    let ended = clock.elapsed();
    if call.forgets {
        propagator.forget(&context, &url).await;
        let of_user = CAST.callers[call.caller].user().map(|_| call.caller);
        sts.lock().forgotten.push((ended, oracle::asked(&call, of_user)));
    }
    Some(Seen { call, ended, headers, outcome })
}

/// What happens to the STS.
enum Event {
    Weather(Weather),
    Revoke(usize),
    Restore,
}

fn weather(chance: &Chance) -> Vec<(Duration, Event)> {
    let mut events = Vec::new();
    let mut at = Duration::ZERO;
    for _ in 0..chance.below(6) {
        at += chance.millis(500, 15_000);
        events.push((
            at,
            match chance.below(9) {
                0 => Event::Weather(Weather::Unreachable),
                1 => Event::Weather(Weather::Silent),
                2 => Event::Weather(Weather::Broken(500)),
                3 => Event::Weather(Weather::Broken(503)),
                4 => Event::Weather(Weather::Overloaded(*chance.pick(&[None, Some(1), Some(30)]))),
                5 => Event::Revoke(chance.below(6)),
                6 => Event::Restore,
                _ => Event::Weather(Weather::Fair),
            },
        ));
    }
    events
}

async fn change(sts: &SimulatedSts, events: Vec<(Duration, Event)>, clock: VirtualClock) {
    for (at, event) in events.into_iter().filter(|(at, _)| *at < TROUBLE) {
        until(clock, at).await;
        let mut state = sts.lock();
        match event {
            Event::Weather(weather) => state.weather = weather,
            Event::Revoke(caller) => drop(state.revoked.insert(caller)),
            Event::Restore => state.revoked.clear(),
        }
    }
}

fn heal(sts: &SimulatedSts) {
    let mut state = sts.lock();
    state.weather = Weather::Fair;
    state.bad_percent = 0;
    state.revoked.clear();
}

async fn until(clock: VirtualClock, at: Duration) {
    tokio::time::sleep(at.saturating_sub(clock.elapsed())).await;
}
