//! A standby that is promoted without the last changes of its primary, which then get others in their place.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection};
use sts_tests::Operators;
use sts_tests::postgres::Cluster;

use super::CLIENTS;
use crate::operator::Operator;
use crate::proxy::{Network, Proxy};
use crate::shop::{Shop, service_request};
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run};

/// The tokens that come before and after the promotion.
const CALM: usize = 60;
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The longest that a standby, or a server, may take to follow a change.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(5);

/// The user and the agent whose refusal the promotion loses.
const LOST: (&str, &str) = ("bob", "picker");
/// The user and the agent that are refused on the new primary in their place.
const PRESENT: (&str, &str) = ("carol", "packer");

/// Counter and generation of registry, keys and revocations.
type Counters = Vec<(String, i64, i64)>;

pub(super) async fn promoted(run: Run) -> anyhow::Result<Outcome> {
    let primary = Cluster::start().await;
    let database = primary.database().await;
    let address = address(database.url())?;
    let replication = Proxy::start(address).await?;
    let standby = primary.standby(replication.address()).await;
    let copy = standby.url_of_copy(&database).to_string();
    let network = Proxy::start(address).await?;
    let mut home = Home::through(database.url(), network.address())?;
    home.behind = Some(copy.clone());
    // The third server starts on the new primary, and the others are led there later.
    let mut trial = Trial::prepare(&home, 3, run.program.as_ref());
    let agents = [LOST.1, PRESENT.1].map(Shop::service).concat();
    trial.folder.write("registry.toml", &format!("{}{agents}", trial.load.shop.registry()));
    trial.options(&[("ADMIN__TOKENS", Operators::all().option.as_str())]);
    let third = trial.launches.pop().context("the third launch")?.options(&[("DATABASE__URL", copy.as_str())]);
    trial.servers.pop();
    trial.begin(CLIENTS).await;
    trial.tokens(CALM).await?;
    let operator = Operator::new()?;

    // What clients received before is replicated. They pause in the gap: its tokens would be lost with the primary.
    let pause = trial.load.pause().await;
    let held = lost_tokens(&trial).await?;
    replicated(database.url()).await?;
    replication.set(Network::Down);
    operator.hold_user(trial.server(0).admin(), LOST.0).await?;
    operator.disable(trial.server(0).admin(), LOST.1).await?;
    let in_gap = inactive(&trial, &held).await?;
    let lost = counters(database.url()).await?;
    primary.kill().await;
    network.set(Network::Down);
    trial.load.storm();
    drop(pause);
    let begun = now();
    standby.promote().await;
    let promotion = begun.elapsed();

    // The two servers hold the lost state, and find its counters on the new primary again, by other changes.
    let third = trial.folder.launch(&third).await;
    operator.hold_user(third.admin(), PRESENT.0).await?;
    operator.disable(third.admin(), PRESENT.1).await?;
    let present = counters(&copy).await?;
    let values =
        |counters: &Counters| counters.iter().map(|(name, value, _)| (name.clone(), *value)).collect::<Vec<_>>();
    anyhow::ensure!(values(&lost) == values(&present), "the counters differ: {lost:?}, {present:?}");
    anyhow::ensure!(lost != present, "the counters are those of the lost primary: {present:?}");
    network.lead_to(self::address(&copy)?);
    network.set(Network::Clear);
    let moved = moved(&trial).await?;
    anyhow::ensure!(third.end().await == Some(0), "the third server does not end in order");
    trial.recover().await?;
    trial.tokens(CALM).await?;
    trial.notes.push(format!(
        "changes in the gap followed within {} ms; promotion {} ms; the counters have the values of the lost ones; both servers \
         refuse by the new primary alone within {} ms of the move, no token against it",
        in_gap.as_millis(),
        promotion.as_millis(),
        moved.as_millis()
    ));
    Ok(Outcome::Held(trial.end().await?))
}

fn address(url: &str) -> anyhow::Result<SocketAddr> {
    let addresses = url::Url::parse(url)?.socket_addrs(|| None)?;
    addresses.first().copied().context("a URL with an address")
}

/// A token of the user and one of the agent whose refusal will be lost. The inventory receives both.
async fn lost_tokens(trial: &Trial) -> anyhow::Result<[String; 2]> {
    let base = trial.server(0).public();
    let user = trial.load.received(base, &trial.load.shop.first_hop_of(LOST.0)).await.context("a token of the user")?;
    let agent = trial.load.received(base, &service_request(LOST.1)).await.context("a token of the agent")?;
    for token in [&user, &agent] {
        let active = trial.load.is_active(base, token).await;
        anyhow::ensure!(active == Some(true), "a token that is not active: {active:?}");
    }
    Ok([user, agent])
}

/// Waits until every server calls the tokens inactive, which writes nothing. Returns the time that it took.
async fn inactive(trial: &Trial, tokens: &[String]) -> anyhow::Result<Duration> {
    let begun = now();
    for server in trial.servers.iter().flatten() {
        for token in tokens {
            while trial.load.is_active(server.public(), token).await != Some(false) {
                anyhow::ensure!(
                    begun.elapsed() < FOLLOWED_WITHIN,
                    "active after {FOLLOWED_WITHIN:?}\n{}",
                    trial.story()
                );
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }
    Ok(begun.elapsed())
}

/// Waits until the standby of a primary has all that the primary wrote.
pub(super) async fn replicated(url: &str) -> anyhow::Result<()> {
    const BEHIND: &str = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()";
    let (begun, mut connection) = (now(), PgConnection::connect(url).await?);
    while sqlx::query_scalar::<_, i64>(BEHIND).fetch_one(&mut connection).await? != 1 {
        anyhow::ensure!(begun.elapsed() < FOLLOWED_WITHIN, "the standby is behind after {FOLLOWED_WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    Ok(connection.close().await?)
}

async fn counters(url: &str) -> anyhow::Result<Counters> {
    let mut connection = PgConnection::connect(url).await?;
    let query = sqlx::query_as("SELECT name, value, generation FROM counters ORDER BY name");
    let counters = query.fetch_all(&mut connection).await?;
    connection.close().await?;
    Ok(counters)
}

/// Waits until both servers go by the new primary: what was refused there is refused, and what only the lost primary refused is
/// served. Returns the time that it took. No answer in between may be a token for what the new primary refuses.
async fn moved(trial: &Trial) -> anyhow::Result<Duration> {
    let begun = now();
    let load = &trial.load;
    loop {
        let mut differ = Vec::new();
        for server in trial.servers.iter().flatten() {
            let expected = [
                ("the user of the new primary", load.shop.first_hop_of(PRESENT.0), 400),
                ("the agent of the new primary", service_request(PRESENT.1), 401),
                ("the user of the lost primary", load.shop.first_hop_of(LOST.0), 200),
                ("the agent of the lost primary", service_request(LOST.1), 200),
            ];
            for (label, form, status) in expected {
                let seen = load.status(server.public(), &form).await;
                let is_issued = seen == Some(200) && status != 200;
                anyhow::ensure!(!is_issued, "a token for {label}, {:?} after the move", begun.elapsed());
                if seen != Some(status) {
                    differ.push((label, seen));
                }
            }
        }
        if differ.is_empty() {
            return Ok(begun.elapsed());
        }
        anyhow::ensure!(begun.elapsed() < FOLLOWED_WITHIN, "after {FOLLOWED_WITHIN:?}: {differ:?}\n{}", trial.story());
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
