//! A token in a file that the platform replaces.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;
use secrecy::SecretString;
use sts_jose::UnverifiedToken;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;

use super::{SourcedToken, TokenSource, TokenSourceError};
use crate::net::bearer;

/// The maximum size of the file.
const MAX_FILE_BYTES: u64 = 16 * 1024;

/// A token in a file that the platform replaces, such as a projected service account token. The
/// file is read on every use.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("token");
/// use sts_client::secrecy::ExposeSecret as _;
/// use sts_client::{TokenFile, TokenSource as _, TokenSourceError};
///
/// let file = TokenFile::new(&path);
/// assert!(matches!(file.token().await, Err(TokenSourceError::Misconfigured { .. })));
/// std::fs::write(&path, "opaque-token\n")?;
/// assert_eq!(file.token().await?.token.expose_secret(), "opaque-token");
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct TokenFile {
    path: PathBuf,
}

impl TokenFile {
    /// Returns a source for this file, which may have up to 16 KiB. Reads nothing yet. Surrounding
    /// white space is ignored.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    async fn read(&self) -> std::io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&self.path).await?.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).await?;
        Ok(bytes)
    }
}

#[async_trait]
impl TokenSource for TokenFile {
    async fn token(&self) -> Result<SourcedToken, TokenSourceError> {
        let bytes = self.read().await.map_err(|error| unusable(&self.path, &error.to_string()))?;
        if u64::try_from(bytes.len()).is_ok_and(|length| length > MAX_FILE_BYTES) {
            return Err(unusable(&self.path, &format!("longer than {MAX_FILE_BYTES} bytes")));
        }
        let text = std::str::from_utf8(&bytes).map(str::trim).unwrap_or_default();
        if !bearer::is_token(text) {
            return Err(unusable(&self.path, "it contains no token"));
        }
        Ok(SourcedToken { token: SecretString::from(text), expires_at: unverified_exp(text) })
    }
}

/// Returns the `exp` of the token without verification. The agent owns the token, and the target
/// verifies it. Only the time for which the token is cached depends on this value.
fn unverified_exp(token: &str) -> Option<Timestamp> {
    UnverifiedToken::parse(token).ok()?.claims().numeric_date("exp").ok()?
}

fn unusable(path: &Path, why: &str) -> TokenSourceError {
    TokenSourceError::Misconfigured { what: format!("the token file {} cannot be used: {why}", path.display()) }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    async fn token_of(content: &[u8]) -> Result<SourcedToken, TokenSourceError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        TokenFile::new(file.path()).token().await
    }

    #[tokio::test]
    async fn white_space_around_the_token_is_no_part_of_it_and_exp_is_read_where_there_is_one() {
        let opaque = token_of(b"\n opaque-token \n").await.unwrap();
        assert_eq!((opaque.token.expose_secret(), opaque.expires_at), ("opaque-token", None));
        // {"alg":"ES256"} . {"exp":1800000000} . an unverified signature
        let jwt = token_of(b"eyJhbGciOiJFUzI1NiJ9.eyJleHAiOjE4MDAwMDAwMDB9.AAAA\n").await.unwrap();
        assert_eq!(jwt.expires_at, Timestamp::from_second(1_800_000_000).ok());
    }

    #[tokio::test]
    async fn a_file_that_holds_no_token_is_a_misconfiguration() {
        let huge = vec![b'x'; 16 * 1024 + 1];
        for content in [b"".as_slice(), b" \n", b"two words", b"\xff", b"a\0b", &huge] {
            let found = token_of(content).await.unwrap_err();
            assert!(matches!(found, TokenSourceError::Misconfigured { .. }), "{found:?}");
        }
        let absent = TokenFile::new("/nonexistent/token").token().await.unwrap_err();
        assert!(matches!(absent, TokenSourceError::Misconfigured { .. }));
    }
}
