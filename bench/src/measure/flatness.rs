//! The same with many live tokens recorded, all of one user, each with its audit event: throughput and memory.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use sts_jose::{Algorithm, Clock as _, SystemClock, SystemEntropy};
use sts_server::mint;
use sts_server::record::{AuditWriter, Event, EventKind};
use sts_server::storage::{self, RecordRows, RowCodes, Store, TokenReference, TokenRow};

use super::exchange::{self, Exchanges, Subjects};
use crate::arguments::Plan;
use crate::server::{CLIENT, Server};

/// How many rows one transaction adds.
const PORTION: usize = 5_000;
/// How long the tokens live: longer than any run.
const LIFE: SignedDuration = SignedDuration::from_hours(4);

/// Exchanges with so many live tokens recorded.
#[derive(Debug, Clone)]
pub struct Level {
    /// How many live tokens there are.
    pub live_tokens: usize,
    /// The exchanges.
    pub exchanges: Exchanges,
    /// The server's memory in RAM after them, in MiB.
    pub resident_mib: f64,
}

/// Measures at each of `levels`, which rise.
///
/// # Errors
/// An answer that is no token, or a database that does not take the rows.
pub async fn measure(plan: &Plan, server: &Server, levels: &[usize]) -> anyhow::Result<Vec<Level>> {
    // Tokens and events have no codes: any will do.
    let codes = RowCodes::new(&[0; 32], Arc::new(SystemEntropy));
    let store = storage::open(server.database_url(), 2, codes).await?;
    let mut writer = AuditWriter::new(key(), &SystemEntropy);
    let (mut measured, mut recorded) = (Vec::new(), 0);
    for live_tokens in levels {
        while recorded < *live_tokens {
            let count = PORTION.min(live_tokens - recorded);
            record(&store, &mut writer, server, count).await?;
            recorded += count;
        }
        let exchanges = exchange::measure(plan, server, Algorithm::Es256, Subjects::Once).await?;
        measured.push(Level { live_tokens: *live_tokens, exchanges, resident_mib: server.resident_mib()? });
    }
    store.close().await;
    Ok(measured)
}

/// Throughput at the highest level as a part of that at the lowest.
#[must_use]
pub fn flatness(levels: &[Level]) -> f64 {
    match (levels.first(), levels.last()) {
        (Some(first), Some(last)) => last.exchanges.per_second.median() / first.exchanges.per_second.median(),
        (None, _) | (_, None) => 0.0,
    }
}

/// Adds rows by the store's own statements, as an exchange does.
async fn record(store: &Arc<dyn Store>, writer: &mut AuditWriter, server: &Server, count: usize) -> anyhow::Result<()> {
    let now = SystemClock.now();
    let tokens: Vec<TokenRow> = (0..count).map(|_| token(server, now)).collect();
    let audit = tokens.iter().map(|token| writer.seal(&event(token, now))).collect();
    let mut rows = Some(RecordRows { tokens, audit });
    let known = [store.state().await?.versions];
    store.record(&known, &[], &mut |_fresh| rows.take().unwrap_or_default()).await?;
    Ok(())
}

fn token(server: &Server, now: Timestamp) -> TokenRow {
    let name = || mint::name(now, &SystemEntropy);
    TokenRow {
        iss: server.issuer().to_owned(),
        jti: name(),
        parent: Some(TokenReference { iss: server.users().issuer.clone(), jti: name() }),
        txn: name(),
        client_id: CLIENT.to_owned(),
        issued_at: now,
        expires_at: now + LIFE,
    }
}

fn event(token: &TokenRow, now: Timestamp) -> Event {
    let mut event = Event::new(EventKind::TokenIssued, now);
    event.client_id = Some(token.client_id.clone());
    event.sub = Some("alice".to_owned());
    event.jti = Some(token.jti.clone());
    event.txn = Some(token.txn.clone());
    event.correlation_id = Some(mint::name(now, &SystemEntropy));
    event
}

/// Any key will do: nobody verifies these rows.
fn key() -> aws_lc_rs::hmac::Key {
    aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &[0; 32])
}
