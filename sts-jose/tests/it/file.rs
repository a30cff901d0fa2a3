use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sts_jose::{Algorithm, FileKeySet, KeyLookupError, KeySet, KeySource, MAX_KEY_AGE, ManualClock, SigningKey};

use crate::support::jwks;

struct Rig {
    clock: ManualClock,
    path: tempfile::TempPath,
    source: KeySource,
}

fn rig(content: &[u8]) -> Rig {
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
    std::fs::write(&path, content).unwrap();
    let clock = ManualClock::new(Timestamp::UNIX_EPOCH);
    let source = KeySource::File(FileKeySet::new(path.to_path_buf(), Arc::new(clock.clone())));
    Rig { clock, path, source }
}

impl Rig {
    async fn knows(&self, key: &SigningKey) -> bool {
        self.source.candidates(Some(key.kid()), Algorithm::Es256).await.is_ok()
    }

    fn next_second(&self) {
        self.clock.advance(Duration::from_secs(1));
    }
}

fn key() -> SigningKey {
    SigningKey::generate(Algorithm::Es256).unwrap()
}

#[tokio::test]
async fn a_changed_file_is_read_again_after_a_second() {
    let (old, new) = (key(), key());
    let rig = rig(&jwks(&[&old]));
    assert!(rig.knows(&old).await);
    std::fs::write(&rig.path, jwks(&[&old, &new])).unwrap();
    assert!(!rig.knows(&new).await, "looked at no more than once a second");
    rig.next_second();
    assert!(rig.knows(&new).await);
    for _ in 0..5 {
        rig.next_second();
        assert!(rig.knows(&old).await);
    }
    assert_eq!(rig.source.health().fetches, 2, "an unchanged file is not read");
}

#[tokio::test]
async fn keys_stay_while_the_file_is_gone_or_broken_for_a_day_and_no_longer() {
    let key = key();
    let rig = rig(&jwks(&[&key]));
    assert!(rig.knows(&key).await);
    for content in [Some("not json"), Some("{}"), None] {
        match content {
            Some(content) => std::fs::write(&rig.path, content).unwrap(),
            None => std::fs::remove_file(&rig.path).unwrap(),
        }
        rig.next_second();
        assert!(rig.knows(&key).await, "{content:?}");
        assert!(rig.source.health().failing, "{content:?}");
        assert!(rig.source.refresh().await.is_err());
        let answer = rig.source.candidates(Some("unknown"), Algorithm::Es256).await;
        assert!(matches!(answer, Err(KeyLookupError::Unavailable(_))), "{content:?}: {answer:?}");
    }
    rig.clock.advance(MAX_KEY_AGE);
    assert!(!rig.knows(&key).await);
    std::fs::write(&rig.path, jwks(&[&key])).unwrap();
    rig.source.refresh().await.unwrap();
    assert!(!rig.source.health().failing);
}

#[tokio::test]
async fn an_unchanged_file_does_not_age() {
    let key = key();
    let rig = rig(&jwks(&[&key]));
    for _ in 0..50 {
        assert!(rig.knows(&key).await);
        rig.clock.advance(Duration::from_secs(3_600));
    }
}

#[tokio::test]
async fn a_file_that_was_emptied_of_keys_withdraws_them() {
    let key = key();
    let rig = rig(&jwks(&[&key]));
    assert!(rig.knows(&key).await);
    std::fs::write(&rig.path, "{\"keys\":[]}").unwrap();
    rig.next_second();
    let answer = rig.source.candidates(Some(key.kid()), Algorithm::Es256).await;
    assert!(matches!(answer, Err(KeyLookupError::Unusable)), "{answer:?}");
    assert!(rig.source.health().failing);
}

#[cfg(unix)]
#[tokio::test]
async fn a_device_or_a_pipe_in_place_of_the_file_is_an_outage_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    for path in [std::path::Path::new("/dev/zero"), &pipe] {
        let source = KeySource::File(FileKeySet::new(path, Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH))));
        let answer = source.candidates(Some("a"), Algorithm::Es256).await;
        assert!(matches!(answer, Err(KeyLookupError::Unavailable(_))), "{}: {answer:?}", path.display());
    }
}

#[tokio::test]
async fn a_file_that_was_never_readable_is_an_outage_and_a_missing_key_a_refusal() {
    let key = key();
    let rig = rig(b"");
    let answer = rig.source.candidates(Some("a"), Algorithm::Es256).await;
    assert!(matches!(answer, Err(KeyLookupError::Unavailable(_))));
    std::fs::write(&rig.path, jwks(&[&key])).unwrap();
    rig.next_second();
    let answer = rig.source.candidates(Some("a"), Algorithm::Es256).await;
    assert!(matches!(answer, Err(KeyLookupError::Unknown)));
}

#[tokio::test]
async fn a_huge_file_is_not_used() {
    let mut content = jwks(&[&key()]);
    content.resize(sts_jose::MAX_KEY_SET_BYTES + 1, b' ');
    let rig = rig(&content);
    assert!(rig.source.refresh().await.is_err());
}

#[tokio::test]
async fn inline_keys_are_known_or_not() {
    let key = key();
    let source = KeySource::Inline(KeySet::parse(&jwks(&[&key])).unwrap());
    assert!(source.candidates(Some(key.kid()), Algorithm::Es256).await.is_ok());
    assert!(matches!(source.candidates(Some("a"), Algorithm::Es256).await, Err(KeyLookupError::Unknown)));
    source.refresh().await.unwrap();
}
