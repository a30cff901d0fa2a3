//! Files behind the URL of the database: the password file and the certificates.

use std::path::PathBuf;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sts_jose::{MAX_FILE_BYTES, read_file, read_text_file};
use thiserror::Error;
use url::Url;

use super::Database;
use super::database_url::certificate_files;

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
    /// The URL cannot hold a password: it is a SQLite URL, or it has no host.
    #[error("database.password_file is for a postgres:// URL with a host")]
    Url,
}

impl Database {
    /// Returns the URL with the password of `password_file`, which replaces a password of the URL.
    /// Without such a file, returns the URL unchanged.
    ///
    /// Reads the password file. Also reads the files that the URL names, to reject those that are
    /// too long or not regular: the driver reads them without any bound.
    ///
    /// # Errors
    /// Returns a [`PasswordError`] if a file cannot be read, or the password does not fit the URL.
    pub fn connect_url(&self) -> Result<String, PasswordError> {
        for path in certificate_files(&self.url) {
            read_file(&path, MAX_FILE_BYTES).map_err(|source| PasswordError::Certificate { path, source })?;
        }
        let Some(path) = &self.password_file else { return Ok(self.url.clone()) };
        let text = read_text_file(path, MAX_FILE_BYTES)
            .map_err(|source| PasswordError::File { path: path.clone(), source })?;
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() || password.contains(['\r', '\n']) {
            return Err(PasswordError::Content(path.clone()));
        }
        let mut url = Url::parse(&self.url).ok().filter(is_postgres).ok_or(PasswordError::Url)?;
        // `set_password` does not encode a percent sign, but the driver decodes it.
        let encoded = utf8_percent_encode(password, NON_ALPHANUMERIC).to_string();
        url.set_password(Some(&encoded)).map_err(|()| PasswordError::Url)?;
        Ok(url.into())
    }
}

fn is_postgres(url: &Url) -> bool {
    matches!(url.scheme(), "postgres" | "postgresql")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn database(url: &str, password: &str) -> (tempfile::TempDir, Database) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("password");
        std::fs::write(&path, password).unwrap();
        (directory, Database { url: url.to_owned(), password_file: Some(path), max_connections: 1 })
    }

    #[test]
    fn the_password_of_the_file_stands_in_the_url() {
        for (url, password, expected) in [
            ("postgres://sts@db/sts", "secret\n", "postgres://sts:secret@db/sts"),
            (
                "postgres://sts:old@db:5433/sts?sslmode=require",
                "p@ss/word?#% \u{e9}\r\n",
                "postgres://sts:p%40ss%2Fword%3F%23%25%20%C3%A9@db:5433/sts?sslmode=require",
            ),
        ] {
            assert_eq!(database(url, password).1.connect_url().unwrap(), expected);
        }
    }

    #[test]
    fn a_certificate_that_is_no_regular_file_is_refused() {
        for name in ["sslrootcert", "sslcert", "sslkey", "ssl-ca"] {
            let url = format!("postgres://db/sts?sslmode=verify-full&{name}=/dev/zero");
            let error = Database { url, password_file: None, max_connections: 1 }.connect_url().unwrap_err();
            assert_eq!(error.to_string(), "the file /dev/zero of database.url cannot be read", "{name}");
        }
    }

    #[test]
    fn what_is_no_password_or_no_place_for_one_is_told_without_quoting_it() {
        for (url, password, expected) in [
            ("postgres://sts@db/sts", "", "must hold one line, the password"),
            ("postgres://sts@db/sts", "two\nlines\n", "must hold one line, the password"),
            ("sqlite://sts.db", "secret", "is for a postgres:// URL with a host"),
        ] {
            let error = database(url, password).1.connect_url().unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains("secret"), "{error}");
        }
    }
}
