//! The client of the STS, against the real server and against one that lies.

mod answers;
mod bound;
mod discovery;
mod hostile;
mod load;
mod outages;
mod requests;
mod secret_files;
mod server;

use std::sync::Arc;

use sts_client::exchange::{ExchangeError, Outage};
use sts_client::inbound::Issuer;
use sts_client::net::TransportError;
use sts_client::{Caller, CorrelationId, Verifier};
use sts_jose::ManualClock;
use sts_tests::bearer;

/// What came of a call, as the caller must be able to tell it apart.
fn class<T>(result: &Result<T, ExchangeError>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(ExchangeError::Refused { code }) => format!("refused: {code}"),
        Err(ExchangeError::Overloaded { retry_after }) => format!("overloaded: {retry_after:?}"),
        Err(ExchangeError::WrongAudience { issued }) => format!("wrong audience: {issued}"),
        Err(ExchangeError::Misconfigured { .. }) => "misconfigured".to_owned(),
        Err(ExchangeError::Outage(outage)) => match &**outage {
            Outage::Transport(TransportError::TimedOut) => "outage: timed out".to_owned(),
            Outage::Transport(_) => "outage: transport".to_owned(),
            Outage::Status { status, .. } => format!("outage: {status}"),
            Outage::BreakerOpen => "outage: breaker".to_owned(),
            Outage::Keys(_) => "outage: keys".to_owned(),
            other => format!("outage: {other}"),
        },
        Err(other) => panic!("{other:?}"),
    }
}

/// What an agent with that `aud` makes of a token.
async fn delegation(issuer: Issuer, audience: &str, token: &str, clock: &ManualClock) -> Caller {
    let verifier = Verifier::builder([audience]).issuer(issuer).clock(Arc::new(clock.clone())).build().unwrap();
    verifier.verify(&bearer(token)).await.unwrap()
}

fn correlation_id(text: &str) -> CorrelationId {
    CorrelationId::from_text(text).unwrap()
}
