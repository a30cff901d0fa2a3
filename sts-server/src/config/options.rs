//! The table of all options: what each is called, what it is for, its default, and how a text becomes its value.
//!
//! The file, the environment and the flags all go through this table, and `docs/configuration.md` is held to it by a test.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::address::{check_database_url, check_issuer, resolve_database_url};
use super::{Config, MAX_CHAIN_DEPTH, MAX_MAX_TTL_HOURS};
use crate::ttl::Ttl;

/// An option of the configuration.
#[derive(Debug)]
pub struct ConfigOption {
    /// The table that it stands in; `None` for the top level.
    pub table: Option<&'static str>,
    /// Its key there.
    pub key: &'static str,
    /// What TOML type it has.
    pub kind: OptionKind,
    /// What holds when nobody says anything, as the file would say it (a text without its quotes).
    pub default: Option<&'static str>,
    /// What its value is: a unit, a form, bounds.
    pub form: &'static str,
    /// What it is for.
    pub doc: &'static str,
    pub(super) set: fn(&mut Config, &Given<'_>) -> Result<(), String>,
}

/// The TOML type of an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OptionKind {
    /// A string.
    Text,
    /// A string that may hold a secret, which no fault repeats.
    SecretText,
    /// An integer.
    Integer,
    /// True or false.
    Boolean,
}

/// A value that someone gave to an option.
#[derive(Debug)]
pub(super) struct Given<'a> {
    pub(super) text: &'a str,
    /// What a relative path in it is relative to.
    pub(super) directory: &'a Path,
}

impl ConfigOption {
    /// The option as a fault names it: `limits.max_ttl`.
    #[must_use]
    pub fn path(&self) -> String {
        match self.table {
            Some(table) => format!("{table}.{}", self.key),
            None => self.key.to_owned(),
        }
    }

    /// The environment variable that sets it: `STS__LIMITS__MAX_TTL`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("{}{}", super::VARIABLE_PREFIX, self.path().replace('.', "__").to_ascii_uppercase())
    }
}

/// All options, in the order of the reference configuration.
pub static OPTIONS: &[ConfigOption] = &[
    ConfigOption {
        table: None,
        key: "issuer",
        kind: OptionKind::Text,
        default: None,
        form: "an http(s) URL without path, query or fragment; http only for the loopback interface",
        doc: "The issuer identifier of this service, byte for byte the iss of its tokens. Required.",
        set: |config, given| {
            check_issuer(given.text)?;
            given.text.clone_into(&mut config.issuer);
            Ok(())
        },
    },
    ConfigOption {
        table: None,
        key: "registry",
        kind: OptionKind::Text,
        default: None,
        form: "a path",
        doc: "The registry file to apply at start; without it the database's registry is served as it is.",
        set: |config, given| {
            config.registry = Some(path(given)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("listen"),
        key: "public",
        kind: OptionKind::Text,
        default: Some("127.0.0.1:8080"),
        form: "an IP address and a port",
        doc: "Where it listens for agents.",
        set: |config, given| set(&mut config.listen.public, given, ADDRESS),
    },
    ConfigOption {
        table: Some("listen"),
        key: "admin",
        kind: OptionKind::Text,
        default: Some("127.0.0.1:8081"),
        form: "an IP address and a port",
        doc: "Where it listens for operators: the admin API, the metrics and the console.",
        set: |config, given| set(&mut config.listen.admin, given, ADDRESS),
    },
    ConfigOption {
        table: Some("database"),
        key: "url",
        kind: OptionKind::SecretText,
        default: Some("sqlite://sts.db"),
        form: "sqlite://FILE or postgres://…",
        doc: "Where its data is. It may hold a password: then better STS__DATABASE__URL than the file.",
        set: |config, given| {
            check_database_url(given.text)?;
            config.database.url = resolve_database_url(given.text, given.directory)?;
            Ok(())
        },
    },
    ConfigOption {
        table: Some("database"),
        key: "max_connections",
        kind: OptionKind::Integer,
        default: Some("10"),
        form: "connections, 1 to 1000",
        doc: "How many connections to PostgreSQL at most.",
        set: |config, given| set_count(&mut config.database.max_connections, given, 1, 1000),
    },
    ConfigOption {
        table: Some("keys"),
        key: "master_key_file",
        kind: OptionKind::Text,
        default: Some("master.key"),
        form: "a path",
        doc: "A file with one line, the base64 of 32 bytes, that seals the signing keys at rest.",
        set: |config, given| {
            config.keys.master_key_file = path(given)?;
            Ok(())
        },
    },
    ConfigOption {
        table: Some("keys"),
        key: "rotate_every",
        kind: OptionKind::Text,
        default: Some("30d"),
        form: "a span of time",
        doc: "How long a key signs.",
        set: |config, given| set_ttl(&mut config.keys.rotate_every, given),
    },
    ConfigOption {
        table: Some("limits"),
        key: "chain_depth",
        kind: OptionKind::Integer,
        default: Some("8"),
        form: "actors, 1 to 64",
        doc: "The most actors of a chain; a longer one is refused.",
        set: |config, given| set_count(&mut config.limits.chain_depth, given, 1, MAX_CHAIN_DEPTH),
    },
    ConfigOption {
        table: Some("limits"),
        key: "max_ttl",
        kind: OptionKind::Text,
        default: Some("15m"),
        form: "a span of time, at most 8h",
        doc: "The longest life of any token. A key stays published for as long as the longest that any server gave to a token while it signed.",
        set: |config, given| {
            set_ttl(&mut config.limits.max_ttl, given)?;
            if config.limits.max_ttl > Ttl::from_minutes(MAX_MAX_TTL_HOURS * 60) {
                return Err(format!("at most {MAX_MAX_TTL_HOURS}h"));
            }
            Ok(())
        },
    },
    ConfigOption {
        table: Some("limits"),
        key: "failed_attempts_per_minute",
        kind: OptionKind::Integer,
        default: Some("1000"),
        form: "attempts, 1 to 1000000",
        doc: "The failed attempts that one source, or one agent, may make in a minute.",
        set: |config, given| set_count(&mut config.limits.failed_attempts_per_minute, given, 1, 1_000_000),
    },
    ConfigOption {
        table: Some("limits"),
        key: "connections",
        kind: OptionKind::Integer,
        default: Some("4096"),
        form: "connections, 1 to 1000000",
        doc: "The most open connections.",
        set: |config, given| set_count(&mut config.limits.connections, given, 1, 1_000_000),
    },
    ConfigOption {
        table: Some("limits"),
        key: "header_timeout",
        kind: OptionKind::Text,
        default: Some("10s"),
        form: "a span of time, at most 10m",
        doc: "How long a request's headers may take.",
        set: |config, given| set_timeout(&mut config.limits.header_timeout, given),
    },
    ConfigOption {
        table: Some("limits"),
        key: "body_timeout",
        kind: OptionKind::Text,
        default: Some("10s"),
        form: "a span of time, at most 10m",
        doc: "How long a request's body may take.",
        set: |config, given| set_timeout(&mut config.limits.body_timeout, given),
    },
    ConfigOption {
        table: Some("limits"),
        key: "write_timeout",
        kind: OptionKind::Text,
        default: Some("10s"),
        form: "a span of time, at most 10m",
        doc: "How long an answer may wait for a peer that takes nothing of it.",
        set: |config, given| set_timeout(&mut config.limits.write_timeout, given),
    },
    ConfigOption {
        table: Some("metadata"),
        key: "response_types_none",
        kind: OptionKind::Boolean,
        default: Some("false"),
        form: "true or false",
        doc: "Whether metadata says \"response_types_supported\": [\"none\"], for parsers that insist on the member.",
        set: |config, given| set(&mut config.metadata.response_types_none, given, "true or false"),
    },
];

const ADDRESS: &str = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";

/// No request takes longer than this.
const MAX_TIMEOUT: Ttl = Ttl::from_minutes(10);

fn set<T: FromStr>(field: &mut T, given: &Given<'_>, wanted: &str) -> Result<(), String> {
    *field = given.text.parse().ok().ok_or_else(|| format!("must be {wanted}"))?;
    Ok(())
}

fn set_count<T: FromStr + PartialOrd + std::fmt::Display>(
    field: &mut T,
    given: &Given<'_>,
    least: T,
    most: T,
) -> Result<(), String> {
    match given.text.parse() {
        Ok(count) if (&least..=&most).contains(&&count) => {
            *field = count;
            Ok(())
        }
        Ok(_) | Err(_) => Err(format!("must be {least} to {most}")),
    }
}

fn set_ttl(field: &mut Ttl, given: &Given<'_>) -> Result<(), String> {
    *field = given.text.parse::<Ttl>().map_err(|error| error.to_string())?;
    Ok(())
}

fn set_timeout(field: &mut Ttl, given: &Given<'_>) -> Result<(), String> {
    set_ttl(field, given)?;
    if *field > MAX_TIMEOUT {
        return Err(format!("at most {MAX_TIMEOUT}"));
    }
    Ok(())
}

fn path(given: &Given<'_>) -> Result<PathBuf, String> {
    if given.text.is_empty() {
        return Err("must be a path".to_owned());
    }
    Ok(given.directory.join(given.text))
}
