//! The grammar of URLs that an operator writes.

use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use sts_jose::is_loopback;
use url::Url;

/// What a path in a SQLite URL may not hold as it is.
const SQLITE_PATH: &AsciiSet = &CONTROLS.add(b'%').add(b'?').add(b'#');

/// Says what is wrong with the issuer identifier of this service: an `http(s)` URL of a host and perhaps a port, written as URLs
/// are compared (lower-case host, no default port), nothing after it; `http` only for the loopback interface.
///
/// # Errors
/// The reason.
pub fn check_issuer(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err("an http URL is for the loopback interface only; use https".to_owned()),
        _ => return Err("must be an https URL".to_owned()),
    }
    if !sts_protocol::is_name(text) {
        return Err("must be at most 255 characters long".to_owned());
    }
    let canonical = url.origin().ascii_serialization();
    if canonical == text {
        return Ok(());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" || text.ends_with('/') {
        return Err(format!("must end with the host or port, without path, query or fragment: {canonical:?}"));
    }
    Err(format!("must be written {canonical:?}"))
}

/// Says what is wrong with a database URL, without repeating it: it may hold a password.
pub(super) fn check_database_url(text: &str) -> Result<(), String> {
    const WANTED: &str = "must be sqlite://FILE or postgres://…";
    if let Some(file) = sqlite_file(text) {
        return if file.is_empty() { Err(WANTED.to_owned()) } else { Ok(()) };
    }
    if !text.starts_with("postgres:") && !text.starts_with("postgresql:") {
        return Err(WANTED.to_owned());
    }
    Url::parse(text).map(drop).map_err(|error| format!("not a URL: {error}"))
}

/// The same URL, with the relative path of a SQLite file made relative to `directory`.
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

/// The file of a SQLite URL, percent-encoded.
fn sqlite_file(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("sqlite:")?;
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    Some(rest.split_once('?').map_or(rest, |(file, _)| file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_origin() {
        for issuer in [
            "https://sts.example.com",
            "https://sts.example.com:8443",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://[::1]:8080",
        ] {
            assert_eq!(check_issuer(issuer), Ok(()), "{issuer}");
        }
    }

    #[test]
    fn what_is_no_issuer_is_refused() {
        let path = "must end with the host or port, without path, query or fragment: \"https://sts.example.com\"";
        for (issuer, reason) in [
            ("sts.example.com", "not a URL: relative URL without a base"),
            ("https://", "not a URL: empty host"),
            ("spiffe://example.com", "must be an https URL"),
            ("http://sts.example.com", "an http URL is for the loopback interface only; use https"),
            ("https://sts.example.com/", path),
            ("https://sts.example.com/a", path),
            ("https://sts.example.com?a", path),
            ("https://sts.example.com#a", path),
            ("https://a:b@sts.example.com", "must not hold a user or password"),
            ("https://STS.example.com", "must be written \"https://sts.example.com\""),
            ("HTTPS://sts.example.com", "must be written \"https://sts.example.com\""),
            ("https://sts.example.com:443", "must be written \"https://sts.example.com\""),
            (" https://sts.example.com", "must be written \"https://sts.example.com\""),
        ] {
            assert_eq!(check_issuer(issuer), Err(reason.to_owned()), "{issuer}");
        }
    }

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
}
