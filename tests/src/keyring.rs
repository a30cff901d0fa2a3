//! The keys of the servers under test. The signing keys are made once for the whole run, for making RSA keys takes long.

use std::path::Path;
use std::sync::Arc;

use sts_jose::{Entropy, SystemClock, SystemEntropy};
use sts_server::config::Config;
use sts_server::keys::MasterKey;
use sts_server::server::{Foundation, Surroundings};
use sts_server::storage::{KeyChanges, KeyRow, RowCodes, Store};
use sts_server::ttl::Ttl;
use tokio::sync::OnceCell;

/// The base64 of 32 bytes.
const MASTER_KEY: &str = "dGhlIG1hc3RlciBrZXkgb2YgYWxsIG9mIHRoZSB0ZXM=\n";

/// Writes the master key of the run.
pub(crate) fn write_master_key(path: &Path) {
    std::fs::write(path, MASTER_KEY).expect("the directory is ours");
}

/// The codes of the rows under a master key.
#[must_use]
pub fn row_codes(master: &MasterKey) -> RowCodes {
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    master.row_codes(&entropy)
}

/// Migrates an empty database and puts the keys of the run into it.
pub(crate) async fn install(store: &dyn Store, config: &Config) {
    static ROWS: OnceCell<Vec<KeyRow>> = OnceCell::const_new();
    store.migrate().await.expect("a schema");
    let rows = ROWS.get_or_init(|| make(config)).await;
    let changes = KeyChanges { put: rows.clone(), ..KeyChanges::default() };
    let expected = store.state().await.expect("a schema").versions.keys;
    store.change_keys(expected, &changes, &[]).await.expect("the database is ours");
}

async fn make(config: &Config) -> Vec<KeyRow> {
    let directory = tempfile::tempdir().expect("a directory");
    let mut config = config.clone();
    // As long as any server may let a token live: none has to prolong the keys' life.
    config.limits.max_ttl = Ttl::from_minutes(8 * 60);
    config.database.url = format!("sqlite://{}", directory.path().join("keys.db").display());
    let surroundings = Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) };
    let foundation = Foundation::lay(&config, surroundings).await.expect("a database");
    foundation.store.migrate().await.expect("a schema");
    foundation.administration(&config).ensure_keys().await.expect("keys");
    let rows = foundation.store.keys().await.expect("keys").vouched().collect();
    foundation.store.close().await;
    rows
}
