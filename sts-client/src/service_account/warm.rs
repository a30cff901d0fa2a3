//! The background task that renews tokens before an outage of the STS, when it is still possible to
//! get a token.

use std::sync::Arc;
use std::time::Duration;

use sts_jose::Entropy;

use super::slot::Slot;
use crate::call::CorrelationId;
use crate::error::Error;

/// The pause after an outage, and the minimum pause between two requests.
const RETRY: Duration = Duration::from_secs(3);
/// The pause after a refusal, which an operator must resolve first. Also used if the source does
/// not report when its tokens expire.
const SLOW: Duration = Duration::from_secs(30);
/// The maximum sleep. After it, the task notices that the machine was suspended or the clock was
/// set.
const LONGEST: Duration = Duration::from_secs(60);

/// Renews the token of a slot at half of its lifetime, in an endless loop. The caller has already
/// filled the slot once.
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
            tracing::warn!(error, "failed to renew the service account's token that is kept for an outage");
        }
        failing = answer.is_err();
        pause = match answer {
            Ok(_) => slot.renewal_in().unwrap_or(SLOW),
            Err(Error::Unavailable { .. }) => RETRY,
            Err(
                Error::Refused { .. }
                | Error::ApprovalRequired(_)
                | Error::Misconfigured { .. }
                | Error::WrongAudience { .. }
                | Error::NoRoute { .. },
            ) => SLOW,
        };
    }
}

/// Shortens the pause at random by up to a quarter. Agents that started together then do not send
/// their requests together.
fn spread(pause: Duration, entropy: &dyn Entropy) -> Duration {
    let mut chance = [0; 1];
    entropy.fill(&mut chance);
    let [chance] = chance;
    pause - pause / 1024 * u32::from(chance)
}
