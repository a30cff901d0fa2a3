//! A registry file that servers of a rolling deployment apply when they start.

use std::time::Duration;

use anyhow::Context as _;
use sts_tests::postgres;

use super::CLIENTS;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

/// What the new version of the file adds.
const ADDED: &str = r#"
[[agents]]
id = "auditor"

[[delegations]]
actor = "coordinator"
target = "auditor"
scopes = ["stock:read"]
"#;
/// How long a client waits between two requests: the audit log is read whole after each step.
const PACE: Duration = Duration::from_millis(50);
/// How many tokens come between two steps.
const BETWEEN: usize = 40;

/// Three servers are replaced one by one by others with a newer file, and a former one starts again in between. What both files
/// allow is never refused.
pub(super) async fn rollout(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 3, run.program.as_ref());
    let former_file = trial.load.shop.registry();
    trial.folder.write("former.toml", &former_file);
    let [new, former] = [
        trial.launches.clone(),
        trial
            .launches
            .clone()
            .into_iter()
            .map(|launch| {
                let mut launch = launch.options(&[("REGISTRY", "former.toml")]);
                launch.program.clone_from(&run.former);
                launch
            })
            .collect(),
    ];
    trial.folder.write("registry.toml", &format!("{former_file}{ADDED}"));
    trial.launches = former;
    trial.load.retry_elsewhere();
    trial.start().await;
    trial.ask(CLIENTS, Some(PACE));
    trial.tokens(BETWEEN).await?;

    let mut changes = changes(&trial).await?;
    for round in 0..run.pick(1, 5) {
        // Servers with the same file start again: nothing changes.
        replace(&mut trial, 0).await?;
        changes = unchanged(&trial, changes).await?;
        // The first server with the new file applies it, the others find it applied.
        trial.launches[1] = new[1].clone();
        replace(&mut trial, 1).await?;
        changes = changed(&trial, changes).await.with_context(|| format!("round {round}"))?;
        trial.launches[2] = new[2].clone();
        replace(&mut trial, 2).await?;
        changes = unchanged(&trial, changes).await?;
        trial.launches[0] = new[0].clone();
        replace(&mut trial, 0).await?;
        changes = unchanged(&trial, changes).await?;
        // Back again, for the next round.
        trial.options(&[("REGISTRY", "former.toml")]);
        replace(&mut trial, 0).await?;
        changes = changed(&trial, changes).await?;
    }
    trial.notes.push(format!("{changes} changes of the registry, no request refused meanwhile"));
    Ok(Outcome::Held(trial.end().await?))
}

/// Ends the server in a slot and starts the one that follows it.
async fn replace(trial: &mut Trial, slot: usize) -> anyhow::Result<()> {
    anyhow::ensure!(trial.take(slot).end().await == Some(0), "it does not end in order");
    trial.start().await;
    trial.recover().await?;
    trial.tokens(BETWEEN).await
}

/// How often the registry has been changed, as the audit log tells it.
async fn changes(trial: &Trial) -> anyhow::Result<usize> {
    let events = trial.folder.run(&["audit", "list", "--json"]).await;
    anyhow::ensure!(events.code == 0, "{events:?}");
    Ok(events.json().iter().filter(|event| event["event"] == "registry.changed").count())
}

async fn unchanged(trial: &Trial, before: usize) -> anyhow::Result<usize> {
    let now = changes(trial).await?;
    anyhow::ensure!(now == before, "the registry was changed {} times though its file is the same", now - before);
    Ok(now)
}

async fn changed(trial: &Trial, before: usize) -> anyhow::Result<usize> {
    let now = changes(trial).await?;
    anyhow::ensure!(now == before + 1, "the registry was changed {} times, and should have been once", now - before);
    Ok(now)
}
