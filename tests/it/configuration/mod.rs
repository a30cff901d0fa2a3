//! How the file, the environment and the flags become a configuration, and what is told when they do not.

mod operators;

use std::fs;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sts_jose::Algorithm;
use sts_server::config::{
    self, AdminToken, ClientCertificateHeader, ClientCertificates, DpopNonce, ForwardedHeader, Loaded, OPTIONS,
    Overrides, Role, Synchronous, TokenTyp,
};
use sts_server::telemetry::LogFormat;
use tempfile::TempDir;

struct Files(TempDir);

impl Files {
    fn with(text: &str) -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        fs::write(files.path(), text).unwrap();
        files
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("sts.toml")
    }

    fn load(&self, variables: &[(&str, &str)], overrides: &Overrides) -> Loaded {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        config::load(Some(&self.path()), variables, overrides)
    }

    /// The faults, with the file's directory cut off.
    fn faults(&self, variables: &[(&str, &str)], overrides: &Overrides) -> Vec<String> {
        let directory = format!("{}/", self.0.path().display());
        self.load(variables, overrides).faults.iter().map(|fault| fault.to_string().replace(&directory, "")).collect()
    }
}

/// An argon2id hash.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$y5HFY3+UvY8XkyPtJY6sVvLjqHoC6kTGYVhNTvFOkNs";

const WHOLE: &str = r#"
issuer = "https://sts.example.com"
registry = "registry.toml"
[listen]
public = "0.0.0.0:443"
admin = "127.0.0.1:9000"
trusted_proxies = ["10.0.0.0/8", "::1"]
forwarded_header = "Forwarded"
client_certificate_header = "X-Forwarded-Client-Cert"
drain_delay = "0s"
drain_timeout = "1m"
[tls]
certificate_file = "tls.crt"
private_key_file = "/run/secrets/tls.key"
admin = true
client_certificates = "optional"
client_ca_file = "clients.crt"
[database]
url = "sqlite://data/sts.db"
password_file = "/run/secrets/password"
max_connections = 20
listen = false
synchronous = "require"
migrate = false
[keys]
master_key_file = "/run/secrets/master.key"
rotate_every = "7d"
[audit]
retain = "90d"
[limits]
chain_depth = 4
max_ttl = "10m"
failed_attempts_per_minute = 50
refusals_per_minute_per_client = 60
requests_per_minute_per_client = 600
requests_per_minute_per_source = 6000
connections = 0x100
connections_per_source = 20
request_memory = "16MiB"
max_token_bytes = "20KiB"
handshake_timeout = "6s"
header_timeout = "5s"
body_timeout = "20s"
request_timeout = "1m"
write_timeout = "30s"
[dpop]
max_age = "90s"
nonce = "required"
[egress]
proxy = "http://proxy.example:3128"
no_proxy = [".svc", "10.0.0.0/8"]
[admin]
url = "https://sts-admin.example.com"
tokens = [{ name = "carol", role = "operator", hash = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$y5HFY3+UvY8XkyPtJY6sVvLjqHoC6kTGYVhNTvFOkNs" }]
[admin.oidc]
issuer = "https://login.example.com"
jwks_uri = "https://login.example.com/jwks"
ca_file = "/etc/agent-sts/login-ca.crt"
algorithms = ["ES256"]
audience = "https://sts.example.com/admin"
token_typ = "jwt"
claim = "groups"
readers = ["staff", "auditors"]
operators = ["on-call"]
admins = ["sts-admins"]
client_id = "sts-console"
client_secret_file = "/run/secrets/console_client_secret"
scopes = ["openid", "roles"]
[log]
format = "json"
[approvals]
notify_url = "https://portal.example.com/approvals"
[telemetry]
otlp_endpoint = "http://127.0.0.1:4318"
[metadata]
minimal = true
response_types_none = false
"#;

#[test]
fn every_key_of_the_file_is_read() {
    let files = Files::with(WHOLE);
    let loaded = files.load(&[], &Overrides::default());
    assert_eq!(loaded.faults, []);
    let config = loaded.config.unwrap();
    assert_eq!(config.issuer, "https://sts.example.com");
    assert_eq!(config.registry, Some(files.0.path().join("registry.toml")));
    assert_eq!(config.listen.public.to_string(), "0.0.0.0:443");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:9000");
    assert_eq!(config.database.url, format!("sqlite://{}/data/sts.db", files.0.path().display()));
    let proxies: Vec<String> = config.listen.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(config.listen.forwarded_header, ForwardedHeader::Forwarded);
    assert_eq!(config.listen.drain_delay, Duration::ZERO);
    assert_eq!(config.listen.drain_timeout.to_string(), "1m");
    let tls = [files.0.path().join("tls.crt"), PathBuf::from("/run/secrets/tls.key")];
    assert_eq!(config.tls.files(), Some([tls[0].as_path(), tls[1].as_path()]));
    assert!(config.tls.admin);
    assert_eq!(config.tls.client_certificates, ClientCertificates::Optional);
    assert_eq!(config.tls.client_ca_file.as_deref(), Some(files.0.path().join("clients.crt").as_path()));
    assert_eq!(config.listen.client_certificate_header, Some(ClientCertificateHeader::XForwardedClientCert));
    assert_eq!(config.database.password_file.as_deref(), Some(Path::new("/run/secrets/password")));
    assert_eq!(config.database.max_connections, 20);
    assert!(!config.database.listen);
    assert_eq!(config.database.synchronous, Synchronous::Require);
    assert!(!config.database.migrate);
    assert_eq!(config.keys.master_key_file, Path::new("/run/secrets/master.key"));
    assert_eq!(config.keys.rotate_every.to_string(), "7d");
    assert_eq!(config.audit.retain.map(|span| span.to_string()).as_deref(), Some("90d"));
    assert_eq!(config.limits.chain_depth, 4);
    assert_eq!(config.limits.max_ttl.to_string(), "10m");
    assert_eq!(config.limits.failed_attempts_per_minute, 50);
    assert_eq!(config.limits.refusals_per_minute_per_client, 60);
    assert_eq!(config.limits.requests_per_minute_per_client, NonZeroU32::new(600));
    assert_eq!(config.limits.requests_per_minute_per_source, NonZeroU32::new(6000));
    assert_eq!(config.limits.connections, 256);
    assert_eq!((config.limits.connections_per_source, config.limits.per_source()), (Some(20), 20));
    assert_eq!((config.limits.request_memory, config.limits.max_token_bytes), (16 << 20, 20 << 10));
    assert_ne!(config.egress.proxies, sts_jose::Egress::default());
    assert_eq!(config.egress.proxies.exceptions(), ".svc,10.0.0.0/8");
    assert_eq!(config.limits.handshake_timeout.to_string(), "6s");
    assert_eq!(config.limits.request_timeout.to_string(), "1m");
    assert_eq!(config.limits.header_timeout.to_string(), "5s");
    assert_eq!(config.limits.body_timeout.to_string(), "20s");
    assert_eq!(config.limits.write_timeout.to_string(), "30s");
    let token = AdminToken { name: "carol".to_owned(), role: Role::Operator, hash: HASH.to_owned() };
    assert_eq!(config.admin.tokens, [token]);
    assert_eq!(config.admin.url.as_ref().map(url::Url::as_str), Some("https://sts-admin.example.com/"));
    let oidc = &config.admin.oidc;
    assert_eq!(oidc.issuer.as_deref(), Some("https://login.example.com"));
    assert_eq!(oidc.jwks_uri.as_ref().map(|url| url.as_str()), Some("https://login.example.com/jwks"));
    assert_eq!(oidc.ca_file.as_deref(), Some(Path::new("/etc/agent-sts/login-ca.crt")));
    assert_eq!(oidc.algorithms, [Algorithm::Es256]);
    assert_eq!((oidc.audience.as_deref(), oidc.claim.as_str()), (Some("https://sts.example.com/admin"), "groups"));
    assert_eq!(oidc.token_typ, TokenTyp::Jwt);
    assert_eq!(oidc.client_id.as_deref(), Some("sts-console"));
    assert_eq!(oidc.client_secret_file.as_deref(), Some(Path::new("/run/secrets/console_client_secret")));
    assert_eq!(oidc.scopes, ["openid", "roles"]);
    assert_eq!(
        oidc.values(),
        [
            (Role::Admin, &["sts-admins".to_owned()][..]),
            (Role::Operator, &["on-call".to_owned()][..]),
            (Role::Reader, &["staff".to_owned(), "auditors".to_owned()][..]),
        ]
    );
    assert_eq!((config.dpop.max_age.to_string().as_str(), config.dpop.nonce), ("90s", DpopNonce::Required));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.approvals.notify_url.unwrap().as_str(), "https://portal.example.com/approvals");
    assert_eq!(config.telemetry.otlp_endpoint.unwrap().as_str(), "http://127.0.0.1:4318/");
    assert!(config.metadata.minimal && !config.metadata.response_types_none);
    for option in OPTIONS.iter() {
        assert!(WHOLE.contains(&format!("{} = ", option.key)), "{} has no case here", option.path());
    }
}

#[test]
fn what_nobody_says_has_the_documented_default() {
    let files = Files::with("issuer = \"https://sts.example.com\"\n");
    let config = files.load(&[], &Overrides::default()).config.unwrap();
    assert_eq!(config.registry, None);
    assert_eq!(config.listen.public.to_string(), "127.0.0.1:8080");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:8081");
    assert_eq!(config.database.url, format!("sqlite://{}/sts.db", files.0.path().display()));
    assert_eq!(config.database.password_file, None);
    assert_eq!(config.database.max_connections, 10);
    assert!(config.database.listen);
    assert_eq!(config.database.synchronous, Synchronous::Any);
    assert!(config.database.migrate);
    assert_eq!(config.keys.master_key_file, files.0.path().join("master.key"));
    assert_eq!(config.keys.rotate_every.to_string(), "30d");
    assert_eq!(config.audit.retain, None);
    assert_eq!(config.limits.chain_depth, 8);
    assert_eq!(config.limits.max_ttl.to_string(), "15m");
    assert_eq!(config.limits.failed_attempts_per_minute, 1000);
    assert_eq!(config.limits.refusals_per_minute_per_client, 600);
    assert_eq!(config.limits.requests_per_minute_per_client, None);
    assert_eq!(config.limits.requests_per_minute_per_source, None);
    assert_eq!((config.limits.connections, config.limits.admin_connections()), (4096, 256));
    assert_eq!((config.limits.connections_per_source, config.limits.per_source()), (None, 256));
    assert_eq!(config.limits.request_memory, 128 << 20);
    assert_eq!(config.limits.handshake_timeout.to_string(), "10s");
    assert_eq!(config.limits.request_timeout.to_string(), "30s");
    assert_eq!(config.listen.trusted_proxies, []);
    assert_eq!(config.listen.forwarded_header, ForwardedHeader::XForwardedFor);
    assert_eq!(config.listen.drain_delay, Duration::from_secs(5));
    assert_eq!(config.listen.drain_timeout.to_string(), "20s");
    assert_eq!(config.tls.files(), None);
    assert!(!config.tls.admin);
    assert_eq!(config.limits.header_timeout.to_string(), "10s");
    assert_eq!(config.limits.body_timeout.to_string(), "10s");
    assert!(!config.admin.is_configured());
    assert_eq!(config.admin.oidc.algorithms, [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]);
    assert_eq!(config.admin.oidc.claim, "roles");
    assert_eq!(config.log.format, LogFormat::Human);
    assert_eq!(config.approvals.notify_url, None);
    assert_eq!(config.telemetry.otlp_endpoint, None);
    assert!(!config.metadata.minimal && config.metadata.response_types_none);
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let files = Files::with(WHOLE);
    let variables = [
        ("STS__ISSUER", "https://env.example.com"),
        ("sts__Limits__Chain_Depth", "3"),
        ("STS__DATABASE__URL", "postgres://localhost/sts"),
        ("STS__METADATA__MINIMAL", "false"),
        ("STS__REGISTRY", "env.toml"),
        ("PATH", "/bin"),
        ("STS_PORT", "tcp://10.0.0.1:80"),
    ];
    let overrides = Overrides {
        issuer: Some("https://flag.example.com".to_owned()),
        public: Some("[::1]:1".to_owned()),
        ..Overrides::default()
    };
    let loaded = files.load(&variables, &overrides);
    assert_eq!(loaded.faults, []);
    let config = loaded.config.unwrap();
    assert_eq!(config.issuer, "https://flag.example.com");
    assert_eq!(config.listen.public.to_string(), "[::1]:1");
    assert_eq!(config.limits.chain_depth, 3);
    assert_eq!(config.database.url, "postgres://localhost/sts");
    assert!(!config.metadata.minimal);
    assert_eq!(config.registry.as_deref(), Some(Path::new("env.toml")));
}

#[test]
fn the_memory_for_requests_suffices_for_all_connections() {
    let files = Files::with("issuer = \"https://sts.example.com\"\n");
    let faults = |variables: &[(&str, &str)]| files.faults(variables, &Overrides::default());
    assert_eq!(
        faults(&[("STS__LIMITS__CONNECTIONS", "10000")]),
        ["environment: error: STS__LIMITS__CONNECTIONS: 10625 connections need limits.request_memory = \"250MiB\""]
    );
    assert_eq!(
        faults(&[("STS__LIMITS__REQUEST_MEMORY", "64MiB")]),
        ["environment: error: STS__LIMITS__REQUEST_MEMORY: 4352 connections need limits.request_memory = \"103MiB\""]
    );
    for memory in ["103MiB", "105472 KiB", "108003328", "1GiB"] {
        assert_eq!(faults(&[("STS__LIMITS__REQUEST_MEMORY", memory)]), Vec::<String>::new(), "{memory}");
    }
    for memory in ["", "MiB", "-1", "1.5GiB", "128MB", "99999999999GiB"] {
        let expected = "must be a number of bytes, such as \"128MiB\"";
        let faults = faults(&[("STS__LIMITS__REQUEST_MEMORY", memory)]);
        assert!(faults.len() == 1 && faults[0].ends_with(expected), "{memory}: {faults:?}");
    }
}

#[test]
fn every_fault_of_file_environment_and_flags_is_told_at_once() {
    let files = Files::with(
        r#"
isuer = "https://sts.example.com"
issuer = "https://sts.example.com/"
[listen]
public = "localhost:8080"
port = 1
[database]
url = "mysql://user:secret@db"
max_connections = "10"
[limits]
chain_depth = 65
max_ttl = "9h"
header_timeout = "11m"
[metadata]
minimal = 1
[limit]
x = 1
"#,
    );
    let overrides = Overrides { admin: Some("nowhere".to_owned()), ..Overrides::default() };
    let variables =
        [("STS__DATABSE__URL", "x"), ("STS__LIMITS__CONNECTIONS", "many"), ("STS__ISSUER", "a"), ("sts__issuer", "b")];
    assert_eq!(
        files.faults(&variables, &overrides),
        [
            "sts.toml:2: error: unknown key \"isuer\" in the configuration; did you mean \"issuer\"?",
            "sts.toml:3: error: issuer = \"https://sts.example.com/\": must end with the host or port, without path, query or fragment: \"https://sts.example.com\"",
            "sts.toml:5: error: listen.public = \"localhost:8080\": must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
            "sts.toml:6: error: unknown key \"port\" in [listen]; `sts-server config reference` prints all options",
            "sts.toml:8: error: database.url: must be sqlite://FILE or postgres://…",
            "sts.toml:9: error: database.max_connections must be an integer, not a string",
            "sts.toml:11: error: limits.chain_depth = \"65\": must be 1 to 64",
            "sts.toml:12: error: limits.max_ttl = \"9h\": at most 8h",
            "sts.toml:13: error: limits.header_timeout = \"11m\": at most 10m",
            "sts.toml:15: error: metadata.minimal must be true or false, not an integer",
            "sts.toml:16: error: unknown key \"limit\" in the configuration; did you mean \"limits\"?",
            "environment: error: STS__DATABSE__URL is not an option; did you mean STS__DATABASE__URL?",
            "environment: error: STS__ISSUER = \"a\": not a URL: relative URL without a base",
            "environment: error: STS__ISSUER and sts__issuer are the same option",
            "environment: error: STS__LIMITS__CONNECTIONS = \"many\": must be 1 to 1000000",
            "flags: error: --admin = \"nowhere\": must be an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"",
        ]
    );
}

#[test]
fn the_issuer_is_required() {
    let files = Files::with("[limits]\nchain_depth = 3\n");
    let fault = "missing key \"issuer\"; the https URL of this service, such as \"https://sts.example.com\"";
    assert_eq!(files.faults(&[], &Overrides::default()), [format!("sts.toml: error: {fault}")]);
    let without_file = config::load(None, [], &Overrides::default());
    assert_eq!(without_file.faults[0].to_string(), format!("configuration: error: {fault}"));
    assert!(without_file.config.is_none());
}

#[test]
fn rules_between_options_name_who_spoke_last() {
    let files = Files::with("issuer = \"https://sts.example.com\"\n[listen]\nadmin = \"127.0.0.1:8080\"\n");
    assert_eq!(
        files.faults(&[], &Overrides::default()),
        ["sts.toml:3: error: listen.admin is the address of the public listener too"]
    );
    assert_eq!(
        files.faults(&[("STS__LISTEN__PUBLIC", "127.0.0.1:8080")], &Overrides::default()),
        ["environment: error: STS__LISTEN__PUBLIC is the address of the admin listener too"]
    );
    let alone = Files::with("issuer = \"https://sts.example.com\"\n[limits]\nbody_timeout = \"40s\"\n");
    assert_eq!(
        alone.faults(&[], &Overrides::default()),
        [
            "sts.toml:3: error: limits.body_timeout is not shorter than limits.request_timeout: a slow body would look like an outage"
        ]
    );
    let loaded =
        files.load(&[("STS__LISTEN__ADMIN", "127.0.0.1:1"), ("STS__KEYS__ROTATE_EVERY", "1m")], &Overrides::default());
    assert!(loaded.config.is_some(), "a warning is no error");
    assert_eq!(
        loaded.faults[0].to_string(),
        "environment: warning: STS__KEYS__ROTATE_EVERY is shorter than limits.max_ttl: retired keys accumulate in the key set"
    );
}

#[test]
fn the_registry_is_known_also_where_the_rest_is_at_fault() {
    let files = Files::with("registry = \"r.toml\"\n");
    let loaded = files.load(&[], &Overrides::default());
    assert!(loaded.config.is_none());
    assert_eq!(loaded.registry, Some(files.0.path().join("r.toml")));
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_told() {
    let files = Files::with("issuer = https://sts.example.com\n");
    assert_eq!(
        files.faults(&[("STS__ISSUER", "https://sts.example.com")], &Overrides::default()),
        ["sts.toml:1: error: not TOML at column 10: string values must be quoted, expected literal string"]
    );
    let overrides = Overrides { issuer: Some("https://sts.example.com".to_owned()), ..Overrides::default() };
    let missing = config::load(Some(Path::new("/nowhere/sts.toml")), [], &overrides);
    let all: Vec<String> = missing.faults.iter().map(ToString::to_string).collect();
    assert_eq!(all, ["/nowhere/sts.toml: error: cannot be read: No such file or directory (os error 2)"]);
}

#[test]
fn a_list_is_an_array_in_the_file_and_a_text_with_commas_in_the_environment() {
    let files = Files::with("issuer = \"https://sts.example.com\"\n[listen]\ntrusted_proxies = [\"10.0.0.1\"]\n");
    let loaded = files.load(&[("STS__LISTEN__TRUSTED_PROXIES", "192.0.2.0/24, ::1")], &Overrides::default());
    let proxies: Vec<String> = loaded.config.unwrap().listen.trusted_proxies.iter().map(ToString::to_string).collect();
    assert_eq!(proxies, ["192.0.2.0/24", "::1/128"]);
    for (value, fault) in [
        ("\"10.0.0.1\"", "listen.trusted_proxies must be an array of strings, not a string"),
        (
            "[1]",
            "listen.trusted_proxies must be a string, not an integer; \"1\" is not an IP address or a network, such as \"10.0.0.0/8\" or \"::1\"",
        ),
        (
            "[\"proxy\"]",
            "listen.trusted_proxies = \"proxy\": \"proxy\" is not an IP address or a network, such as \"10.0.0.0/8\" or \"::1\"",
        ),
    ] {
        let text = format!("issuer = \"https://sts.example.com\"\n[listen]\ntrusted_proxies = {value}\n");
        assert_eq!(Files::with(&text).faults(&[], &Overrides::default()), [format!("sts.toml:3: error: {fault}")]);
    }
}

#[test]
fn an_element_of_a_list_has_its_own_line_and_may_hold_a_comma() {
    let oidc = "[admin.oidc]\nissuer = \"https://login.example.com\"\naudience = \"a\"\n";
    let with =
        |readers: &str| Files::with(&format!("issuer = \"https://sts.example.com\"\n{oidc}readers = {readers}\n"));
    let group = with("[\"CN=staff,OU=shop\"]").load(&[], &Overrides::default()).config.unwrap();
    assert_eq!(group.admin.oidc.readers, ["CN=staff,OU=shop"]);
    assert_eq!(
        with("[\n\"staff\",\n\"\",\n]").faults(&[], &Overrides::default()),
        ["sts.toml:7: error: admin.oidc.readers = \"\": must not be empty"]
    );
}

#[test]
fn the_rules_of_tls_and_of_deadlines_are_told() {
    for (text, fault) in [
        ("[tls]\ncertificate_file = \"a\"\n", "3: error: tls.certificate_file needs tls.private_key_file too"),
        ("[tls]\nprivate_key_file = \"a\"\n", "3: error: tls.private_key_file needs tls.certificate_file too"),
        ("[tls]\nadmin = true\n", "3: error: tls.admin needs tls.certificate_file and tls.private_key_file"),
        (
            "[limits]\nrequest_timeout = \"10s\"\n",
            "3: error: limits.request_timeout is not longer than limits.body_timeout: a slow body would look like an outage",
        ),
        (
            "[limits]\nrequest_timeout = \"20s\"\nbody_timeout = \"40s\"\n",
            "4: error: limits.body_timeout is not shorter than limits.request_timeout: a slow body would look like an outage",
        ),
    ] {
        let files = Files::with(&format!("issuer = \"https://sts.example.com\"\n{text}"));
        assert_eq!(files.faults(&[], &Overrides::default()), [format!("sts.toml:{fault}")]);
    }
    let tls = "[tls]\ncertificate_file = \"a\"\nprivate_key_file = \"b\"\n";
    let files = Files::with(&format!("issuer = \"http://localhost\"\n{tls}"));
    assert_eq!(
        files.faults(&[], &Overrides::default()),
        ["sts.toml:1: warning: issuer is an http URL, and the public listener speaks TLS"]
    );
}
