//! Servers of the former release and of this one on one database: the schema is migrated under load, and the servers go forward, back
//! and forward again.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use sts_tests::process::{Launch, Outcome as Ended, outcome};
use sts_tests::{Operators, postgres};
use tokio::process::Command;

use super::{CLIENTS, filled, suspect};
use crate::operator::Operator;
use crate::trial::{Home, Trial, now};
use crate::{Outcome, Run, former};

/// The tokens that come between two steps.
const BETWEEN: usize = 100;

/// The programs of both releases, and what servers of each are started with.
struct Releases {
    former: Vec<Launch>,
    present: Vec<Launch>,
    operator: Operator,
    slowest: Duration,
}

pub(super) async fn forward_and_back(run: Run) -> anyhow::Result<Outcome> {
    let program = match run.former.clone() {
        Some(program) => program,
        None => match former::program().await {
            Ok(program) => program,
            Err(error) => return Ok(Outcome::NotHere(format!("{error:#}"))),
        },
    };
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 3, run.program.as_ref());
    trial.folder.write("registry.toml", &suspect::registry(&trial));
    trial.options(&[("ADMIN__TOKENS", Operators::all().option.as_str())]);
    let present = trial.launches.clone();
    let of_former = |launch: &Launch| Launch { program: Some(program.clone()), ..launch.clone() };
    let former: Vec<Launch> = present.iter().map(of_former).collect();
    let mut releases = Releases { former, present, operator: Operator::new()?, slowest: Duration::ZERO };

    trial.launches.clone_from(&releases.former);
    trial.load.retry_elsewhere();
    trial.start().await;
    let events = run.pick(20_000, 2_000_000);
    let filled = filled::fill(&trial, database.url(), events).await?;
    trial.ask(CLIENTS, None);
    trial.tokens(BETWEEN).await?;

    let before = schema(database.url()).await?;
    // Builds the program, where that is due.
    anyhow::ensure!(trial.folder.run(&["check"]).await.code == 0, "the configuration has faults");
    let begun = now();
    let migrated = trial.folder.run(&["migrate"]).await;
    let took = begun.elapsed();
    anyhow::ensure!(migrated.code == 0, "migrate: {migrated:?}");
    let after = schema(database.url()).await?;
    anyhow::ensure!(after > before, "the former release has the schema of this one: nothing was migrated");
    trial.tokens(BETWEEN).await?;
    verified("the former release", &audit_verify(&trial, &program).await)?;
    verified("this release", &trial.folder.run(&["audit", "verify", "--json"]).await)?;
    filled::remove(database.url(), &filled).await?;

    // A former server starts again on the present schema, then every server goes forward, back and forward.
    releases.replace(&mut trial, 0, false).await?;
    for _ in 0..run.pick(1, 3) {
        for (slot, is_present) in [(0, true), (1, true), (2, true), (2, false), (1, false), (0, false)] {
            releases.replace(&mut trial, slot, is_present).await?;
        }
    }
    for slot in 0..3 {
        releases.replace(&mut trial, slot, true).await?;
    }
    // The former program reads the rows of this release.
    verified("the former release, at the end", &audit_verify(&trial, &program).await)?;
    anyhow::ensure!(schema(database.url()).await? == after, "a former server has changed the schema");
    trial.notes.push(format!(
        "{before} to {after} migrations with {events} events in {} ms; a disablement was followed within {} ms by another server",
        took.as_millis(),
        releases.slowest.as_millis()
    ));
    Ok(Outcome::Held(trial.end().await?))
}

impl Releases {
    /// Ends the server in a slot, starts one of the present or the former release in it, and has it follow a change of another server, and
    /// another server a change of it.
    async fn replace(&mut self, trial: &mut Trial, slot: usize, is_present: bool) -> anyhow::Result<()> {
        let launches = if is_present { &self.present } else { &self.former };
        trial.launches[slot] = launches[slot].clone();
        anyhow::ensure!(trial.take(slot).end().await == Some(0), "a server does not end in order");
        trial.start().await;
        trial.recover().await?;
        trial.tokens(BETWEEN).await?;
        let other = (slot + 1) % trial.servers.len();
        for (changed, follower) in [(slot, other), (other, slot)] {
            let (admin, base) = (trial.server(changed).admin(), trial.server(follower).public());
            let followed = suspect::disable(trial, &self.operator, admin, base).await;
            let followed =
                followed.with_context(|| format!("slot {slot}, present: {is_present}\n{}", trial.story()))?;
            self.slowest = self.slowest.max(followed);
            self.operator.revoke_unknown(admin).await?;
        }
        Ok(())
    }
}

/// The number of migrations.
async fn schema(url: &str) -> anyhow::Result<i64> {
    let mut connection = PgConnection::connect(url).await?;
    let version = sqlx::query_scalar("SELECT COUNT(*) FROM _sqlx_migrations").fetch_one(&mut connection).await?;
    connection.close().await?;
    Ok(version)
}

/// The verification by another program.
async fn audit_verify(trial: &Trial, program: &Path) -> Ended {
    let mut command = Command::new(program);
    command.args(["audit", "verify", "--json", "--config", "sts.toml"]).current_dir(trial.folder.path("."));
    command.env_clear().kill_on_drop(true);
    outcome(command).await
}

fn verified(by: &str, report: &Ended) -> anyhow::Result<()> {
    anyhow::ensure!(report.code == 0, "audit verify of {by}: {report:?}");
    anyhow::ensure!(report.json()[0]["faults"] == json!([]), "audit verify of {by}: {report:?}");
    Ok(())
}
