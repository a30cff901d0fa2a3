//! Values that count once, raced across replicas and restarts.

use std::sync::Arc;

use anyhow::Context as _;
use serde_json::Value;
use sts_tests::postgres;
use tokio::task::JoinSet;

use crate::load::{Answer, is_spent};
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

const REPLICAS: usize = 3;
/// The number of requests that race with one value.
const RACERS: usize = 48;
/// How many clients ask meanwhile.
const CLIENTS: usize = 8;

pub(super) async fn raced(run: Run) -> anyhow::Result<Outcome> {
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), REPLICAS, run.program.as_ref());
    trial.load.retry_elsewhere();
    // The servers agree on nonces without asking each other, also those that were restarted.
    trial.options(&[("DPOP__NONCE", "required")]);
    trial.start().await;
    let first = trial.load.bases()[0].clone();
    trial.load.received(&first, &trial.load.shop.bound_first_hop()).await.context("a token, and the first nonce")?;
    trial.begin(CLIENTS).await;
    let rounds = run.pick(3, 60);
    for round in 0..rounds {
        let shop = &trial.load.shop;
        let (value, form) = if round % 2 == 0 { shop.one_time_proof() } else { shop.one_time() };
        let (form, bases) = (Arc::new(form), trial.load.bases());
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let (load, form, base) = (Arc::clone(&trial.load), Arc::clone(&form), bases[racer % bases.len()].clone());
            racers.spawn(async move { load.send(&base, &form).await });
        }
        let answers = racers.join_all().await;
        for answer in &answers {
            match answer {
                Answer::Whole { status: 200, body, .. } => {
                    trial.load.spend(&value, &[&Some(body.clone())]);
                    body["access_token"].as_str().into_iter().for_each(|token| trial.load.enter(token));
                }
                Answer::Whole { status, body, .. } if is_spent(*status, code(body)) => {}
                other => anyhow::bail!("round {round}: {other:?}"),
            }
        }
        let accepted = answers.iter().filter(|answer| matches!(answer, Answer::Whole { status: 200, .. })).count();
        anyhow::ensure!(accepted == 1, "I7: round {round}: accepted {accepted} times");
        // One server dies, and comes again knowing nothing but what the database knows.
        trial.take(round % REPLICAS).kill().await;
        trial.start().await;
        for base in &bases {
            match trial.load.send(base, &form).await {
                Answer::Whole { status, body, .. } if is_spent(status, code(&body)) => {}
                other => anyhow::bail!("I7: round {round}, after a restart: {other:?}"),
            }
        }
    }
    trial.notes.push(format!("{rounds} assertions and proofs, each raced by {RACERS} requests on {REPLICAS} servers"));
    Ok(Outcome::Held(trial.end().await?))
}

fn code(body: &Value) -> &str {
    body["error"].as_str().unwrap_or_default()
}
