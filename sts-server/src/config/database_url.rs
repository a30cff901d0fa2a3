//! The URL of the database: the check of its parameters, and of how the connection verifies the
//! server.

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use sts_jose::is_loopback;
use url::Url;

use super::Database;
use crate::document::nearest;
use crate::postgres_url::{PostgresUrl, TARGET_SESSION_ATTRS};

/// The characters that a path in a SQLite URL must percent-encode.
const SQLITE_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// The parameters of a `PostgreSQL` URL that have an effect, besides `options[…]`. The driver
/// ignores all others.
const POSTGRES_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "statement-cache-capacity",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "options",
    TARGET_SESSION_ATTRS,
];

/// The parameters of a SQLite URL that the driver reads.
const SQLITE_PARAMETERS: &[&str] = &["mode", "cache", "immutable", "vfs"];

const SSL_MODES: &[&str] = &["disable", "allow", "prefer", "require", "verify-ca", "verify-full"];

/// Checks a database URL. The error never quotes the URL, which may hold a password.
pub(super) fn check_database_url(text: &str) -> Result<(), String> {
    const WANTED: &str = "must be sqlite://FILE or postgres://…";
    if let Some(file) = sqlite_file(text) {
        if file.is_empty() {
            return Err(WANTED.to_owned());
        }
        let query = text.split_once('?').map_or("", |(_, query)| query);
        let names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name.into_owned());
        return check_parameters(names, SQLITE_PARAMETERS);
    }
    if !PostgresUrl::is_scheme_of(text) {
        return Err(WANTED.to_owned());
    }
    for url in PostgresUrl::parse(text)?.hosts {
        let names = url.query_pairs().map(|(name, _)| name.into_owned()).filter(|name| !name.starts_with("options["));
        check_parameters(names, POSTGRES_PARAMETERS)?;
        if ssl_mode(&url).is_some_and(|mode| !SSL_MODES.contains(&mode.as_str())) {
            return Err(format!("sslmode must be one of {}", SSL_MODES.join(", ")));
        }
    }
    Ok(())
}

fn check_parameters(mut names: impl Iterator<Item = String>, known: &[&str]) -> Result<(), String> {
    let Some(name) = names.find(|name| !known.contains(&name.as_str())) else { return Ok(()) };
    let meant = nearest(&name, known.iter().copied()).map(|near| format!("; did you mean {near:?}?"));
    Err(format!("unknown parameter {name:?}{}", meant.unwrap_or_default()))
}

/// Returns a warning if a connection to this database does not verify the server.
///
/// There is no warning for `sslmode=disable`, which trusts the network by intent, or for a
/// connection that stays on the machine. `environment_mode` is the variable `PGSSLMODE`.
pub(super) fn unverified(text: &str, environment_mode: Option<&str>) -> Option<String> {
    let hosts = PostgresUrl::parse(text).ok()?.hosts;
    let mode = hosts.iter().find_map(|url| unverified_mode(url, environment_mode))?;
    Some(format!(" has sslmode={mode}, which encrypts at most and does not verify the server"))
}

fn unverified_mode(url: &Url, environment_mode: Option<&str>) -> Option<String> {
    let host = url.query_pairs().filter(|(name, _)| matches!(&**name, "host" | "hostaddr")).last();
    let is_local = match host {
        Some((_, host)) if host.starts_with('/') => true,
        Some((_, host)) => Url::parse(&format!("postgres://{host}")).is_ok_and(|url| is_loopback(&url)),
        None => is_loopback(url) || url.host_str().is_none_or(|host| host.is_empty() || host.starts_with("%2F")),
    };
    let mode = ssl_mode(url).or_else(|| environment_mode.map(str::to_owned)).unwrap_or_else(|| "prefer".to_owned());
    (!is_local && !matches!(mode.as_str(), "disable" | "verify-ca" | "verify-full")).then_some(mode)
}

/// Returns the files of certificates and keys that a `PostgreSQL` URL names.
pub(super) fn certificate_files(text: &str) -> Vec<PathBuf> {
    const NAMES: [&str; 7] = ["sslrootcert", "ssl-root-cert", "ssl-ca", "sslcert", "ssl-cert", "sslkey", "ssl-key"];
    let hosts = PostgresUrl::parse(text).map(|url| url.hosts).unwrap_or_default();
    let pairs = hosts.iter().take(1).flat_map(Url::query_pairs).filter(|(name, _)| NAMES.contains(&name.as_ref()));
    // The driver accepts a PEM text in place of a path.
    pairs
        .filter(|(_, file)| !file.trim_start().starts_with("-----BEGIN"))
        .map(|(_, file)| PathBuf::from(&*file))
        .collect()
}

fn ssl_mode(url: &Url) -> Option<String> {
    let pairs = url.query_pairs().filter(|(name, _)| matches!(&**name, "sslmode" | "ssl-mode"));
    pairs.last().map(|(_, mode)| mode.to_ascii_lowercase())
}

/// Returns the URL with the path of a SQLite file resolved against `directory`.
pub(super) fn resolve_database_url(text: &str, directory: &Path) -> Result<String, String> {
    let Some(file) = sqlite_file(text).filter(|file| *file != ":memory:") else {
        return Ok(text.to_owned());
    };
    let name = percent_decode_str(file).decode_utf8().map_err(|error| format!("its path is not UTF-8: {error}"))?;
    let path = directory.join(&*name);
    let path = path.to_str().ok_or("its directory's name is not UTF-8")?;
    let parameters = text.split_once('?').map_or(String::new(), |(_, parameters)| format!("?{parameters}"));
    Ok(format!("sqlite://{}{parameters}", utf8_percent_encode(path, SQLITE_PATH)))
}

/// Returns the file of a SQLite URL, percent-encoded.
fn sqlite_file(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(rest.split_once('?').map_or(rest, |(file, _)| file))
}

impl Database {
    /// Returns the decoded path of a SQLite database; `None` for `PostgreSQL`.
    #[must_use]
    pub fn sqlite_path(&self) -> Option<PathBuf> {
        let name = percent_decode_str(sqlite_file(&self.url)?).decode_utf8().ok()?;
        Some(PathBuf::from(&*name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sqlite_path_is_relative_to_the_directory() {
        let directory = Path::new("/srv/a?b");
        for (url, resolved) in [
            ("sqlite://sts.db", "sqlite:///srv/a%3Fb/sts.db"),
            ("sqlite:sts.db?mode=rwc", "sqlite:///srv/a%3Fb/sts.db?mode=rwc"),
            ("sqlite:///var/sts.db", "sqlite:///var/sts.db"),
            ("sqlite::memory:", "sqlite::memory:"),
            ("postgres://db/sts", "postgres://db/sts"),
        ] {
            assert_eq!(resolve_database_url(url, directory).unwrap(), resolved);
        }
    }

    #[test]
    fn a_database_that_is_not_served_is_refused() {
        for url in ["", "sts.db", "mysql://db", "sqlite:", "sqlite://", "postgres:// x"] {
            assert!(check_database_url(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_parameter_that_the_driver_passes_over_is_refused() {
        for (url, reason) in [
            ("postgres://db/sts?application_name=pod-7", "unknown parameter \"application_name\""),
            ("postgres://db/sts?ssl_mode=require", "unknown parameter \"ssl_mode\"; did you mean \"sslmode\"?"),
            ("postgres://db/sts?sslmode=verify-full&connect_timeout=3", "unknown parameter \"connect_timeout\""),
            (
                "postgres://a,b/sts?target_session_attr=read-write",
                "unknown parameter \"target_session_attr\"; did you mean \"target_session_attrs\"?",
            ),
            ("postgres://db/sts?SSLMODE=require", "unknown parameter \"SSLMODE\"; did you mean \"sslmode\"?"),
            (
                "postgres://db/sts?sslmode=verify_full",
                "sslmode must be one of disable, allow, prefer, require, verify-ca, verify-full",
            ),
            ("sqlite://sts.db?mod=rwc", "unknown parameter \"mod\"; did you mean \"mode\"?"),
        ] {
            assert_eq!(check_database_url(url), Err(reason.to_owned()), "{url}");
        }
        for url in [
            "postgres://db/sts?sslmode=require&options[search_path]=sts&sslrootcert=/ca",
            "postgres://a:5432,b:5433/sts?target_session_attrs=read-write",
            "sqlite://a?mode=rwc",
        ] {
            assert_eq!(check_database_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_connection_that_verifies_no_server_is_told_from_one_that_does() {
        for (url, environment, mode) in [
            ("postgres://db/sts", None, Some("prefer")),
            ("postgres://db/sts?sslmode=require", None, Some("require")),
            ("postgres://db/sts?sslmode=require", Some("verify-full"), Some("require")),
            ("postgres://db/sts", Some("allow"), Some("allow")),
            ("postgres:///sts?host=db.example", None, Some("prefer")),
            ("postgres://localhost,db/sts?sslmode=require", None, Some("require")),
            ("postgres://localhost,127.0.0.1/sts?sslmode=require", None, None),
            ("postgres://a,b/sts?sslmode=verify-full", None, None),
            ("postgres://db/sts", Some("verify-full"), None),
            ("postgres://db/sts?sslmode=verify-full", None, None),
            ("postgres://db/sts?sslmode=verify-ca", None, None),
            ("postgres://db/sts?sslmode=disable", None, None),
            ("postgres://127.0.0.1/sts", None, None),
            ("postgres://[::1]:5433/sts", None, None),
            ("postgres://localhost/sts?sslmode=require", None, None),
            ("postgres:///sts", None, None),
            ("postgres:///sts?host=/run/postgresql", None, None),
            ("postgres://%2Frun%2Fpostgresql/sts", None, None),
            ("sqlite://sts.db", None, None),
        ] {
            let found = unverified(url, environment);
            assert_eq!(found.is_some(), mode.is_some(), "{url}: {found:?}");
            if let (Some(found), Some(mode)) = (found, mode) {
                assert!(found.contains(&format!("sslmode={mode},")), "{url}: {found}");
            }
        }
    }

    #[test]
    fn the_path_of_a_sqlite_file_is_decoded() {
        let path = |url: &str| Database::at(url, None).sqlite_path();
        assert_eq!(path("sqlite:///srv/a%3Fb/sts.db?mode=rwc"), Some("/srv/a?b/sts.db".into()));
        assert_eq!(path("postgres://db/sts"), None);
    }
}
