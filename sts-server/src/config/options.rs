//! The table of all options, which the file, the environment and the flags share. A test compares
//! `docs/configuration.md` with it.

use super::address::check_issuer;
use super::admin;
use super::database_url::{check_database_url, resolve_database_url};
use super::option::{ConfigOption, OptionKind};
use super::values::{
    ADDRESS, check_url, path, set, set_algorithms, set_bytes, set_bytes_within, set_count, set_delay,
    set_forwarded_header, set_networks, set_proxy, set_rate, set_text, set_texts, set_timeout, set_ttl,
};
use super::{Limits, MAX_CHAIN_DEPTH, MAX_MAX_TTL_HOURS};
use crate::telemetry::check_otlp_endpoint;
use crate::ttl::Ttl;

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
        doc: "Where it listens for operators: the admin API and the metrics.",
        set: |config, given| set(&mut config.listen.admin, given, ADDRESS),
    },
    ConfigOption {
        table: Some("listen"),
        key: "trusted_proxies",
        kind: OptionKind::List,
        default: Some(""),
        form: "IP addresses and networks, such as 10.0.0.0/8; in the environment separated by commas",
        doc: "The proxies whose forwarded header gives the source of a request. The server ignores this header from any other peer.",
        set: |config, given| set_networks(&mut config.listen.trusted_proxies, given),
    },
    ConfigOption {
        table: Some("listen"),
        key: "forwarded_header",
        kind: OptionKind::Text,
        default: Some("X-Forwarded-For"),
        form: "X-Forwarded-For or Forwarded",
        doc: "The header that your proxy sets. Never choose the other one, which the proxy may pass on as a client wrote it.",
        set: |config, given| set_forwarded_header(&mut config.listen.forwarded_header, given),
    },
    ConfigOption {
        table: Some("listen"),
        key: "drain_delay",
        kind: OptionKind::Text,
        default: Some("5s"),
        form: "a span of time or 0s, at most 10m",
        doc: "After SIGTERM, the time for which the server keeps serving while /readyz already answers 503. It lets load balancers stop sending requests before the listeners close.",
        set: |config, given| set_delay(&mut config.listen.drain_delay, given),
    },
    ConfigOption {
        table: Some("listen"),
        key: "drain_timeout",
        kind: OptionKind::Text,
        default: Some("20s"),
        form: "a span of time, at most 10m",
        doc: "How long requests under way may take after the listeners have closed.",
        set: |config, given| set_timeout(&mut config.listen.drain_timeout, given),
    },
    ConfigOption {
        table: Some("tls"),
        key: "certificate_file",
        kind: OptionKind::Text,
        default: None,
        form: "a path",
        doc: "The certificate chain of the public listener in PEM, its own certificate first. Without it the listener speaks plain HTTP, for a proxy that ends TLS. A changed file is taken up within seconds.",
        set: |config, given| {
            config.tls.certificate_file = Some(path(given)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("tls"),
        key: "private_key_file",
        kind: OptionKind::Text,
        default: None,
        form: "a path",
        doc: "The private key of that certificate in PEM.",
        set: |config, given| {
            config.tls.private_key_file = Some(path(given)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("tls"),
        key: "admin",
        kind: OptionKind::Boolean,
        default: Some("false"),
        form: "true or false",
        doc: "Whether the admin listener speaks TLS too, with the same certificate.",
        set: |config, given| set(&mut config.tls.admin, given, "true or false"),
    },
    ConfigOption {
        table: Some("database"),
        key: "url",
        kind: OptionKind::SecretText,
        default: Some("sqlite://sts.db"),
        form: "sqlite://FILE or postgres://…, which may name several hosts: postgres://a,b/sts?target_session_attrs=read-write",
        doc: "Where its data is. It may hold a password: then better STS__DATABASE__URL than the file, or database.password_file.",
        set: |config, given| {
            check_database_url(given.text)?;
            config.database.url = resolve_database_url(given.text, given.directory)?;
            Ok(())
        },
    },
    ConfigOption {
        table: Some("database"),
        key: "password_file",
        kind: OptionKind::Text,
        default: None,
        form: "a path",
        doc: "A file with one line, the password to PostgreSQL, which the URL then need not hold. Read again at each connect.",
        set: |config, given| {
            config.database.password_file = Some(path(given)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("database"),
        key: "max_connections",
        kind: OptionKind::Integer,
        default: Some("10"),
        form: "connections, 1 to 1000",
        doc: "The most connections to PostgreSQL for requests. Up to five more are set apart: two follow the database and revoke, two read the audit log, one hears announcements.",
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
        key: "refusals_per_minute_per_client",
        kind: OptionKind::Integer,
        default: Some("600"),
        form: "refusals, 1 to 1000000",
        doc: "The refusals of one agent that are stored in a minute; further refused requests are answered 429 and counted into one event a minute.",
        set: |config, given| set_count(&mut config.limits.refusals_per_minute_per_client, given, 1, 1_000_000),
    },
    ConfigOption {
        table: Some("limits"),
        key: "requests_per_minute_per_client",
        kind: OptionKind::Integer,
        default: None,
        form: "requests, 1 to 1000000",
        doc: "The requests that one agent may make in a minute after it has authenticated; refused requests count too. Unlimited unless given.",
        set: |config, given| set_rate(&mut config.limits.requests_per_minute_per_client, given),
    },
    ConfigOption {
        table: Some("limits"),
        key: "requests_per_minute_per_source",
        kind: OptionKind::Integer,
        default: None,
        form: "requests, 1 to 1000000",
        doc: "The requests that one source may make in a minute; refused requests count too. Unlimited unless given.",
        set: |config, given| set_rate(&mut config.limits.requests_per_minute_per_source, given),
    },
    ConfigOption {
        table: Some("limits"),
        key: "connections",
        kind: OptionKind::Integer,
        default: Some("4096"),
        form: "connections, 1 to 1000000",
        doc: "The most open connections of the public listener. The admin listener has a sixteenth as many, but at least 64.",
        set: |config, given| set_count(&mut config.limits.connections, given, 1, 1_000_000),
    },
    ConfigOption {
        table: Some("limits"),
        key: "connections_per_source",
        kind: OptionKind::Integer,
        default: None,
        form: "connections, 1 to 1000000",
        doc: "The most open connections of one source; a sixteenth of limits.connections, but at least 16, unless given. listen.trusted_proxies are exempt.",
        set: |config, given| set_count(config.limits.connections_per_source.insert(1), given, 1, 1_000_000),
    },
    ConfigOption {
        table: Some("limits"),
        key: "request_memory",
        kind: OptionKind::Text,
        default: Some("128MiB"),
        form: "bytes, or a number with KiB, MiB or GiB",
        doc: "The memory for the heads and bodies of requests: 24 KiB for each connection of both listeners, and the rest for bodies beyond 8 KiB.",
        set: |config, given| set_bytes(&mut config.limits.request_memory, given),
    },
    ConfigOption {
        table: Some("limits"),
        key: "max_token_bytes",
        kind: OptionKind::Text,
        default: Some("16KiB"),
        form: "bytes, or a number with KiB, 1 to 64KiB",
        doc: "The longest subject token, actor token or client assertion that is read. The whole body of a request has at most 64 KiB.",
        set: |config, given| set_bytes_within(&mut config.limits.max_token_bytes, given, Limits::BODY_BYTES),
    },
    ConfigOption {
        table: Some("limits"),
        key: "handshake_timeout",
        kind: OptionKind::Text,
        default: Some("10s"),
        form: "a span of time, at most 10m",
        doc: "How long a TLS handshake may take.",
        set: |config, given| set_timeout(&mut config.limits.handshake_timeout, given),
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
        key: "request_timeout",
        kind: OptionKind::Text,
        default: Some("30s"),
        form: "a span of time, at most 10m",
        doc: "How long a request may take from its head to its answer; longer than body_timeout.",
        set: |config, given| set_timeout(&mut config.limits.request_timeout, given),
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
        table: Some("egress"),
        key: "proxy",
        kind: OptionKind::SecretText,
        default: None,
        form: "an http(s) URL such as http://proxy.example:3128, or an empty text for none",
        doc: "The proxy that key sets are fetched by, instead of HTTPS_PROXY and HTTP_PROXY of the environment. It may hold user and password. The loopback interface is always reached directly.",
        set: |config, given| set_proxy(&mut config.egress.proxy, given),
    },
    ConfigOption {
        table: Some("egress"),
        key: "no_proxy",
        kind: OptionKind::List,
        default: None,
        form: "host names, which include those below them, addresses and networks; in the environment separated by commas",
        doc: "The hosts that are reached without the proxy, instead of NO_PROXY of the environment.",
        set: |config, given| {
            config.egress.no_proxy = Some(given.text.to_owned());
            Ok(())
        },
    },
    ConfigOption {
        table: Some("admin"),
        key: "tokens",
        kind: OptionKind::Tables,
        default: None,
        form: "tables of name, role (reader, operator or admin) and hash; in the environment a JSON array of such objects",
        doc: "The bearer tokens of operators, who may use the admin API: `sts-server admin token` makes one. Without them and without `admin.oidc.issuer` the admin API rejects every operator.",
        set: |config, given| admin::set_tokens(config, given.text),
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "issuer",
        kind: OptionKind::Text,
        default: None,
        form: "an https URL; http only for the loopback interface",
        doc: "The issuer whose access tokens name operators, byte for byte their iss.",
        set: |config, given| {
            check_url(given.text)?;
            config.admin.oidc.issuer = Some(given.text.to_owned());
            Ok(())
        },
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "jwks_uri",
        kind: OptionKind::Text,
        default: None,
        form: "an https URL; http only for the loopback interface",
        doc: "Where its keys are; without it they are found by discovery.",
        set: |config, given| {
            config.admin.oidc.jwks_uri = Some(check_url(given.text)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "ca_file",
        kind: OptionKind::Text,
        default: None,
        form: "a path",
        doc: "The certificates of the authority of that URL in PEM; without it those of the system. A changed file is taken up by the next fetch.",
        set: |config, given| {
            config.admin.oidc.ca_file = Some(path(given)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "algorithms",
        kind: OptionKind::List,
        default: Some("RS256,ES256,EdDSA"),
        form: "asymmetric algorithms",
        doc: "What it signs with.",
        set: |config, given| set_algorithms(&mut config.admin.oidc.algorithms, given),
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "audience",
        kind: OptionKind::Text,
        default: None,
        form: "one of the values of aud",
        doc: "What its tokens must be addressed to. Required with issuer.",
        set: |config, given| set_text(&mut config.admin.oidc.audience, given),
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "token_typ",
        kind: OptionKind::Text,
        default: Some("at+jwt"),
        form: "at+jwt or jwt",
        doc: "The typ of its access tokens. With jwt, tokens of the typ JWT or of none are taken too, unless they look like ID tokens.",
        set: |config, given| set(&mut config.admin.oidc.token_typ, given, "at+jwt or jwt"),
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "claim",
        kind: OptionKind::Text,
        default: Some("roles"),
        form: "the claim's literal name",
        doc: "The claim that says what an operator may do: an array, or a text of words.",
        set: |config, given| {
            let mut claim = None;
            set_text(&mut claim, given)?;
            config.admin.oidc.claim = claim.unwrap_or_default();
            Ok(())
        },
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "readers",
        kind: OptionKind::List,
        default: None,
        form: "values of the claim",
        doc: "Who may read and ask for explanations.",
        set: |config, given| set_texts(&mut config.admin.oidc.readers, given),
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "operators",
        kind: OptionKind::List,
        default: None,
        form: "values of the claim",
        doc: "Who may also revoke, lift, rotate keys and disable entries.",
        set: |config, given| set_texts(&mut config.admin.oidc.operators, given),
    },
    ConfigOption {
        table: Some("admin.oidc"),
        key: "admins",
        kind: OptionKind::List,
        default: None,
        form: "values of the claim",
        doc: "Who may also change entries and revoke keys.",
        set: |config, given| set_texts(&mut config.admin.oidc.admins, given),
    },
    ConfigOption {
        table: Some("log"),
        key: "format",
        kind: OptionKind::Text,
        default: Some("human"),
        form: "human or json",
        doc: "What a line of the log looks like: words for people, or one JSON object.",
        set: |config, given| set(&mut config.log.format, given, "human or json"),
    },
    ConfigOption {
        table: Some("telemetry"),
        key: "otlp_endpoint",
        kind: OptionKind::Text,
        default: None,
        form: "an http(s) URL without user, query or fragment, such as http://127.0.0.1:4318",
        doc: "The OpenTelemetry collector that traces go to, as OTLP over HTTP; without it there are none.",
        set: |config, given| {
            config.telemetry.otlp_endpoint = Some(check_otlp_endpoint(given.text)?);
            Ok(())
        },
    },
    ConfigOption {
        table: Some("metadata"),
        key: "minimal",
        kind: OptionKind::Boolean,
        default: Some("false"),
        form: "true or false",
        doc: "Whether metadata leaves out the members that widespread parsers insist on: authorization_endpoint, response_types_supported and, in the OpenID document, subject_types_supported and id_token_signing_alg_values_supported.",
        set: |config, given| set(&mut config.metadata.minimal, given, "true or false"),
    },
    ConfigOption {
        table: Some("metadata"),
        key: "response_types_none",
        kind: OptionKind::Boolean,
        default: Some("true"),
        form: "true or false",
        doc: "Whether metadata has \"response_types_supported\": [\"none\"]; metadata.minimal leaves it out in any case.",
        set: |config, given| set(&mut config.metadata.response_types_none, given, "true or false"),
    },
];
