//! An HTTP client whose client certificate is in files that the operator replaces.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use secrecy::SecretSlice;
use sts_jose::{BoundedFile, Clock, FileContent, FileVersion, HttpClientError, has_passed};
use tokio::sync::Semaphore;

use super::certificate_files::{CertificateFiles, joined, leaf, read_now, unreadable, x5t_s256};
use super::http_options::HttpClient;
#[cfg(feature = "reqwest")]
use super::http_options::HttpOptions;

/// The minimum interval between two looks at the files.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// A client, or the client of the present certificate.
#[cfg(feature = "reqwest")]
#[derive(Debug)]
pub(crate) enum ClientSource {
    /// A client with fixed options.
    Fixed(HttpClient),
    /// A client whose certificate is in files.
    Followed(Box<FollowedClient>),
}

#[cfg(feature = "reqwest")]
impl HttpOptions {
    /// Makes a client that follows the files of its certificate, if it has any. If `leader` has the same
    /// files, the two take up a replaced certificate together.
    pub(crate) fn source(
        &self,
        leader: Option<&Arc<FollowedClient>>,
        clock: Arc<dyn Clock>,
    ) -> Result<ClientSource, HttpClientError> {
        let Some(files) = self.certificate_files() else { return self.build().map(ClientSource::Fixed) };
        let options = self.clone();
        let mut followed = FollowedClient::open(files, clock, move |pem| options.build_with(Some(pem)))?;
        followed.leader = leader.filter(|leader| leader.has_files_of(&followed)).cloned();
        Ok(ClientSource::Followed(Box::new(followed)))
    }
}

/// An HTTP client that is made again when a file of its client certificate has changed. If the new
/// files cannot be used, as halfway through their replacement, the client from before stays in use,
/// and a single warning is logged.
///
/// A call looks at the files if the last look was a second ago or longer. Calls during a look do not wait
/// for it: they use the client from before.
pub(crate) struct FollowedClient {
    files: [BoundedFile; 2],
    make: Make,
    made: Mutex<Made>,
    is_failing: AtomicBool,
    clock: Arc<dyn Clock>,
    looked_at: Mutex<Timestamp>,
    /// The right to look at the files.
    looks: Semaphore,
    /// The client whose certificate this one takes up. Without it, each of the two would look at the same
    /// files at other times, and tokens bound to the certificate of one would be sent with that of the other.
    #[cfg(feature = "reqwest")]
    leader: Option<Arc<FollowedClient>>,
}

/// A function that makes a client with a certificate and key, in PEM.
type Make = Box<dyn Fn(&SecretSlice<u8>) -> Result<HttpClient, HttpClientError> + Send + Sync>;

#[derive(Clone)]
struct Made {
    versions: [FileVersion; 2],
    client: HttpClient,
    /// The thumbprint of the certificate.
    x5t_s256: Arc<str>,
}

impl FollowedClient {
    /// Reads the files and makes the first client.
    pub(crate) fn open(
        files: &CertificateFiles,
        clock: Arc<dyn Clock>,
        make: impl Fn(&SecretSlice<u8>) -> Result<HttpClient, HttpClientError> + Send + Sync + 'static,
    ) -> Result<Self, HttpClientError> {
        let (files, make) = (files.bounded(), Box::new(make));
        let looked_at = Mutex::new(clock.now());
        let made = Made::new(read_now(&files)?, &*make)?;
        Ok(Self {
            files,
            make,
            made: Mutex::new(made),
            is_failing: AtomicBool::new(false),
            clock,
            looked_at,
            looks: Semaphore::new(1),
            #[cfg(feature = "reqwest")]
            leader: None,
        })
    }

    /// Returns the client with the present certificate. Makes it again if a file has changed.
    pub(crate) async fn current(&self) -> HttpClient {
        self.follow().await;
        self.lock().client.clone()
    }

    async fn follow(&self) {
        #[cfg(feature = "reqwest")]
        if let Some(leader) = &self.leader {
            leader.look_if_due().await;
            let versions = leader.lock().versions;
            if versions == self.lock().versions {
                return;
            }
            // The look that failed is not repeated by each call.
            if !self.is_failing.load(Ordering::Relaxed) {
                return self.look().await;
            }
        }
        self.look_if_due().await;
    }

    async fn look_if_due(&self) {
        let last = *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
        if has_passed(Some(last), self.clock.now(), CHECK_INTERVAL) {
            self.look().await;
        }
    }

    /// Looks at the files, and makes the client again if one has changed. Returns at once during another look.
    async fn look(&self) {
        let Ok(_right) = self.looks.try_acquire() else { return };
        *self.looked_at.lock().unwrap_or_else(PoisonError::into_inner) = self.clock.now();
        let made = self.lock().clone();
        let changed = match self.is_changed(&made).await {
            Ok(false) => None,
            Ok(true) => Some(self.make_again().await),
            Err(error) => Some(Err(error)),
        };
        let is_failing = match changed {
            None => false,
            Some(Ok(again)) => {
                tracing::info!(file = %self.path(), "read a changed client certificate");
                *self.lock() = again;
                false
            }
            Some(Err(error)) => {
                if !self.is_failing.load(Ordering::Relaxed) {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(file = %self.path(), error, "failed to read a client certificate again: the one from before stays in use");
                }
                true
            }
        };
        self.is_failing.store(is_failing, Ordering::Relaxed);
    }

    /// Returns the client without looking at the files.
    #[cfg(feature = "reqwest")]
    pub(crate) fn last(&self) -> HttpClient {
        self.lock().client.clone()
    }

    /// Returns the thumbprint of the certificate that was used last: the `cnf.x5t#S256` of tokens that
    /// are bound to it.
    pub(crate) fn x5t_s256(&self) -> Arc<str> {
        Arc::clone(&self.lock().x5t_s256)
    }

    /// Returns the thumbprint of the present certificate. Makes the client again if a file has changed.
    pub(crate) async fn present(&self) -> Arc<str> {
        self.follow().await;
        self.x5t_s256()
    }

    #[cfg(feature = "reqwest")]
    fn has_files_of(&self, other: &Self) -> bool {
        self.files.iter().map(BoundedFile::path).eq(other.files.iter().map(BoundedFile::path))
    }

    async fn is_changed(&self, made: &Made) -> Result<bool, HttpClientError> {
        for (file, version) in self.files.iter().zip(made.versions) {
            match file.read_if_changed(Some(version)).await.map_err(|source| unreadable(file, source))? {
                FileContent::Unchanged => {}
                FileContent::Changed(_, content) => {
                    // The content may be a key.
                    drop(SecretSlice::from(content));
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn make_again(&self) -> Result<Made, HttpClientError> {
        let [certificate, key] = &self.files;
        Made::new([read(certificate).await?, read(key).await?], &*self.make)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self) -> std::path::Display<'_> {
        let [certificate, _] = &self.files;
        certificate.path().display()
    }
}

impl Made {
    fn new(
        [(of_certificate, certificate), (of_key, key)]: [(FileVersion, Vec<u8>); 2],
        make: &(dyn Fn(&SecretSlice<u8>) -> Result<HttpClient, HttpClientError> + Send + Sync),
    ) -> Result<Self, HttpClientError> {
        let leaf = leaf(&certificate).ok_or(HttpClientError::NoCertificate);
        let client = make(&joined(certificate, key))?;
        Ok(Self { versions: [of_certificate, of_key], client, x5t_s256: x5t_s256(&leaf?) })
    }
}

impl fmt::Debug for FollowedClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FollowedClient").field("files", &self.files).finish_non_exhaustive()
    }
}

async fn read(file: &BoundedFile) -> Result<(FileVersion, Vec<u8>), HttpClientError> {
    match file.read_if_changed(None).await.map_err(|source| unreadable(file, source))? {
        FileContent::Changed(version, content) => Ok((version, content)),
        FileContent::Unchanged => Err(unreadable(file, std::io::Error::other("it was not read"))),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::future::join_all;
    use sts_jose::ManualClock;
    use tempfile::TempDir;

    use super::*;

    /// The files of a certificate, and the clock by which they are looked at.
    struct World {
        folder: TempDir,
        files: CertificateFiles,
        clock: ManualClock,
    }

    impl World {
        fn new() -> Self {
            let folder = TempDir::new().unwrap();
            let [certificate, key] = ["agent.pem", "agent.key"].map(|name| folder.path().join(name));
            let (files, clock) = (CertificateFiles { certificate, key }, ManualClock::new(Timestamp::UNIX_EPOCH));
            let world = Self { folder, files, clock };
            world.rotate();
            world
        }

        /// Replaces the certificate.
        fn rotate(&self) {
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = rcgen::CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
            // Two certificates of one length, written in one tick of the file system, would be one version.
            let padding = "\n".repeat(self.made_files());
            std::fs::write(self.folder.path().join(self.made_files().to_string()), "").unwrap();
            std::fs::write(&self.files.certificate, certificate.pem() + &padding).unwrap();
            std::fs::write(&self.files.key, key.serialize_pem() + &padding).unwrap();
        }

        fn made_files(&self) -> usize {
            std::fs::read_dir(self.folder.path()).unwrap().count()
        }

        /// Returns a client, and the number of times that it was made.
        fn client(&self) -> (FollowedClient, Arc<AtomicUsize>) {
            let made = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&made);
            let make = move |_: &SecretSlice<u8>| {
                counted.fetch_add(1, Ordering::SeqCst);
                Ok(HttpClient::new())
            };
            (FollowedClient::open(&self.files, Arc::new(self.clock.clone()), make).unwrap(), made)
        }
    }

    #[tokio::test]
    async fn calls_look_at_the_files_once_a_second_and_one_at_a_time() {
        let world = World::new();
        let (client, made) = world.client();
        let calls = async || {
            join_all((0..10).map(|_| client.current())).await;
            made.load(Ordering::SeqCst)
        };
        world.rotate();
        assert_eq!(calls().await, 1, "the files were read in this second");
        world.clock.advance(CHECK_INTERVAL);
        assert_eq!(calls().await, 2, "one of the calls looks");
        world.rotate();
        assert_eq!(calls().await, 2);
        world.clock.advance(CHECK_INTERVAL);
        assert_eq!(calls().await, 3);
    }

    #[cfg(feature = "reqwest")]
    #[tokio::test]
    async fn a_client_takes_up_a_certificate_with_the_client_of_the_sts() {
        let world = World::new();
        let ((leader, _), (mut client, _)) = (world.client(), world.client());
        let leader = Arc::new(leader);
        client.leader = Some(Arc::clone(&leader));
        world.clock.advance(CHECK_INTERVAL / 2);
        client.current().await;
        world.clock.advance(CHECK_INTERVAL / 2);
        leader.current().await;
        // The leader looks half a second after the client did.
        for _ in 0..3 {
            world.rotate();
            world.clock.advance(CHECK_INTERVAL / 2);
            assert_eq!(client.present().await, leader.x5t_s256());
            world.clock.advance(CHECK_INTERVAL / 2);
            let present = leader.present().await;
            assert_eq!(client.present().await, present);
        }
    }
}
