//! Loading of one configuration from the file, the environment and the flags.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sts_jose::Egress;

use super::admin::{ADMIN_TOKEN, oidc_faults};
use super::database_url::unverified;
use super::option::{ConfigOption, Given, OptionKind};
use super::options::OPTIONS;
use super::{
    Admin, AdminOidc, Config, Database, Dpop, DpopNonce, EgressOptions, ForwardedHeader, Keys, Limits, Listen, Log,
    Metadata, Telemetry, Tls, TokenTyp, VARIABLE_PREFIX,
};
use crate::document::{self, Member, Node, NodeTable, NodeValue, Reader, nearest};
use crate::fault::{Fault, Severity};
use crate::telemetry::LogFormat;
use crate::ttl::Ttl;

/// The values of a command's flags. An absent field leaves the option unchanged. Relative paths are
/// relative to the working directory.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--sts-issuer`.
    pub issuer: Option<String>,
    /// `--registry`.
    pub registry: Option<String>,
    /// `--public`, the address of the public listener.
    pub public: Option<String>,
    /// `--admin`, the address of the admin listener.
    pub admin: Option<String>,
    /// `--database-url`.
    pub database_url: Option<String>,
    /// `--master-key-file`.
    pub master_key_file: Option<String>,
}

/// The result of loading.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration; `None` if a fault is an error.
    pub config: Option<Config>,
    /// The registry file, even if other options have faults.
    pub registry: Option<PathBuf>,
    /// Every fault, warnings included.
    pub faults: Vec<Fault>,
}

/// Loads the configuration from the defaults, the file, the environment and the flags. A later
/// source overrides an earlier one.
///
/// `environment` is [`environment::variables`](crate::environment::variables), or the pairs of a
/// test. Of these, the function reads names that start with `STS__`, `PGSSLMODE`, and the variables
/// that name proxies.
///
/// Relative paths of the file are relative to the file's directory, as are those of the defaults if
/// there is a file. Those of the environment and the flags are relative to the working directory.
/// The function reads no other file.
pub fn load(
    file: Option<&Path>,
    environment: impl IntoIterator<Item = (String, String)>,
    overrides: &Overrides,
) -> Loaded {
    let directory = file.and_then(Path::parent).unwrap_or(Path::new(""));
    let mut loader = Loader {
        config: blank(),
        said: HashMap::new(),
        postgres_ssl_mode: None,
        proxies: Vec::new(),
        faults: Vec::new(),
    };
    for option in OPTIONS {
        if let Some(text) = option.default {
            loader.set(option, text, directory, Source::Default);
        }
    }
    if let Some(file) = file {
        loader.file(file, directory);
    }
    loader.environment(environment);
    loader.flags(overrides);
    loader.finish(file)
}

struct Loader {
    config: Config,
    /// The last source of each option, by the option's path.
    said: HashMap<String, Source>,
    /// `PGSSLMODE`, which the PostgreSQL driver reads.
    postgres_ssl_mode: Option<String>,
    /// The environment variables that name proxies.
    proxies: Vec<(String, String)>,
    faults: Vec<Fault>,
}

/// The source of a value.
#[derive(Debug, Clone)]
enum Source {
    Default,
    File { file: PathBuf, line: usize },
    Variable(String),
    Flag(&'static str),
}

impl Source {
    /// Returns the precedence of the source. The higher rank wins.
    fn rank(&self) -> (u8, usize) {
        match self {
            Self::Default => (0, 0),
            Self::File { line, .. } => (1, *line),
            Self::Variable(_) => (2, 0),
            Self::Flag(_) => (3, 0),
        }
    }

    /// Returns a fault of the value that this source gave to an option.
    fn fault(&self, option: &ConfigOption, severity: Severity, what: &str) -> Fault {
        match self {
            Self::Default => Fault::new(Path::new("defaults"), severity, format!("{}{what}", option.path())),
            Self::File { file, line } => Fault::new(file, severity, format!("{}{what}", option.path())).at(Some(*line)),
            Self::Variable(name) => Fault::new(Path::new(ENVIRONMENT), severity, format!("{name}{what}")),
            Self::Flag(name) => Fault::new(Path::new("flags"), severity, format!("{name}{what}")),
        }
    }
}

/// The name in place of a file, in faults of variables.
const ENVIRONMENT: &str = "environment";

impl Loader {
    fn set(&mut self, option: &'static ConfigOption, text: &str, directory: &Path, source: Source) {
        if let Err(reason) = (option.set)(&mut self.config, &Given { text, directory }) {
            let what = match option.kind {
                OptionKind::SecretText | OptionKind::Tables => format!(": {reason}"),
                OptionKind::Text | OptionKind::List | OptionKind::Integer | OptionKind::Boolean => {
                    format!(" = {text:?}: {reason}")
                }
            };
            self.faults.push(source.fault(option, Severity::Error, &what));
        }
        self.said.insert(option.path(), source);
    }

    fn file(&mut self, file: &Path, directory: &Path) {
        let text = match document::read_text(file) {
            Ok(text) => text,
            Err(fault) => return self.faults.push(fault),
        };
        let (mut reader, table) = Reader::parse(file, &text);
        for (option, text, line) in table.iter().flat_map(|table| given_options(&mut reader, None, table)) {
            self.set(option, &text, directory, Source::File { file: file.to_owned(), line });
        }
        self.faults.extend(reader.into_faults());
    }

    fn environment(&mut self, environment: impl IntoIterator<Item = (String, String)>) {
        let mut names: HashMap<String, String> = HashMap::new();
        let mut variables: Vec<(String, String)> = environment.into_iter().collect();
        variables.sort();
        for (name, text) in variables {
            if name == "PGSSLMODE" {
                self.postgres_ssl_mode = Some(text);
                continue;
            }
            let upper = name.to_ascii_uppercase();
            if matches!(upper.as_str(), "HTTPS_PROXY" | "HTTP_PROXY" | "NO_PROXY") {
                self.proxies.push((name, text));
                continue;
            }
            if !upper.starts_with(VARIABLE_PREFIX) {
                continue;
            }
            let Some(option) = OPTIONS.iter().find(|option| option.variable() == upper) else {
                self.faults.push(unknown_variable(&name, &upper));
                continue;
            };
            if let Some(first) = names.get(&upper) {
                let message = format!("{first} and {name} are the same option");
                self.faults.push(Fault::new(Path::new(ENVIRONMENT), Severity::Error, message));
                continue;
            }
            names.insert(upper, name.clone());
            self.set(option, &text, Path::new(""), Source::Variable(name));
        }
    }

    fn flags(&mut self, overrides: &Overrides) {
        let Overrides { issuer, registry, public, admin, database_url, master_key_file } = overrides;
        for (flag, path, text) in [
            ("--sts-issuer", "issuer", issuer),
            ("--registry", "registry", registry),
            ("--public", "listen.public", public),
            ("--admin", "listen.admin", admin),
            ("--database-url", "database.url", database_url),
            ("--master-key-file", "keys.master_key_file", master_key_file),
        ] {
            let option = OPTIONS.iter().find(|option| option.path() == path);
            if let (Some(option), Some(text)) = (option, text) {
                self.set(option, text, Path::new(""), Source::Flag(flag));
            }
        }
    }

    /// Checks the rules between options and returns the result.
    fn finish(mut self, file: Option<&Path>) -> Loaded {
        if !self.said.contains_key("issuer") {
            let file = file.unwrap_or(Path::new("configuration"));
            let fault = Fault::new(file, Severity::Error, "missing key \"issuer\"");
            self.faults.push(fault.with_help("the https URL of this service, such as \"https://sts.example.com\""));
        }
        let listen = &self.config.listen;
        if listen.public == listen.admin && listen.public.port() != 0 {
            let public = ("listen.public", " is the address of the admin listener too");
            self.fault_of_last(Severity::Error, ("listen.admin", " is the address of the public listener too"), public);
        }
        if self.config.keys.rotate_every < self.config.limits.max_ttl {
            let life = ("limits.max_ttl", " is longer than keys.rotate_every: retired keys pile up in the key set");
            let what = " is shorter than limits.max_ttl: retired keys pile up in the key set";
            self.fault_of_last(Severity::Warning, ("keys.rotate_every", what), life);
        }
        self.tls_rules();
        if let Some(what) = unverified(&self.config.database.url, self.postgres_ssl_mode.as_deref()) {
            let help =
                "; use sslmode=verify-full with sslrootcert=FILE, or say sslmode=disable on a network that you trust";
            self.fault("database.url", Severity::Warning, &format!("{what}{help}"));
        }
        let listen = &self.config.listen;
        if self.config.admin.is_configured() && !listen.admin.ip().is_loopback() && !self.config.tls.admin {
            let what = " lets operators send their tokens in the clear beyond the loopback interface: set tls.admin";
            self.fault("listen.admin", Severity::Warning, what);
        }
        for (path, what) in oidc_faults(&self.config) {
            self.fault(path, Severity::Error, what);
        }
        if self.config.limits.request_timeout <= self.config.limits.body_timeout {
            let body = " is not shorter than limits.request_timeout: a slow body would look like an outage";
            let what = " is not longer than limits.body_timeout: a slow body would look like an outage";
            self.fault_of_last(Severity::Error, ("limits.request_timeout", what), ("limits.body_timeout", body));
        }
        self.request_memory();
        self.proxies();
        self.faults.sort();
        let registry = self.config.registry.clone();
        let config = (!self.faults.iter().any(Fault::is_error)).then_some(self.config);
        Loaded { config, registry, faults: self.faults }
    }

    /// Sets the proxies from the options. The environment fills in the options that are not set.
    fn proxies(&mut self) {
        let environment = match Egress::from_environment(std::mem::take(&mut self.proxies)) {
            Ok(environment) => environment,
            Err(error) if self.config.egress.proxy.is_none() => {
                return self.faults.push(Fault::new(Path::new(ENVIRONMENT), Severity::Error, error.to_string()));
            }
            Err(_) => Egress::default(),
        };
        let EgressOptions { proxy, no_proxy, proxies } = &mut self.config.egress;
        let exceptions = no_proxy.clone().unwrap_or_else(|| environment.exceptions().to_owned());
        *proxies = proxy.clone().unwrap_or(environment).except(exceptions);
    }

    fn request_memory(&mut self) {
        let limits = &self.config.limits;
        if limits.shared_memory() < Limits::BODY_BYTES {
            let least = limits.own_memory().saturating_add(Limits::BODY_BYTES).div_ceil(1 << 20);
            let what =
                format!(": {} connections need limits.request_memory = \"{least}MiB\"", limits.all_connections());
            self.fault_of_last(Severity::Error, ("limits.request_memory", &what), ("limits.connections", &what));
        }
    }

    fn tls_rules(&mut self) {
        let tls = &self.config.tls;
        match (&tls.certificate_file, &tls.private_key_file) {
            (Some(_), None) => self.fault("tls.certificate_file", Severity::Error, " needs tls.private_key_file too"),
            (None, Some(_)) => self.fault("tls.private_key_file", Severity::Error, " needs tls.certificate_file too"),
            (None, None) if tls.admin => {
                self.fault("tls.admin", Severity::Error, " needs tls.certificate_file and tls.private_key_file");
            }
            (Some(_), Some(_)) if self.config.issuer.starts_with("http://") => {
                self.fault("issuer", Severity::Warning, " is an http URL, and the public listener speaks TLS");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// Adds the fault of two options that conflict. The fault names the option that was set last.
    fn fault_of_last(&mut self, severity: Severity, one: (&str, &str), other: (&str, &str)) {
        let rank = |path| self.said.get(path).map(Source::rank);
        let (path, what) = if rank(other.0) > rank(one.0) { other } else { one };
        self.fault(path, severity, what);
    }

    fn fault(&mut self, path: &str, severity: Severity, what: &str) {
        let option = OPTIONS.iter().find(|option| option.path() == path);
        if let (Some(option), Some(source)) = (option, self.said.get(path)) {
            self.faults.push(source.fault(option, severity, what));
        }
    }
}

/// Returns the options that a file sets, each with its text and its line.
fn given_options(
    reader: &mut Reader<'_>,
    around: Option<&str>,
    table: &NodeTable<'_>,
) -> Vec<(&'static ConfigOption, String, usize)> {
    let mut given = Vec::new();
    for Member { line, name, node: value } in &table.0 {
        let key = &**name;
        let path = around.map_or_else(|| key.to_owned(), |around| format!("{around}.{key}"));
        if !is_table(&path) {
            given.extend(given_option(reader, around, *line, key, value));
            continue;
        }
        match &value.value {
            NodeValue::Table(inner) => given.extend(given_options(reader, Some(&path), inner)),
            _ => reader.wrong_type(&path, "a table", value),
        }
    }
    given
}

/// Returns true if a table of this path, or a table within it, holds options.
fn is_table(path: &str) -> bool {
    let within = |table: &str| table.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    OPTIONS.iter().filter_map(|option| option.table).any(within)
}

fn given_option(
    reader: &mut Reader<'_>,
    table: Option<&str>,
    line: usize,
    key: &str,
    value: &Node<'_>,
) -> Option<(&'static ConfigOption, String, usize)> {
    let Some(option) = OPTIONS.iter().find(|option| option.table == table && option.key == key) else {
        let label = table.map_or("the configuration".to_owned(), |table| format!("[{table}]"));
        let within = |of: &'static str| match table {
            None => of.split('.').next(),
            Some(table) => of.strip_prefix(table)?.strip_prefix('.'),
        };
        let tables = OPTIONS.iter().filter_map(|option| within(option.table?));
        let keys = OPTIONS.iter().filter(|option| option.table == table).map(|option| option.key);
        reader.unknown_key(line, key, &label, keys.chain(tables));
        return None;
    };
    let text = match (option.kind, &value.value) {
        (OptionKind::Text | OptionKind::SecretText, NodeValue::Text(text)) => text.to_string(),
        // No option accepts an integer beyond i64. The text is enough for the fault.
        (OptionKind::Integer, NodeValue::Integer { value, text }) => {
            value.map_or_else(|| text.to_string(), |integer| integer.to_string())
        }
        (OptionKind::Boolean, NodeValue::Boolean(boolean)) => boolean.to_string(),
        (OptionKind::List, NodeValue::Array(values)) => match strings(values) {
            Some(texts) => texts.join(","),
            None => return refuse(reader, option, "an array of strings", value),
        },
        (OptionKind::Tables, _) => table_texts(reader, option, value)?,
        (OptionKind::List, _) => return refuse(reader, option, "an array of strings", value),
        (OptionKind::Text | OptionKind::SecretText, _) => return refuse(reader, option, "a string", value),
        (OptionKind::Integer, _) => return refuse(reader, option, "an integer", value),
        (OptionKind::Boolean, _) => return refuse(reader, option, "true or false", value),
    };
    Some((option, text, line))
}

/// Returns an array of tables as a JSON array, or `None` if one of them has a fault.
fn table_texts(reader: &mut Reader<'_>, option: &ConfigOption, value: &Node<'_>) -> Option<String> {
    let mut whole = matches!(value.value, NodeValue::Array(_));
    let mut tables = Vec::new();
    for (line, table) in document::tables(reader, &option.path(), value) {
        let read = reader.entry(&ADMIN_TOKEN, line, table);
        whole &= read.whole;
        tables.push(serde_json::Value::Object(read.values));
    }
    whole.then(|| serde_json::Value::Array(tables).to_string())
}

/// Returns the texts of an array, or `None` if an element is not a text.
fn strings<'a>(values: &'a [Node<'_>]) -> Option<Vec<&'a str>> {
    let string = |node: &'a Node<'_>| if let NodeValue::Text(text) = &node.value { Some(text.as_ref()) } else { None };
    values.iter().map(string).collect()
}

fn refuse<T>(reader: &mut Reader<'_>, option: &ConfigOption, wanted: &str, value: &Node<'_>) -> Option<T> {
    reader.wrong_type(&option.path(), wanted, value);
    None
}

fn unknown_variable(name: &str, upper: &str) -> Fault {
    let fault = Fault::new(Path::new(ENVIRONMENT), Severity::Error, format!("{name} is no option"));
    let known: Vec<String> = OPTIONS.iter().map(ConfigOption::variable).collect();
    match nearest(upper, known.iter().map(String::as_str)) {
        Some(near) => fault.with_help(format!("did you mean {near}?")),
        None => fault,
    }
}

/// Returns a configuration before the defaults are applied.
fn blank() -> Config {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let ttl = Ttl::from_minutes(1);
    Config {
        issuer: String::new(),
        registry: None,
        listen: Listen {
            public: address,
            admin: address,
            trusted_proxies: Vec::new(),
            forwarded_header: ForwardedHeader::XForwardedFor,
            drain_delay: Duration::ZERO,
            drain_timeout: ttl,
        },
        tls: Tls { certificate_file: None, private_key_file: None, admin: false },
        database: Database { url: String::new(), password_file: None, max_connections: 0 },
        keys: Keys { master_key_file: PathBuf::new(), rotate_every: ttl },
        limits: Limits {
            chain_depth: 0,
            max_ttl: ttl,
            failed_attempts_per_minute: 0,
            refusals_per_minute_per_client: 0,
            requests_per_minute_per_client: None,
            requests_per_minute_per_source: None,
            connections: 0,
            connections_per_source: None,
            request_memory: 0,
            max_token_bytes: 0,
            handshake_timeout: ttl,
            header_timeout: ttl,
            body_timeout: ttl,
            request_timeout: ttl,
            write_timeout: ttl,
        },
        dpop: Dpop { max_age: ttl, nonce: DpopNonce::Off },
        egress: EgressOptions { proxy: None, no_proxy: None, proxies: Egress::default() },
        admin: Admin {
            tokens: Vec::new(),
            oidc: AdminOidc {
                issuer: None,
                jwks_uri: None,
                ca_file: None,
                algorithms: Vec::new(),
                audience: None,
                token_typ: TokenTyp::AtJwt,
                claim: String::new(),
                readers: Vec::new(),
                operators: Vec::new(),
                admins: Vec::new(),
            },
        },
        log: Log { format: LogFormat::Human },
        telemetry: Telemetry { otlp_endpoint: None },
        metadata: Metadata { minimal: false, response_types_none: true },
    }
}
