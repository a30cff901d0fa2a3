//! A server whose clock jumps, by `libfaketime`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use sts_tests::postgres;

use super::CLIENTS;
use crate::load::{Answer, token};
use crate::shop::Bad;
use crate::trial::{Home, Trial};
use crate::{Outcome, Run};

/// How far it jumps, in seconds, and whether the server is ready then: its clock and the database's may lie a minute apart.
const JUMPS: [(i32, bool); 7] =
    [(20, true), (300, false), (0, true), (-20, true), (-300, false), (86_400, false), (0, true)];
/// Within this a server knows.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How many tokens come of the other server between two jumps.
const BETWEEN: usize = 40;
/// Where Debian has the library, for any architecture.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

fn library() -> Option<PathBuf> {
    let folders = std::fs::read_dir(LIBRARIES).ok()?;
    folders.filter_map(|folder| Some(folder.ok()?.path().join(LIBRARY))).find(|path| path.is_file())
}

/// Clients go by readiness, as a balancer does: to the server whose clock is right. It is disturbed by nothing.
pub(super) async fn jumps(run: Run) -> anyhow::Result<Outcome> {
    let Some(library) = library() else {
        return Ok(Outcome::NotHere(format!("there is no {LIBRARIES}/*/{LIBRARY} (package \"libfaketime\")")));
    };
    let database = postgres::database().await;
    let mut trial = Trial::prepare(&Home::at(database.url()), 2, run.program.as_ref());
    let file = trial.folder.write("offset", "+0");
    let environment = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", file.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    trial.launches[1].environment.extend(environment.map(|(name, value)| (name.to_owned(), value)));
    trial.start().await;
    let [right, wrong] = [0, 1].map(|slot| trial.server(slot).public().to_owned());
    trial.load.ask_at(vec![right.clone()]);
    trial.ask(CLIENTS, None);
    for _ in 0..run.pick(1, 5) {
        for (seconds, is_ready) in JUMPS {
            trial.folder.write("offset", &format!("{seconds:+}"));
            ready(&wrong, is_ready).await.with_context(|| format!("{seconds:+} s"))?;
            jumped(&trial, &right, &wrong, seconds).await?;
            trial.tokens(BETWEEN).await?;
        }
    }
    trial.load.ask_at(vec![right, wrong]);
    trial.recover().await?;
    trial.tokens(BETWEEN).await?;
    trial.notes.push(format!("jumps by {} s", JUMPS.map(|(seconds, _)| format!("{seconds:+}")).join(", ")));
    Ok(Outcome::Held(trial.end().await?))
}

/// Returns when a server says of itself that it is ready, or that it is not.
async fn ready(base: &str, is_ready: bool) -> anyhow::Result<()> {
    let (http, says) = (reqwest::Client::new(), if is_ready { 200 } else { 503 });
    let says_so = async {
        loop {
            let answer = http.get(format!("{base}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status().as_u16() == says) {
                return;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(NOTICED_WITHIN, says_so).await.with_context(|| format!("readiness is not {says}"))
}

/// Whatever time a server takes it to be: it accepts no value that was spent, and nothing that must be refused.
async fn jumped(trial: &Trial, right: &str, wrong: &str, seconds: i32) -> anyhow::Result<()> {
    let (value, form) = trial.load.shop.one_time();
    let Answer::Whole { status: 200, body, .. } = trial.load.send(right, &form).await else {
        anyhow::bail!("{seconds:+} s: the server whose clock is right does not serve");
    };
    trial.load.spend(&value, &[&Some(body)]);
    for form in [form].into_iter().chain(Bad::ALL.map(|bad| trial.load.shop.bad(bad))) {
        match trial.load.send(wrong, &form).await {
            Answer::Whole { status: 400 | 401, .. } => {}
            other => anyhow::bail!("{seconds:+} s: a refusal was owed for {form:?}, and {other:?} came"),
        }
    }
    // What it issues, if it does, is recorded like any other; what it refuses, it refuses by its own time.
    let issued = trial.load.send(wrong, &trial.load.shop.first_hop()).await;
    if let Answer::Whole { status: 200, body, .. } = issued {
        trial.load.enter(&token(&body).context("a success without a token")?);
    }
    Ok(())
}
