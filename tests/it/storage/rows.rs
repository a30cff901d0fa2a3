//! Rows for tests. The past is expired by any clock, the future by none.

use std::sync::Arc;

use jiff::Timestamp;
use sts_jose::SystemEntropy;
use sts_server::storage::{
    AuditFilter, AuditRow, EntryKind, EntryRow, Fresh, KeyRow, KeyState, MAC_BYTES, OneTimeValue, Origin, RecordRows,
    RevocationKind, RevocationRow, RowCodes, StorageError, Store, Stored, TokenReference, TokenRow, Versions,
};

pub(super) const OURS: &str = "https://sts.example.com";
pub(super) const OUTSIDE: &str = "https://login.example.com";

/// Seconds since the epoch: 2001, and as good as never.
const PAST: i64 = 1_000_000_000;
const FUTURE: i64 = 7_000_000_000;

pub(super) fn past() -> Timestamp {
    Timestamp::from_second(PAST).unwrap()
}

pub(super) fn future() -> Timestamp {
    future_by(0)
}

/// A moment of the future, later than another by so many milliseconds.
pub(super) fn future_by(milliseconds: i64) -> Timestamp {
    Timestamp::from_millisecond(FUTURE * 1_000 + milliseconds).unwrap()
}

/// The codes of all databases of this suite.
pub(super) fn codes() -> RowCodes {
    RowCodes::new(b"the tests of storage", Arc::new(SystemEntropy))
}

/// What the database holds now, as a server that knows it does.
pub(super) async fn known(store: &dyn Store) -> Versions {
    store.state().await.unwrap().versions
}

/// The counter and the rows of a table in which no row was changed outside the servers.
pub(super) fn counted<Row>(stored: Stored<Row>) -> (i64, Vec<Row>) {
    assert!(stored.is_whole && stored.faults.is_empty(), "{:?}", stored.faults);
    (stored.version.counter, stored.vouched().collect())
}

pub(super) fn entry(kind: EntryKind, id: &str, body: &str) -> EntryRow {
    EntryRow { kind, id: id.to_owned(), origin: Origin::File, disabled_by_admin: false, body: body.to_owned() }
}

pub(super) fn key(kid: &str, state: KeyState) -> KeyRow {
    KeyRow {
        kid: kid.to_owned(),
        algorithm: "ES256".to_owned(),
        state,
        created_at: past(),
        state_since: past(),
        longest_life: jiff::SignedDuration::from_mins(15),
        sealed: vec![0, 1, 254, 255],
    }
}

/// A living token of the transaction "txn".
pub(super) fn token(jti: &str, parent: Option<(&str, &str)>) -> TokenRow {
    TokenRow {
        jti: jti.to_owned(),
        iss: OURS.to_owned(),
        parent: parent.map(|(iss, jti)| TokenReference { iss: iss.to_owned(), jti: jti.to_owned() }),
        txn: "txn".to_owned(),
        client_id: "coordinator".to_owned(),
        issued_at: past(),
        expires_at: future(),
    }
}

pub(super) fn token_of_txn(jti: &str, parent: Option<(&str, &str)>, txn: &str) -> TokenRow {
    TokenRow { txn: txn.to_owned(), ..token(jti, parent) }
}

pub(super) fn audit(writer: &str, writer_sequence: i64) -> AuditRow {
    let mut mac = [0xee; MAC_BYTES];
    mac[..8].copy_from_slice(&writer_sequence.to_be_bytes());
    AuditRow {
        writer: writer.to_owned(),
        writer_sequence,
        at: past(),
        correlation_id: None,
        txn: None,
        jti: None,
        body: format!(r#"{{"text":"größer \"than\" {writer_sequence}"}}"#),
        mac,
    }
}

pub(super) fn one_time(namespace: &str, value: &str) -> OneTimeValue {
    OneTimeValue { namespace: namespace.to_owned(), value: value.to_owned(), expires_at: future() }
}

pub(super) fn revocation(kind: RevocationKind, issuer: Option<&str>, value: &str) -> RevocationRow {
    RevocationRow {
        kind,
        issuer: issuer.map(str::to_owned),
        value: value.to_owned(),
        // Later than the act, or the store would raise it.
        at: future(),
        expires_at: future(),
        // The store sets it.
        version: -1,
        txn: None,
    }
}

/// Records tokens without more ado.
pub(super) async fn record_tokens(store: &dyn Store, tokens: Vec<TokenRow>) -> Result<(), StorageError> {
    record_rows(store, RecordRows { tokens, audit: Vec::new() }).await
}

/// Records a token after an outage. The writer tests a connection that has rested for a second: a batch before that may
/// be lost with the connection.
pub(super) async fn record_after_outage(store: &dyn Store, row: TokenRow) {
    if let Err(error) = record_tokens(store, vec![row.clone()]).await {
        assert!(error.is_outage(), "{error:?}");
        record_tokens(store, vec![row]).await.unwrap();
    }
}

pub(super) async fn record_rows(store: &dyn Store, rows: RecordRows) -> Result<(), StorageError> {
    let mut rows = Some(rows);
    let known = [store.state().await?.versions];
    store.record(&known, &[], &mut |_| rows.take().unwrap()).await
}

/// Spends values without recording a token; which of them were spent.
pub(super) async fn spend(store: &dyn Store, values: &[OneTimeValue]) -> Vec<bool> {
    fresh(store, &[known(store).await], values).await.spent
}

/// What a record transaction that writes nothing finds.
pub(super) async fn fresh(store: &dyn Store, known: &[Versions], values: &[OneTimeValue]) -> Fresh {
    let mut found = None;
    store
        .record(known, values, &mut |fresh| {
            found = Some(fresh.clone());
            RecordRows::default()
        })
        .await
        .unwrap();
    found.unwrap()
}

/// The standing revocations as (kind, issuer, value), in order.
pub(super) async fn standing(store: &dyn Store) -> Vec<(RevocationKind, Option<String>, String)> {
    let (_, rows) = counted(store.revocations().await.unwrap());
    let mut standing: Vec<_> = rows.into_iter().map(|row| (row.kind, row.issuer, row.value)).collect();
    standing.sort();
    standing
}

/// All audit rows, without their ids.
pub(super) async fn audit_rows(store: &dyn Store) -> Vec<AuditRow> {
    let stored = store.audit(&AuditFilter::default(), 100_000).await.unwrap().rows;
    stored.iter().map(|stored| stored.row.well_formed().unwrap()).collect()
}
