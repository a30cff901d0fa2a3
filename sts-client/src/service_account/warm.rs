//! Keeps the tokens there that stand in for an STS out of reach: it is too late to ask for one when the STS is down.

use std::sync::Arc;
use std::time::Duration;

use sts_jose::Entropy;

use super::slot::Slot;
use crate::call::CorrelationId;
use crate::error::Error;

/// After an outage, and the least between two requests.
const RETRY: Duration = Duration::from_secs(3);
/// After a refusal, which somebody must undo first; and where the source does not say when its tokens die.
const SLOW: Duration = Duration::from_secs(30);
/// The longest sleep: a machine that was suspended, or a clock that was set, is noticed by then.
const LONGEST: Duration = Duration::from_secs(60);

/// Renews the token of a slot at half of its life, for ever. The slot has been filled once before.
pub(crate) async fn keep_warm(slot: Arc<Slot>, entropy: Arc<dyn Entropy>) {
    let mut failing = false;
    let mut pause = slot.renewal_in().unwrap_or(SLOW);
    loop {
        slot.report();
        tokio::select! {
            () = tokio::time::sleep(spread(pause.clamp(RETRY, LONGEST), entropy.as_ref())) => {}
            () = async { tokio::time::sleep(RETRY).await; slot.dropped().await } => {}
        }
        if let Some(left) = slot.renewal_in().filter(|left| !failing && *left > RETRY) {
            pause = left;
            continue;
        }
        let answer = slot.ask(&CorrelationId::random(entropy.as_ref())).await;
        if let (Err(error), false) = (&answer, failing) {
            let error: &dyn std::error::Error = error;
            tracing::warn!(error, "the service account's token that is kept for an outage cannot be renewed");
        }
        failing = answer.is_err();
        pause = match answer {
            Ok(_) => slot.renewal_in().unwrap_or(SLOW),
            Err(Error::Unavailable { .. }) => RETRY,
            Err(
                Error::Refused { .. }
                | Error::Misconfigured { .. }
                | Error::WrongAudience { .. }
                | Error::NoRoute { .. },
            ) => SLOW,
        };
    }
}

/// Up to a quarter less, so that agents that were started together do not ask together.
fn spread(pause: Duration, entropy: &dyn Entropy) -> Duration {
    let mut chance = [0; 1];
    entropy.fill(&mut chance);
    let [chance] = chance;
    pause - pause / 1024 * u32::from(chance)
}
