//! Files behind the URL of the database: the password file and the certificates.

use std::path::PathBuf;

use sts_jose::{MAX_FILE_BYTES, read_file, read_text_file};
use thiserror::Error;

use super::Database;
use super::database_url::certificate_files;
use crate::postgres_url::{PostgresUrl, secret_line};

/// An error of a file behind the database URL. No message quotes the password or the URL.
#[derive(Debug, Error)]
pub enum PasswordError {
    /// The password file cannot be read.
    #[error("the password file {path} cannot be read")]
    File {
        /// The path of the password file.
        path: PathBuf,
        /// The error of the read.
        #[source]
        source: std::io::Error,
    },
    /// A file of certificates or keys that the URL names cannot be read.
    #[error("the file {path} of database.url cannot be read")]
    Certificate {
        /// The path of the certificate or key.
        path: PathBuf,
        /// The error of the read.
        #[source]
        source: std::io::Error,
    },
    /// The password file is not one line of text.
    #[error("the password file {0} must hold one line, the password")]
    Content(PathBuf),
    /// The database takes no password, because it is SQLite.
    #[error("database.password_file is for a postgres:// URL")]
    Url,
}

impl Database {
    /// Checks the files that the connection needs: the password file and the certificates.
    ///
    /// Rejects files that are too long or not regular, because the driver reads certificates
    /// without any bound. A server reads the password file again at each connect.
    ///
    /// # Errors
    /// Returns a [`PasswordError`] if a file cannot be used.
    pub fn check_files(&self) -> Result<(), PasswordError> {
        for path in certificate_files(&self.url) {
            read_file(&path, MAX_FILE_BYTES).map_err(|source| PasswordError::Certificate { path, source })?;
        }
        let Some(path) = &self.password_file else { return Ok(()) };
        let text = read_text_file(path, MAX_FILE_BYTES)
            .map_err(|source| PasswordError::File { path: path.clone(), source })?;
        secret_line(&text).ok_or_else(|| PasswordError::Content(path.clone()))?;
        if PostgresUrl::is_scheme_of(&self.url) { Ok(()) } else { Err(PasswordError::Url) }
    }
}

#[cfg(test)]
impl Database {
    pub(super) fn at(url: &str, password_file: Option<PathBuf>) -> Self {
        let synchronous = super::Synchronous::Any;
        Self { url: url.to_owned(), password_file, max_connections: 1, listen: true, synchronous, migrate: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str, password: &str) -> (tempfile::TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, password).unwrap();
        (directory, Database::at(url, Some(path)))
    }

    #[test]
    fn a_certificate_that_is_no_regular_file_is_refused() {
        for name in ["sslrootcert", "sslcert", "sslkey", "ssl-ca"] {
            let url = format!("postgres://db/sts?sslmode=verify-full&{name}=/dev/zero");
            let error = Database::at(&url, None).check_files().unwrap_err();
            assert_eq!(error.to_string(), "the file /dev/zero of database.url cannot be read", "{name}");
        }
    }

    #[test]
    fn what_is_no_password_or_no_place_for_one_is_told_without_quoting_it() {
        for (url, password, expected) in [
            ("postgres://sts@db/sts", "", "must hold one line, the password"),
            ("postgres://sts@db/sts", "two\nlines\n", "must hold one line, the password"),
            ("sqlite://sts.db", "secret", "is for a postgres:// URL"),
        ] {
            let error = database(url, password).1.check_files().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
