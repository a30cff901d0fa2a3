//! The URL of a PostgreSQL database, with one or several hosts.
//!
//! The driver takes one host. This module splits `postgres://a,b/db` into a URL for each host.

use url::Url;

/// The parameter that says which hosts are acceptable.
pub(crate) const TARGET_SESSION_ATTRS: &str = "target_session_attrs";

/// The URLs of the hosts of one database.
#[derive(Clone)]
pub(crate) struct PostgresUrl {
    /// A URL with a single host, for each host in the order of the text.
    pub(crate) hosts: Vec<Url>,
    /// True if only a host that takes writes is acceptable.
    pub(crate) wants_writes: bool,
}

impl PostgresUrl {
    /// Returns true if this text has the scheme of a `PostgreSQL` URL.
    pub(crate) fn is_scheme_of(text: &str) -> bool {
        matches!(text.split_once(':'), Some(("postgres" | "postgresql", _)))
    }

    /// Parses the URL of a database. The error never quotes the text, which may hold a password.
    ///
    /// Without `target_session_attrs`, only a host that takes writes is acceptable. The name of a
    /// single host may lead to a standby too.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) =
            text.split_once("://").filter(|_| Self::is_scheme_of(text)).ok_or("must begin with postgres://")?;
        let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (user, hosts) = authority.rsplit_once('@').map_or(("", authority), |(user, hosts)| (user, hosts));
        let at = if authority.contains('@') { "@" } else { "" };
        let hosts: Vec<&str> = hosts.split(',').collect();
        if hosts.len() > 1 && hosts.iter().any(|host| host.is_empty() || host.starts_with(':')) {
            return Err("a host between its commas is empty".to_owned());
        }
        let parsed = hosts.iter().map(|host| Url::parse(&format!("{scheme}://{user}{at}{host}{tail}")));
        let mut urls: Vec<Url> = parsed.collect::<Result<_, _>>().map_err(|error| format!("not a URL: {error}"))?;
        let wants_writes = wants_writes(&urls)?;
        urls.iter_mut().for_each(without_target_session_attrs);
        Ok(Self { hosts: urls, wants_writes })
    }
}

/// Reads `target_session_attrs`, and checks the parameters that name hosts.
fn wants_writes(hosts: &[Url]) -> Result<bool, String> {
    let is_several = hosts.len() > 1;
    let pairs: Vec<_> = hosts.first().map(|url| url.query_pairs().collect()).unwrap_or_default();
    let given = |name: &str| pairs.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value);
    for name in ["host", "hostaddr", "port"] {
        if given(name).is_some_and(|value| is_several || value.contains(',')) {
            return Err(format!(
                "the parameter {name} names one host; write several before the path: postgres://a:5432,b:5432/db"
            ));
        }
    }
    match given(TARGET_SESSION_ATTRS) {
        None | Some("read-write" | "primary") => Ok(true),
        Some("any") if !is_several => Ok(false),
        Some(_) => Err(format!("{TARGET_SESSION_ATTRS} must be read-write: a server needs a host that takes writes")),
    }
}

/// Removes the parameter that the driver does not know.
fn without_target_session_attrs(url: &mut Url) {
    if url.query_pairs().all(|(name, _)| name != TARGET_SESSION_ATTRS) {
        return;
    }
    let kept: Vec<(String, String)> =
        url.query_pairs().filter(|(name, _)| name != TARGET_SESSION_ATTRS).map(|(n, v)| (n.into(), v.into())).collect();
    url.set_query(None);
    if !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
}

/// Returns the secret of a file that holds it alone: its only line.
pub(crate) fn secret_line(text: &str) -> Option<&str> {
    let line = text.trim_end_matches(['\r', '\n']);
    (!line.is_empty() && !line.contains(['\r', '\n'])).then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> (Vec<String>, bool) {
        let url = PostgresUrl::parse(text).unwrap();
        (url.hosts.into_iter().map(String::from).collect(), url.wants_writes)
    }

    #[test]
    fn each_host_has_a_url_of_its_own() {
        for (text, expected, wants_writes) in [
            ("postgres://db/sts", vec!["postgres://db/sts"], true),
            ("postgres://db/sts?target_session_attrs=any", vec!["postgres://db/sts"], false),
            ("postgres://db/sts?target_session_attrs=read-write", vec!["postgres://db/sts"], true),
            (
                "postgres://u:p%40s@a:5433,b,[::1]:5434/sts?sslmode=verify-full&target_session_attrs=primary",
                vec![
                    "postgres://u:p%40s@a:5433/sts?sslmode=verify-full",
                    "postgres://u:p%40s@b/sts?sslmode=verify-full",
                    "postgres://u:p%40s@[::1]:5434/sts?sslmode=verify-full",
                ],
                true,
            ),
            ("postgresql://a,b", vec!["postgresql://a", "postgresql://b"], true),
        ] {
            let expected = expected.into_iter().map(str::to_owned).collect();
            assert_eq!(hosts(text), (expected, wants_writes), "{text}");
        }
    }

    #[test]
    fn a_url_whose_hosts_cannot_be_told_is_refused_without_its_password() {
        for (text, reason) in [
            ("postgres://u:secret@a,,b/sts", "a host between its commas is empty"),
            ("postgres://u:secret@a,:5432/sts", "a host between its commas is empty"),
            ("postgres://u:secret@a:x,b/sts", "not a URL: invalid port number"),
            ("postgres://u:secret@a,b/sts?target_session_attrs=any", "must be read-write"),
            ("postgres://u:secret@a/sts?target_session_attrs=standby", "must be read-write"),
            ("postgres://u:secret@a,b/sts?host=c", "the parameter host names one host"),
            ("postgres:///sts?host=a,b", "the parameter host names one host"),
        ] {
            let error = PostgresUrl::parse(text).err().unwrap();
            assert!(error.contains(reason) && !error.contains("secret"), "{text}: {error}");
        }
    }
}
