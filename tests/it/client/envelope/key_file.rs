//! The file of an agent's keys: it outlives restarts, is shared by processes, and is read by no other user.

use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use sts_client::SigningKey;
use sts_client::dedup::SqliteDedupStore;
use sts_client::envelope::{
    AgentKeys, AgentKeysError, Capability, DecryptionKey, Envelopes, EnvelopesBuilder, KeyFileError, Needs, Peer,
};
use sts_client::{KeySet, KeySource};
use sts_jose::Algorithm;

use super::{World, draft, scope};

fn load(path: &Path) -> Result<AgentKeys, KeyFileError> {
    match AgentKeys::load_or_create(path) {
        Ok(keys) => Ok(keys),
        Err(AgentKeysError::File(error)) => Err(error),
        Err(error) => panic!("{error:?}"),
    }
}

/// A ledger with keys of this file, as each of its processes is set up.
fn ledger(world: &World, keys: AgentKeys) -> EnvelopesBuilder {
    Envelopes::builder("ledger", keys)
        .audience("https://ledger.shop.example/")
        .peer(Peer::new("billing", world.billing_keys.source()))
        .capability(Capability::ToolCall, Needs::scopes([scope("refund:draft")]))
        .clock(Arc::new(world.clock.clone()))
}

/// The billing agent, which knows the ledger by the key set that it publishes.
fn billing(world: &World, ledger_keys: &AgentKeys) -> Envelopes {
    let published = KeySource::Inline(KeySet::parse(ledger_keys.jwks().to_string().as_bytes()).unwrap());
    Envelopes::builder("billing", world.billing_keys.agent.clone())
        .peer(Peer::new("ledger", published).audience("https://ledger.shop.example/"))
        .clock(Arc::new(world.clock.clone()))
        .build()
        .unwrap()
}

#[tokio::test]
async fn an_answer_is_repeated_after_a_restart_and_by_another_process() {
    let mut world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let url = format!("sqlite://{}", folder.path().join("once.db").display());
    let headers = world.token(&json!({}));
    let keys = load(&path).unwrap();
    world.billing = billing(&world, &keys);
    let store = Arc::new(SqliteDedupStore::open(&url).await.unwrap());
    world.ledger = ledger(&world, keys).once(store).build().unwrap();
    let opened = world.open(&world.seal(&headers, "refund-1").await.envelope, &headers).await.unwrap();
    opened.serve(draft).await.unwrap();

    let store = Arc::new(SqliteDedupStore::open(&url).await.unwrap());
    world.ledger = ledger(&world, load(&path).unwrap()).once(store).build().unwrap();
    let sealed = world.seal(&headers, "refund-1").await;
    let opened = world.open(&sealed.envelope, &headers).await.unwrap();
    assert!(opened.is_repeated());
    let answer = opened.serve(draft).await.unwrap();
    assert_eq!(sealed.awaiting.open::<super::Drafted>(&answer).await.unwrap().draft, "draft-1");
    // A new operation is opened there too.
    world.open(&world.seal(&headers, "refund-2").await.envelope, &headers).await.unwrap().serve(draft).await.unwrap();
}

#[test]
fn processes_that_start_at_once_get_the_same_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let jwks: Vec<_> = std::thread::scope(|threads| {
        let starting: Vec<_> = (0..8).map(|_| threads.spawn(|| load(&path).unwrap().jwks())).collect();
        starting.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let stored = load(&path).unwrap().jwks();
    for jwks in jwks {
        assert_eq!(jwks, stored);
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left in the folder");
}

#[cfg(unix)]
#[test]
fn a_file_that_others_may_read_is_refused() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    load(&path).unwrap();
    let mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    for exposed in [0o644, 0o640, 0o604, 0o660, 0o610] {
        mode(exposed);
        let error = load(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Exposed { .. }), "{exposed:o}: {error:?}");
    }
    mode(0o400);
    load(&path).unwrap();
}

#[test]
fn a_file_that_is_none_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    load(&path).unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let secret = text.split('"').max_by_key(|part| part.len()).unwrap().to_owned();
    let rows = [
        String::new(),
        "{}".to_owned(),
        text.replacen("\"version\": 1", "\"version\": 2", 1),
        text.replacen("\"version\": 1", "\"version\": 1, \"more\": 1", 1),
        text.replacen(&secret, "AAAA", 1),
        text.replacen("P-256", "P-384", 1),
        text.replacen("ES256", "RS256", 1),
        text.get(..text.len() / 2).unwrap().to_owned(),
    ];
    for row in rows {
        assert_ne!(row, text);
        std::fs::write(&path, &row).unwrap();
        let error = load(&path).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("keys.json") && !shown.contains(&secret), "{shown}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), row);
    }
    let error = load(&folder.path().join("absent/keys.json")).unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. }), "{error:?}");
    let error = load(folder.path()).unwrap_err();
    assert!(matches!(error, KeyFileError::Io { .. } | KeyFileError::Exposed { .. }), "{error:?}");
}

#[test]
fn keys_in_all_parts_of_their_life_are_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let keys = load(&path).unwrap();
    let announce =
        || keys.announce(SigningKey::generate(Algorithm::EdDsa).unwrap(), DecryptionKey::generate().unwrap());
    let steps: [&dyn Fn(); 4] = [&announce, &|| keys.activate(), &announce, &|| keys.retire()];
    for (step, counted) in steps.into_iter().zip([4, 4, 6, 4]) {
        step();
        keys.save(&path).unwrap();
        let jwks = load(&path).unwrap().jwks();
        assert_eq!(jwks, keys.jwks());
        assert_eq!(jwks["keys"].as_array().unwrap().len(), counted);
    }
}
