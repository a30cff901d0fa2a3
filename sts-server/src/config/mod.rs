//! The configuration of a server, from its file, the environment and the flags. A later source
//! overrides an earlier one.
//!
//! This module holds the options, their defaults, their checks and the order of their sources. It
//! must never hold the entries of the registry, which belong to `registry`. A new option is a field
//! here, with a doc comment that gives its unit, and a row of [`OPTIONS`].

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use sts_jose::Egress;
use url::Url;

use crate::telemetry::LogFormat;
use crate::ttl::Ttl;

mod address;
mod admin;
mod argon2id;
mod database_url;
mod dpop;
mod load;
mod operator_options;
mod option;
mod options;
mod password;
mod private_files;
mod reference;
mod values;

pub use address::check_issuer;
pub use admin::{Admin, AdminOidc, AdminToken, Role, TokenTyp, check_name};
pub use argon2id::{Argon2idCost, argon2id_cost};
pub use dpop::{Dpop, DpopNonce};
pub use load::{Loaded, Overrides, load};
pub use option::ConfigOption;
pub use options::OPTIONS;
pub use password::PasswordError;
pub use private_files::{exposed_file, exposed_files, is_of_another_user};
pub use reference::reference;

/// The prefix of the server's environment variables. A double underscore separates table and key.
pub const VARIABLE_PREFIX: &str = "STS__";

/// The largest value of `limits.chain_depth`. Tokens of longer chains would not fit into 8 KiB.
const MAX_CHAIN_DEPTH: i64 = 64;

/// The longest `limits.max_ttl`.
const MAX_MAX_TTL: Ttl = Ttl::from_minutes(8 * 60);

/// The checked configuration of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The issuer identifier of this service, byte for byte the `iss` of its tokens. An `http(s)`
    /// URL without path, query or fragment.
    #[serde(default)]
    pub issuer: String,
    /// The registry file to apply at start.
    pub registry: Option<PathBuf>,
    /// The listeners.
    pub listen: Listen,
    /// TLS of the listeners.
    pub tls: Tls,
    /// The database that holds all state.
    pub database: Database,
    /// Sealing and rotation of the signing keys.
    pub keys: Keys,
    /// Retention of the audit log.
    pub audit: Audit,
    /// Resource limits.
    pub limits: Limits,
    /// Proofs of possession.
    pub dpop: Dpop,
    /// Proxies for outbound requests.
    pub egress: EgressOptions,
    /// Operators of the admin API.
    pub admin: Admin,
    /// Approvals of persons.
    pub approvals: ApprovalOptions,
    /// The format of the logs.
    pub log: Log,
    /// Export of traces.
    pub telemetry: Telemetry,
    /// Content of the published metadata documents.
    pub metadata: Metadata,
}

/// The listeners: their addresses, the proxies in front of them, and their shutdown.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// The address for agents. Default `127.0.0.1:8080`.
    pub public: SocketAddr,
    /// The address for operators. Default `127.0.0.1:8081`.
    pub admin: SocketAddr,
    /// Proxies whose forwarded header gives the source of a request. Default none.
    #[serde(deserialize_with = "values::read_networks")]
    pub trusted_proxies: Vec<IpNet>,
    /// The header that those proxies set. Default [`ForwardedHeader::XForwardedFor`].
    pub forwarded_header: ForwardedHeader,
    /// The header in which those proxies pass on the client's certificate. Default none.
    pub client_certificate_header: Option<ClientCertificateHeader>,
    /// The time after SIGTERM during which the server serves but fails readiness. Default `5s`.
    #[serde(deserialize_with = "values::read_delay")]
    pub drain_delay: Duration,
    /// The time limit of requests in progress after the listeners have closed. Default `20s`.
    pub drain_timeout: Ttl,
}

/// The header in which a trusted proxy names the source of a request. The server reads only this
/// header: the proxy may pass on the other header as a client wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeader {
    /// `X-Forwarded-For`.
    XForwardedFor,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

/// The header in which a trusted proxy passes on the certificate of its client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ClientCertificateHeader {
    /// `Client-Cert` (RFC 9440).
    #[serde(rename = "Client-Cert")]
    ClientCert,
    /// `X-Forwarded-Client-Cert` of Envoy.
    #[serde(rename = "X-Forwarded-Client-Cert")]
    XForwardedClientCert,
}

/// The rule for client certificates on the public listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificates {
    /// None is asked for.
    Off,
    /// One is asked for. A client without one is served too.
    Optional,
}

/// TLS in this process.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate chain in PEM, the server's own certificate first. Default none: plain HTTP.
    pub certificate_file: Option<PathBuf>,
    /// The private key in PEM.
    pub private_key_file: Option<PathBuf>,
    /// True if the admin listener speaks TLS too. Default false.
    pub admin: bool,
    /// Client certificates on the public listener. Default [`ClientCertificates::Off`].
    pub client_certificates: ClientCertificates,
    /// The certificates of the authorities of client certificates in PEM. Default none: X.509-SVIDs of registered trust
    /// domains alone.
    pub client_ca_file: Option<PathBuf>,
}

impl Tls {
    /// Returns the certificate chain and the private key if both are given.
    #[must_use]
    pub fn files(&self) -> Option<[&Path; 2]> {
        Some([self.certificate_file.as_deref()?, self.private_key_file.as_deref()?])
    }
}

/// The connection to the database.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Database {
    /// `sqlite://FILE` (default `sqlite://sts.db`) or `postgres://…`. It may hold a password, so
    /// Debug does not show it.
    pub url: String,
    /// A file with the password to PostgreSQL. Default none: the URL holds the password, or the
    /// database needs none.
    pub password_file: Option<PathBuf>,
    /// The most connections to PostgreSQL for requests. The server reserves five more. Default 10.
    pub max_connections: u32,
    /// True if a server migrates the schema when it starts, and `apply` before its change. Default
    /// true.
    pub migrate: bool,
    /// True if the server hears notifications. False behind a pooler that lends connections for
    /// single transactions. Default true.
    pub listen: bool,
    /// The standbys that PostgreSQL must have. Default [`Synchronous::Any`].
    pub synchronous: Synchronous,
}

/// The standbys that a server requires of PostgreSQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Synchronous {
    /// None: the replication is as PostgreSQL is configured.
    Any,
    /// A synchronous one. Without it the server is not ready.
    Require,
}

/// Sealing and rotation of the signing keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// A file with one line, the base64 of 32 bytes, that seals the signing keys at rest. Default
    /// `master.key`.
    pub master_key_file: PathBuf,
    /// The time for which a key signs. Default `30d`.
    pub rotate_every: Ttl,
}

/// Retention of the audit log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Audit {
    /// The time for which events are kept. Default `forever`.
    #[serde(deserialize_with = "values::read_retention")]
    pub retain: Option<Ttl>,
}

/// Resource limits of a server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// The most actors of a chain. Default 8.
    pub chain_depth: usize,
    /// The longest lifetime of any token. Default `15m`, at most `8h`.
    pub max_ttl: Ttl,
    /// The most failed attempts of one source, or one agent, in a minute. Default 1000.
    pub failed_attempts_per_minute: u32,
    /// The most refusals of one agent that the server stores in a minute. Default 600.
    pub refusals_per_minute_per_client: u32,
    /// The most requests of one authenticated agent in a minute. Default none.
    pub requests_per_minute_per_client: Option<NonZeroU32>,
    /// The most requests of one source in a minute. Default none.
    pub requests_per_minute_per_source: Option<NonZeroU32>,
    /// The most open connections of the public listener. Default 4096.
    pub connections: usize,
    /// The most open connections of one source. Default [`Limits::per_source`].
    pub connections_per_source: Option<usize>,
    /// The memory for the heads and bodies of requests, in bytes. Default 128 MiB.
    #[serde(deserialize_with = "values::read_bytes")]
    pub request_memory: usize,
    /// The longest token that the server reads, in bytes. Default 16 KiB, at most 64 KiB.
    #[serde(deserialize_with = "values::read_bytes")]
    pub max_token_bytes: usize,
    /// The time limit of a TLS handshake. Default `10s`.
    pub handshake_timeout: Ttl,
    /// The time limit for reading a request's headers. Default `10s`.
    pub header_timeout: Ttl,
    /// The time limit for reading a request's body. Default `10s`.
    pub body_timeout: Ttl,
    /// The time limit of a request, from its head to its answer. Default `30s`.
    pub request_timeout: Ttl,
    /// The time limit of an answer whose peer reads nothing. Default `10s`.
    pub write_timeout: Ttl,
}

impl Limits {
    /// The longest head of a request, in bytes.
    pub const HEAD_BYTES: usize = 16 * 1024;
    /// The longest body of a request, in bytes.
    pub const BODY_BYTES: usize = 64 * 1024;
    /// The part of a body for which every connection has reserved memory, in bytes. It holds a
    /// usual request, so that long bodies on other connections never block it.
    pub const OWN_BODY_BYTES: usize = 8 * 1024;
    /// The smallest connection limit of the admin listener.
    const ADMIN_CONNECTIONS: usize = 64;
    /// The smallest default for the connections of one source.
    const SOURCE_CONNECTIONS: usize = 16;

    /// Returns the most open connections of the admin listener.
    #[must_use]
    pub fn admin_connections(&self) -> usize {
        (self.connections / 16).max(Self::ADMIN_CONNECTIONS)
    }

    /// Returns the most open connections of one source.
    #[must_use]
    pub fn per_source(&self) -> usize {
        self.connections_per_source.unwrap_or((self.connections / 16).max(Self::SOURCE_CONNECTIONS))
    }

    /// Returns the most open connections of both listeners together.
    #[must_use]
    pub fn all_connections(&self) -> usize {
        self.connections.saturating_add(self.admin_connections())
    }

    /// Returns the part of `request_memory` that is reserved for single connections, in bytes.
    #[must_use]
    pub fn own_memory(&self) -> usize {
        self.all_connections().saturating_mul(Self::HEAD_BYTES + Self::OWN_BODY_BYTES)
    }

    /// Returns the part of `request_memory` that bodies beyond [`Self::OWN_BODY_BYTES`] share, in
    /// bytes.
    #[must_use]
    pub fn shared_memory(&self) -> usize {
        self.request_memory.saturating_sub(self.own_memory())
    }

    /// Returns the longest wait for the commit of a decision. It is half of `request_timeout`,
    /// which leaves time to answer with the reason.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.request_timeout.as_duration() / 2
    }
}

impl Config {
    /// Returns true if clients can present certificates: to the listener, or through a proxy.
    #[must_use]
    pub fn takes_client_certificates(&self) -> bool {
        self.tls.client_certificates == ClientCertificates::Optional || self.listen.client_certificate_header.is_some()
    }

    /// Returns true if an agent can authenticate by a name of its certificate: authorities or a proxy
    /// verify it. X.509-SVIDs need neither.
    #[must_use]
    pub fn verifies_client_certificates(&self) -> bool {
        self.tls.client_ca_file.is_some() || self.listen.client_certificate_header.is_some()
    }
}

/// Proxies for outbound requests.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressOptions {
    /// `egress.proxy`. Without it the environment decides.
    #[serde(default, deserialize_with = "values::read_proxy")]
    pub proxy: Option<Egress>,
    /// `egress.no_proxy`. Without it the environment decides.
    pub no_proxy: Option<Vec<String>>,
    /// The proxies in effect, from the options and the environment.
    #[serde(skip)]
    pub proxies: Egress,
}

/// Approvals of persons.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalOptions {
    /// The receiver of a notice when an approval waits. Default none.
    pub notify_url: Option<Url>,
}

/// The output of logs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// The format of a line. Default [`LogFormat::Human`].
    pub format: LogFormat,
}

/// Export of traces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Telemetry {
    /// The collector that receives traces, as OTLP over HTTP. Default none.
    pub otlp_endpoint: Option<Url>,
}

/// Content of the published metadata documents.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metadata {
    /// True if metadata omits the members that RFC 8414 does not require but widespread parsers do.
    /// Default false.
    pub minimal: bool,
    /// True if metadata that is not minimal has `response_types_supported` with the single value
    /// `none`. Default true.
    pub response_types_none: bool,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}
