//! The configuration of a server: its file, the environment and the flags, in this order of strength.
//!
//! What lives here: the options, their defaults and their checks, and the order of their sources. What must never:
//! the registry's entries, which are `registry`'s. A new option is a field here with a doc comment that says its unit, and a row
//! of [`OPTIONS`].

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use sts_jose::Egress;
use url::Url;

use crate::telemetry::LogFormat;
use crate::ttl::Ttl;

mod address;
mod admin;
mod argon2id;
mod database_url;
mod load;
mod option;
mod options;
mod password;
mod private_files;
mod reference;
mod values;

pub use address::check_issuer;
pub use admin::{Admin, AdminOidc, AdminToken, Role, TokenTyp, check_name};
pub use argon2id::{Argon2idCost, argon2id_cost};
pub use load::{Loaded, Overrides, load};
pub use option::{ConfigOption, OptionKind};
pub use options::OPTIONS;
pub use password::PasswordError;
pub use private_files::{exposed_files, is_of_another_user};
pub use reference::reference;

/// What the names of our environment variables begin with; a double underscore stands between table and key.
pub const VARIABLE_PREFIX: &str = "STS__";

/// The most actors that `limits.chain_depth` can allow: the tokens of longer chains would not fit into 8 KiB.
pub const MAX_CHAIN_DEPTH: usize = 64;

/// The longest `limits.max_ttl`, in hours.
const MAX_MAX_TTL_HOURS: u16 = 8;

/// Everything that `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// The issuer identifier of this service, byte for byte the `iss` of its tokens: an `http(s)` URL without path, query or fragment.
    pub issuer: String,
    /// The registry file to apply at start.
    pub registry: Option<PathBuf>,
    /// Where it listens.
    pub listen: Listen,
    /// Its own TLS.
    pub tls: Tls,
    /// Where its data is.
    pub database: Database,
    /// Its signing keys.
    pub keys: Keys,
    /// What it does not go beyond.
    pub limits: Limits,
    /// The way out to others.
    pub egress: EgressOptions,
    /// Who may use the admin API.
    pub admin: Admin,
    /// Its logs.
    pub log: Log,
    /// What it tells of itself besides logs and metrics.
    pub telemetry: Telemetry,
    /// What it publishes of itself.
    pub metadata: Metadata,
}

/// The listeners: where they are, what stands in front of them, and how they end.
#[derive(Debug, Clone)]
pub struct Listen {
    /// For agents. Default `127.0.0.1:8080`.
    pub public: SocketAddr,
    /// For operators. Default `127.0.0.1:8081`.
    pub admin: SocketAddr,
    /// Peers that are believed when they say for whom they forward a request. Default none.
    pub trusted_proxies: Vec<IpNet>,
    /// Where those peers say it. Default [`ForwardedHeader::XForwardedFor`].
    pub forwarded_header: ForwardedHeader,
    /// How long requests are served after readiness was withdrawn at SIGTERM. Default `5s`.
    pub drain_delay: Duration,
    /// How long requests under way may take after the listeners have closed. Default `20s`.
    pub drain_timeout: Ttl,
}

/// The header in which a trusted proxy writes for whom it forwards. One of them, and not both: a proxy that writes one of them may
/// pass on what a client wrote into the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// TLS in this process.
#[derive(Debug, Clone)]
pub struct Tls {
    /// The certificate chain in PEM, the server's own certificate first. Default none: plain HTTP.
    pub certificate_file: Option<PathBuf>,
    /// The private key in PEM.
    pub private_key_file: Option<PathBuf>,
    /// Whether the admin listener speaks TLS too. Default false.
    pub admin: bool,
}

impl Tls {
    /// The certificate chain and the private key, where both are given.
    #[must_use]
    pub fn files(&self) -> Option<[&Path; 2]> {
        Some([self.certificate_file.as_deref()?, self.private_key_file.as_deref()?])
    }
}

/// The database.
#[derive(Clone)]
pub struct Database {
    /// `sqlite://FILE` (default `sqlite://sts.db`) or `postgres://…`; may hold a password, so Debug does not show it.
    pub url: String,
    /// A file with the password to PostgreSQL. Default none: the URL holds it, or none is needed.
    pub password_file: Option<PathBuf>,
    /// The most connections to PostgreSQL for requests; five more are set apart. Default 10.
    pub max_connections: u32,
}

/// The signing keys.
#[derive(Debug, Clone)]
pub struct Keys {
    /// A file with one line, the base64 of 32 bytes, that seals the signing keys at rest. Default `master.key`.
    pub master_key_file: PathBuf,
    /// How long a key signs. Default `30d`.
    pub rotate_every: Ttl,
}

/// What a server does not go beyond.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The most actors of a chain. Default 8.
    pub chain_depth: usize,
    /// The longest life of any token. Default `15m`, at most `8h`.
    pub max_ttl: Ttl,
    /// The failed attempts that one source, or one agent, may make in a minute. Default 1000.
    pub failed_attempts_per_minute: u32,
    /// The refusals of one agent that are stored in a minute. Default 600.
    pub refusals_per_minute_per_client: u32,
    /// The requests that one authenticated agent may make in a minute. Default none.
    pub requests_per_minute_per_client: Option<NonZeroU32>,
    /// The requests that one source may make in a minute. Default none.
    pub requests_per_minute_per_source: Option<NonZeroU32>,
    /// The most open connections of the public listener. Default 4096.
    pub connections: usize,
    /// The most open connections of one source. Default [`Limits::per_source`].
    pub connections_per_source: Option<usize>,
    /// The memory for the heads and bodies of requests, in bytes. Default 128 MiB.
    pub request_memory: usize,
    /// The longest token that is read, in bytes. Default 16 KiB, at most 64 KiB.
    pub max_token_bytes: usize,
    /// How long a TLS handshake may take. Default `10s`.
    pub handshake_timeout: Ttl,
    /// How long a request's headers may take. Default `10s`.
    pub header_timeout: Ttl,
    /// How long a request's body may take. Default `10s`.
    pub body_timeout: Ttl,
    /// How long a request may take from its head to its answer. Default `30s`.
    pub request_timeout: Ttl,
    /// How long an answer may wait for a peer that takes nothing of it. Default `10s`.
    pub write_timeout: Ttl,
}

impl Limits {
    /// The longest head of a request, in bytes.
    pub const HEAD_BYTES: usize = 16 * 1024;
    /// The longest body of a request, in bytes.
    pub const BODY_BYTES: usize = 64 * 1024;
    /// The part of a body for which every connection has memory of its own, in bytes: enough for a usual request, so that long
    /// bodies of others never stand in its way.
    pub const OWN_BODY_BYTES: usize = 8 * 1024;
    /// The least connections of the admin listener.
    const ADMIN_CONNECTIONS: usize = 64;
    /// The least connections of one source, where nothing else is configured.
    const SOURCE_CONNECTIONS: usize = 16;

    /// The most open connections of the admin listener.
    #[must_use]
    pub fn admin_connections(&self) -> usize {
        (self.connections / 16).max(Self::ADMIN_CONNECTIONS)
    }

    /// The most open connections of one source.
    #[must_use]
    pub fn per_source(&self) -> usize {
        self.connections_per_source.unwrap_or((self.connections / 16).max(Self::SOURCE_CONNECTIONS))
    }

    /// The most open connections of both listeners.
    #[must_use]
    pub fn all_connections(&self) -> usize {
        self.connections.saturating_add(self.admin_connections())
    }

    /// The part of `request_memory` that the connections have of their own, in bytes.
    #[must_use]
    pub fn own_memory(&self) -> usize {
        self.all_connections().saturating_mul(Self::HEAD_BYTES + Self::OWN_BODY_BYTES)
    }

    /// The part of `request_memory` that bodies beyond [`Self::OWN_BODY_BYTES`] share, in bytes.
    #[must_use]
    pub fn shared_memory(&self) -> usize {
        self.request_memory.saturating_sub(self.own_memory())
    }

    /// How long a decision may wait to be committed: half of what a request may take, so that an answer is left time to say why.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.request_timeout.as_duration() / 2
    }
}

/// The way out to others.
#[derive(Debug, Clone)]
pub struct EgressOptions {
    /// `egress.proxy`; without it the environment says.
    pub proxy: Option<Egress>,
    /// `egress.no_proxy`; without it the environment says.
    pub no_proxy: Option<String>,
    /// The proxies that come of both.
    pub proxies: Egress,
}

/// The logs.
#[derive(Debug, Clone)]
pub struct Log {
    /// What a line looks like. Default [`LogFormat::Human`].
    pub format: LogFormat,
}

/// What a server tells of itself besides logs and metrics.
#[derive(Debug, Clone)]
pub struct Telemetry {
    /// The collector that traces go to, as OTLP over HTTP. None by default.
    pub otlp_endpoint: Option<Url>,
}

/// What a server publishes of itself.
#[derive(Debug, Clone)]
pub struct Metadata {
    /// Whether metadata leaves out what RFC 8414 does not ask for and widespread parsers insist on. Default false.
    pub minimal: bool,
    /// Whether metadata that is not minimal has `response_types_supported`, with the one value `none`. Default true.
    pub response_types_none: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}
