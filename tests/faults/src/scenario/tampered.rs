//! Rows that are altered or removed past servers that run: an altered row is disabled alone, a removed row stops every server.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use sts_tests::{Operators, postgres};

use super::CLIENTS;
use crate::operator::Operator;
use crate::shop::{SECRET, Shop, service_request, sha256};
use crate::trial::{Home, Trial, now};
use crate::{Figures, Outcome, Run};

/// The tokens that come before and after a step.
const BETWEEN: usize = 40;
/// The time that a client waits between two requests: two databases are tried at once.
const PACE: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The longest that a change may take until every server follows it.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(5);
/// The longest that a server may issue after a row was removed: it compares every 10 s, and stops 30 s later.
const STOPPED_WITHIN: Duration = Duration::from_secs(45);
/// The requests that were under way when a server stopped have ended after this time.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// The time for which a stopped server must stay stopped.
const STAYS_STOPPED: Duration = Duration::from_secs(5);

/// An agent whose entry gets a member that no server knows.
const UNKNOWN: &str = "unknown-member";
/// An agent whose secret is replaced.
const ALTERED: &str = "altered-secret";
/// An agent that is left as it is.
const UNTOUCHED: &str = "untouched";
/// An agent whose entry is deleted.
const DELETED: &str = "deleted";
/// A user whose revocation is altered.
const REVOKED: &str = "bob";
/// The secret that replaces that of [`ALTERED`].
const FORGED: &str = "Zk3b0m5Yq1N8c7X4v9T2w6R0p1L5j8H3g7F2d6S9a0Q";

pub(super) async fn unreadable_row(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let [sqlite, postgres] = [Tampered::prepare(&Home::sqlite(), 1, &run)?, {
        let mut tampered = Tampered::prepare(&Home::at(database.url()), 2, &run)?;
        database.url().clone_into(&mut tampered.url);
        tampered
    }];
    let (sqlite, mut postgres) = tokio::try_join!(sqlite.run(&run), postgres.run(&run))?;
    postgres.notes.extend(sqlite.notes.into_iter().map(|note| format!("SQLite: {note}")));
    Ok(Outcome::Held(postgres))
}

/// Servers whose database is tampered with.
struct Tampered {
    trial: Trial,
    operator: Operator,
    url: String,
}

impl Tampered {
    fn prepare(home: &Home, servers: usize, run: &Run) -> anyhow::Result<Self> {
        let mut trial = Trial::prepare(home, servers, run.program.as_ref());
        let agents = [UNKNOWN, ALTERED, UNTOUCHED, DELETED].map(Shop::service).concat();
        trial.folder.write("registry.toml", &format!("{}{agents}", trial.load.shop.registry()));
        trial.options(&[("ADMIN__TOKENS", Operators::all().option.as_str())]);
        let url = format!("sqlite://{}", trial.folder.path("sts.db").display());
        Ok(Self { trial, operator: Operator::new()?, url })
    }

    async fn run(mut self, run: &Run) -> anyhow::Result<Figures> {
        self.trial.start().await;
        self.trial.ask(CLIENTS, Some(PACE));
        self.trial.tokens(BETWEEN).await?;
        self.operator.hold_user(self.trial.server(0).admin(), REVOKED).await?;
        for (agent, status) in [(UNKNOWN, 200), (ALTERED, 200), (UNTOUCHED, 200)] {
            self.until(|_| service_request(agent), status).await?;
        }
        self.until(|trial| trial.load.shop.first_hop_of(REVOKED), 400).await?;

        let last = self.trial.servers.len() - 1;
        let published = self.published(last).await?;
        self.alter().await?;
        let followed = self.follow().await?;
        self.assert_alone().await.context("servers that run")?;
        self.restart_last().await?;
        self.assert_alone().await.context("a server that started on the altered rows")?;
        let left_out = !published.is_subset(&self.published(last).await?);
        anyhow::ensure!(left_out, "the altered signing key is published: {published:?}");
        self.trial.tokens(BETWEEN).await?;
        self.trial.notes.push(format!("altered rows disabled alone within {} ms", followed.as_millis()));
        if run.pick(false, true) {
            self.remove_and_accept().await?;
        }
        self.trial.end().await
    }

    /// Alters two entries, every signing key that is to sign next, and a revocation.
    async fn alter(&self) -> anyhow::Result<()> {
        self.execute(
            "UPDATE entries SET body = '{\"newer\":true,' || substr(body, 2) WHERE kind = 'agent' AND id = $1",
            &[UNKNOWN],
        )
        .await?;
        self.execute(
            "UPDATE entries SET body = REPLACE(body, $2, $3) WHERE kind = 'agent' AND id = $1 AND body LIKE '%' || $2 || '%'",
            &[ALTERED, &sha256(SECRET), &sha256(FORGED)],
        )
        .await?;
        self.execute("UPDATE signing_keys SET state_since = state_since + 1 WHERE state = 'next'", &[]).await?;
        self.execute("UPDATE revocations SET at = 0, expires_at = 0 WHERE value = $1", &[REVOKED]).await
    }

    /// Changes the registry through a server, so that all servers read it again. Returns the time until the last one has.
    async fn follow(&self) -> anyhow::Result<Duration> {
        let begun = now();
        let admin = self.trial.server(0).admin();
        self.operator.disable(admin, UNTOUCHED).await?;
        self.operator.enable(admin, UNTOUCHED).await?;
        self.until(|_| service_request(UNKNOWN), 401).await?;
        self.until(|_| service_request(ALTERED), 401).await?;
        self.until(|_| service_request(UNTOUCHED), 200).await?;
        Ok(begun.elapsed())
    }

    /// Asserts that every server refuses by each altered row, serves everything else, is ready, and revokes.
    async fn assert_alone(&self) -> anyhow::Result<()> {
        let load = &self.trial.load;
        for server in self.trial.servers.iter().flatten() {
            let base = server.public();
            let mut forged = service_request(ALTERED);
            forged.basic = Some((ALTERED, FORGED));
            let expected = [
                ("an entry with an unknown member", service_request(UNKNOWN), 401),
                ("an altered entry", service_request(ALTERED), 401),
                ("the secret of an altered entry", forged, 401),
                ("an altered revocation", load.shop.first_hop_of(REVOKED), 400),
                ("an untouched entry", service_request(UNTOUCHED), 200),
            ];
            for (label, form, status) in expected {
                let seen = load.status(base, &form).await;
                anyhow::ensure!(seen == Some(status), "{label}: {seen:?} and not {status}\n{}", self.trial.story());
            }
            anyhow::ensure!(load.chain(base).await.is_some(), "no chain:\n{}", self.trial.story());
            anyhow::ensure!(load.is_ready(base).await, "not ready:\n{}", self.trial.story());
            self.operator.revoke_unknown(server.admin()).await?;
        }
        Ok(())
    }

    /// The names of the signing keys that a server publishes.
    async fn published(&self, slot: usize) -> anyhow::Result<BTreeSet<String>> {
        let answer = reqwest::get(format!("{}/oauth2/jwks", self.trial.server(slot).public())).await?;
        let keys: serde_json::Value = serde_json::from_slice(&answer.bytes().await?)?;
        let keys = keys["keys"].as_array().context("a key set")?;
        Ok(keys.iter().filter_map(|key| key["kid"].as_str().map(str::to_owned)).collect())
    }

    /// Ends the last server, and starts another one in its place, which reads the altered rows for the first time.
    async fn restart_last(&mut self) -> anyhow::Result<()> {
        let last = self.trial.servers.len() - 1;
        self.trial.load.storm();
        anyhow::ensure!(self.trial.take(last).end().await == Some(0), "it does not end in order");
        self.trial.start().await;
        self.trial.recover().await
    }

    /// Deletes an entry: every server stops, until the operator accepts what the database holds.
    async fn remove_and_accept(&mut self) -> anyhow::Result<()> {
        self.trial.load.storm();
        self.execute("DELETE FROM entries WHERE kind = 'agent' AND id = $1", &[DELETED]).await?;
        let [first, last] = self.stopped().await?;
        tokio::time::sleep(SETTLED_AFTER).await;
        let (received, stopped) = (self.trial.load.ledger.len(), now());
        while stopped.elapsed() < STAYS_STOPPED {
            for server in self.trial.servers.iter().flatten() {
                let seen = self.trial.load.status(server.public(), &self.trial.load.shop.first_hop()).await;
                anyhow::ensure!(seen == Some(503), "a stopped server answers {seen:?}");
                anyhow::ensure!(!self.trial.load.is_ready(server.public()).await, "a stopped server is ready");
                self.operator.revoke_unknown(server.admin()).await?;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        anyhow::ensure!(self.trial.load.ledger.len() == received, "a stopped server issued to a client");

        let accepted = self.trial.folder.run(&["registry", "accept"]).await;
        anyhow::ensure!(accepted.code == 0, "registry accept: {accepted:?}");
        let begun = now();
        self.trial.recover().await?;
        let served = begun.elapsed();
        self.trial.tokens(BETWEEN).await?;
        // An accepted row holds as it is. A row that cannot be read stays disabled.
        self.until(|_| service_request(UNKNOWN), 401).await?;
        self.trial.notes.push(format!(
            "after a removed row all servers were 503 from {:.1} to {:.1} s on, and served {} ms after `registry accept`",
            first.as_secs_f64(),
            last.as_secs_f64(),
            served.as_millis()
        ));
        Ok(())
    }

    /// Waits until every server answers 503. Returns the time of the first server and of the last one.
    async fn stopped(&self) -> anyhow::Result<[Duration; 2]> {
        let begun = now();
        let mut times: Vec<Option<Duration>> = self.trial.servers.iter().map(|_| None).collect();
        while times.iter().any(Option::is_none) {
            anyhow::ensure!(
                begun.elapsed() < STOPPED_WITHIN,
                "issues after {STOPPED_WITHIN:?}\n{}",
                self.trial.story()
            );
            for (server, time) in self.trial.servers.iter().flatten().zip(&mut times) {
                match self.trial.load.status(server.public(), &self.trial.load.shop.first_hop()).await {
                    Some(200) if time.is_none() => {}
                    Some(503) => *time = time.or(Some(begun.elapsed())),
                    other => anyhow::bail!("{other:?}, first stopped at {time:?}\n{}", self.trial.story()),
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let times = || times.iter().flatten().copied();
        Ok([times().min(), times().max()].map(Option::unwrap_or_default))
    }

    /// Waits until every server answers a request with this status.
    async fn until(&self, form: impl Fn(&Trial) -> crate::shop::Form, status: u16) -> anyhow::Result<()> {
        for server in self.trial.servers.iter().flatten() {
            let begun = now();
            loop {
                let seen = self.trial.load.status(server.public(), &form(&self.trial)).await;
                if seen == Some(status) {
                    break;
                }
                let late = begun.elapsed() > FOLLOWED_WITHIN;
                anyhow::ensure!(!late, "{seen:?} and not {status} after {FOLLOWED_WITHIN:?}\n{}", self.trial.story());
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// Runs a statement past the servers, which must change a row.
    async fn execute(&self, statement: &'static str, values: &[&str]) -> anyhow::Result<()> {
        let changed = if self.url.starts_with("sqlite:") {
            let mut connection = SqliteConnection::connect(&self.url).await?;
            let query = values.iter().fold(sqlx::query(statement), |query, value| query.bind(*value));
            let done = query.execute(&mut connection).await?;
            connection.close().await?;
            done.rows_affected()
        } else {
            let mut connection = PgConnection::connect(&self.url).await?;
            let query = values.iter().fold(sqlx::query(statement), |query, value| query.bind(*value));
            let done = query.execute(&mut connection).await?;
            connection.close().await?;
            done.rows_affected()
        };
        anyhow::ensure!(changed > 0, "no row was changed by {statement}");
        Ok(())
    }
}
