//! An agent that the clients do not use: it is disabled at one server, and another must follow.

use std::time::Duration;

use reqwest::StatusCode;

use crate::operator::Operator;
use crate::shop::{Shop, service_request};
use crate::trial::{Trial, now};

/// The longest that the following of a change may take. It takes much less.
const PATIENCE: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);

const SUSPECT: &str = "suspect";

/// The registry of the trial with the agent.
pub(super) fn registry(trial: &Trial) -> String {
    format!("{}{}", trial.load.shop.registry(), Shop::service(SUSPECT))
}

/// Disables the agent by the admin API at `admin`, waits until the server at `follower` refuses it, and enables it again. Returns the time
/// from the disablement to the refusal.
pub(super) async fn disable(
    trial: &Trial,
    operator: &Operator,
    admin: &str,
    follower: &str,
) -> anyhow::Result<Duration> {
    until(trial, follower, StatusCode::OK).await?;
    operator.disable(admin, SUSPECT).await?;
    let begun = now();
    until(trial, follower, StatusCode::UNAUTHORIZED).await?;
    let followed = begun.elapsed();
    operator.enable(admin, SUSPECT).await?;
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
