//! Loading of one configuration from the file, the environment and the flags.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};
use sts_jose::Egress;

use super::admin::{oidc_faults, same_name};
use super::database_url::{resolve_database_url, unverified};
use super::option::ConfigOption;
use super::options::OPTIONS;
use super::{ClientCertificates, Config, Limits, VARIABLE_PREFIX};
use crate::document::{self, Member, NodeTable, NodeValue, Reader, Shape, nearest};
use crate::fault::{Fault, Severity};

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
    let mut loader = Loader {
        values: Map::new(),
        said: HashMap::new(),
        postgres_ssl_mode: None,
        proxies: Vec::new(),
        faults: Vec::new(),
        is_unread: false,
    };
    for option in OPTIONS.iter() {
        loader.put(option, None);
        if let Some(text) = option.default {
            let file = file.unwrap_or(Path::new("defaults"));
            loader.say(option, Said { source: Source::Default, file, line: None, name: option.path() }, text);
        }
    }
    if let Some(file) = file {
        loader.file(file);
    }
    loader.environment(environment);
    loader.flags(overrides);
    loader.finish(file)
}

struct Loader<'a> {
    /// The checked values, in the form from which serde reads a [`Config`].
    values: Map<String, Value>,
    /// The last place of each option, by the option's path.
    said: HashMap<String, Said<'a>>,
    /// `PGSSLMODE`, which the PostgreSQL driver reads.
    postgres_ssl_mode: Option<String>,
    /// The environment variables that name proxies.
    proxies: Vec<(String, String)>,
    faults: Vec<Fault>,
    /// True if there is a file whose options could not be read.
    is_unread: bool,
}

/// The place where a value was set.
#[derive(Debug)]
struct Said<'a> {
    source: Source,
    /// The file, or the name of the source. Relative paths are relative to its directory.
    file: &'a Path,
    line: Option<usize>,
    /// The option, as the source names it.
    name: String,
}

/// The source of a value. A later source overrides an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Default,
    File,
    Environment,
    Flags,
}

/// The name in place of a file, in faults of variables.
const ENVIRONMENT: &str = "environment";

impl<'a> Loader<'a> {
    /// Sets an option to the value of a source without types.
    fn say(&mut self, option: &ConfigOption, place: Said<'a>, text: &str) {
        let mut reader = Reader::new(place.file);
        let value = reader.untyped(option.shape, &place.name, text);
        self.faults.extend(reader.into_faults().into_iter().map(|fault| fault.at(None)));
        self.set(option, place, value);
    }

    /// Sets an option, unless its value has a fault.
    fn set(&mut self, option: &ConfigOption, place: Said<'a>, value: Option<Value>) {
        self.put(option, value);
        self.said.insert(option.path(), place);
    }

    /// Puts a value into the table of the option. Creates the table.
    fn put(&mut self, option: &ConfigOption, value: Option<Value>) {
        let mut table = &mut self.values;
        for name in option.table.iter().flat_map(|table| table.split('.')) {
            match table.entry(name).or_insert_with(|| Value::Object(Map::new())) {
                Value::Object(inner) => table = inner,
                _ => return,
            }
        }
        table.extend(value.map(|value| (option.key.to_owned(), value)));
    }

    fn file(&mut self, file: &'a Path) {
        let text = match document::read_text(file) {
            Ok(text) => text,
            Err(fault) => {
                self.is_unread = true;
                return self.faults.push(fault);
            }
        };
        let (mut reader, table) = Reader::parse(file, &text);
        self.is_unread = table.is_none();
        if let Some(table) = table {
            self.table(&mut reader, file, None, &table);
        }
        self.faults.extend(reader.into_faults());
    }

    /// Sets the options of a table of the file.
    fn table(&mut self, reader: &mut Reader<'_>, file: &'a Path, around: Option<&str>, table: &NodeTable<'_>) {
        for Member { line, name, node } in &table.0 {
            let path = around.map_or_else(|| name.to_string(), |around| format!("{around}.{name}"));
            if is_table(&path) {
                match &node.value {
                    NodeValue::Table(inner) => self.table(reader, file, Some(&path), inner),
                    _ => reader.wrong_type(&path, "a table", node),
                }
                continue;
            }
            let Some(option) = OPTIONS.iter().find(|option| option.table == around && option.key == name) else {
                unknown_key(reader, around, *line, name);
                continue;
            };
            let value = match option.shape {
                Shape::Tables(schema) => {
                    let tables = document::tables(reader, &path, node);
                    Some(reader.entries(schema, tables))
                }
                shape => reader.value(shape, &path, node),
            };
            self.set(option, Said { source: Source::File, file, line: Some(*line), name: path }, value);
        }
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
            let file = Path::new(ENVIRONMENT);
            self.say(option, Said { source: Source::Environment, file, line: None, name }, &text);
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
                let file = Path::new("flags");
                self.say(option, Said { source: Source::Flags, file, line: None, name: flag.to_owned() }, text);
            }
        }
    }

    /// Checks the rules between options and returns the result.
    fn finish(mut self, file: Option<&Path>) -> Loaded {
        if !self.said.contains_key("issuer") && !self.is_unread {
            let file = file.unwrap_or(Path::new("configuration"));
            let fault = Fault::new(file, Severity::Error, "missing key \"issuer\"");
            self.faults.push(fault.with_help("the https URL of this service, such as \"https://sts.example.com\""));
        }
        let mut config: Config = match serde_json::from_value(Value::Object(std::mem::take(&mut self.values))) {
            Ok(config) => config,
            Err(error) => {
                self.faults.push(Fault::new(Path::new("configuration"), Severity::Error, error.to_string()));
                return Loaded { config: None, registry: None, faults: self.faults };
            }
        };
        self.rules(&config);
        self.resolve(&mut config);
        self.faults.sort();
        let registry = config.registry.clone();
        let config = (!self.faults.iter().any(Fault::is_error)).then_some(config);
        Loaded { config, registry, faults: self.faults }
    }

    /// Checks the rules between options.
    fn rules(&mut self, config: &Config) {
        let Config { listen, limits, keys, database, .. } = config;
        if listen.public == listen.admin && listen.public.port() != 0 {
            let public = ("listen.public", " is the address of the admin listener too");
            self.fault_of_last(Severity::Error, ("listen.admin", " is the address of the public listener too"), public);
        }
        if keys.rotate_every < limits.max_ttl {
            let life = ("limits.max_ttl", " is longer than keys.rotate_every: retired keys accumulate in the key set");
            let what = " is shorter than limits.max_ttl: retired keys accumulate in the key set";
            self.fault_of_last(Severity::Warning, ("keys.rotate_every", what), life);
        }
        self.tls_rules(config);
        if let Some(what) = unverified(&database.url, self.postgres_ssl_mode.as_deref()) {
            let help =
                "; use sslmode=verify-full with sslrootcert=FILE, or say sslmode=disable on a network that you trust";
            self.fault("database.url", Severity::Warning, &format!("{what}{help}"));
        }
        if config.admin.is_configured() && !listen.admin.ip().is_loopback() && !config.tls.admin {
            let what = " lets operators send their tokens unencrypted beyond the loopback interface: set tls.admin";
            self.fault("listen.admin", Severity::Warning, what);
        }
        if let Some(name) = same_name(&config.admin.tokens) {
            self.fault("admin.tokens", Severity::Error, &format!(": two tokens are named {name:?}"));
        }
        for (path, what) in oidc_faults(config) {
            self.fault(path, Severity::Error, what);
        }
        if limits.request_timeout <= limits.body_timeout {
            let body = " is not shorter than limits.request_timeout: a slow body would look like an outage";
            let what = " is not longer than limits.body_timeout: a slow body would look like an outage";
            self.fault_of_last(Severity::Error, ("limits.request_timeout", what), ("limits.body_timeout", body));
        }
        if limits.shared_memory() < Limits::BODY_BYTES {
            let least = limits.own_memory().saturating_add(Limits::BODY_BYTES).div_ceil(1 << 20);
            let what =
                format!(": {} connections need limits.request_memory = \"{least}MiB\"", limits.all_connections());
            self.fault_of_last(Severity::Error, ("limits.request_memory", &what), ("limits.connections", &what));
        }
    }

    fn tls_rules(&mut self, config: &Config) {
        let tls = &config.tls;
        match (&tls.certificate_file, &tls.private_key_file) {
            (Some(_), None) => self.fault("tls.certificate_file", Severity::Error, " needs tls.private_key_file too"),
            (None, Some(_)) => self.fault("tls.private_key_file", Severity::Error, " needs tls.certificate_file too"),
            (None, None) if tls.admin => {
                self.fault("tls.admin", Severity::Error, " needs tls.certificate_file and tls.private_key_file");
            }
            (Some(_), Some(_)) if config.issuer.starts_with("http://") => {
                self.fault("issuer", Severity::Warning, " is an http URL, and the public listener speaks TLS");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
        let asks = tls.client_certificates == ClientCertificates::Optional;
        if asks && tls.files().is_none() {
            self.fault(
                "tls.client_certificates",
                Severity::Error,
                " needs tls.certificate_file and tls.private_key_file",
            );
        }
        if !asks && tls.client_ca_file.is_some() {
            self.fault("tls.client_ca_file", Severity::Error, " needs tls.client_certificates = \"optional\" too");
        }
        if config.listen.client_certificate_header.is_some() && config.listen.trusted_proxies.is_empty() {
            self.fault("listen.client_certificate_header", Severity::Error, " needs listen.trusted_proxies too");
        }
    }

    /// Completes the options that depend on their source: the path of a SQLite database, and the
    /// proxies, which the environment gives where the options do not.
    fn resolve(&mut self, config: &mut Config) {
        let directory = self.said.get("database.url").and_then(|place| place.file.parent()).unwrap_or(Path::new(""));
        match resolve_database_url(&config.database.url, directory) {
            Ok(url) => config.database.url = url,
            Err(reason) => self.fault("database.url", Severity::Error, &format!(": {reason}")),
        }
        let egress = &mut config.egress;
        let environment = match Egress::from_environment(std::mem::take(&mut self.proxies)) {
            Ok(environment) => environment,
            Err(error) if egress.proxy.is_none() => {
                return self.faults.push(Fault::new(Path::new(ENVIRONMENT), Severity::Error, error.to_string()));
            }
            Err(_) => Egress::default(),
        };
        let exceptions = egress.no_proxy.as_ref().map(|hosts| hosts.join(","));
        let exceptions = exceptions.unwrap_or_else(|| environment.exceptions().to_owned());
        egress.proxies = egress.proxy.clone().unwrap_or(environment).except(exceptions);
    }

    /// Adds the fault of two options that conflict. The fault names the option that was set last.
    fn fault_of_last(&mut self, severity: Severity, one: (&str, &str), other: (&str, &str)) {
        let rank = |path| self.said.get(path).map(|place| (place.source, place.line));
        let (path, what) = if rank(other.0) > rank(one.0) { other } else { one };
        self.fault(path, severity, what);
    }

    /// Adds a fault at the last place of an option. `what` follows the name of the option.
    fn fault(&mut self, path: &str, severity: Severity, what: &str) {
        if let Some(Said { file, line, name, .. }) = self.said.get(path) {
            self.faults.push(Fault::new(file, severity, format!("{name}{what}")).at(*line));
        }
    }
}

/// Returns true if a table of this path, or a table within it, holds options.
fn is_table(path: &str) -> bool {
    let within = |table: &str| table.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    OPTIONS.iter().filter_map(|option| option.table).any(within)
}

fn unknown_key(reader: &mut Reader<'_>, table: Option<&str>, line: usize, key: &str) {
    let label = table.map_or("the configuration".to_owned(), |table| format!("[{table}]"));
    let within = |of: &'static str| match table {
        None => of.split('.').next(),
        Some(table) => of.strip_prefix(table)?.strip_prefix('.'),
    };
    let tables = OPTIONS.iter().filter_map(|option| within(option.table?));
    let keys = OPTIONS.iter().filter(|option| option.table == table).map(|option| option.key);
    let elsewhere = OPTIONS.iter().find(|option| option.key == key).and_then(|option| option.table);
    let help = match elsewhere {
        Some(table) => format!("it belongs under [{table}]"),
        None => "`sts-server config reference` prints all options".to_owned(),
    };
    reader.unknown_key(line, key, &label, keys.chain(tables));
    reader.advise(help);
}

fn unknown_variable(name: &str, upper: &str) -> Fault {
    let fault = Fault::new(Path::new(ENVIRONMENT), Severity::Error, format!("{name} is not an option"));
    let known: Vec<String> = OPTIONS.iter().map(ConfigOption::variable).collect();
    match nearest(upper, known.iter().map(String::as_str)) {
        Some(near) => fault.with_help(format!("did you mean {near}?")),
        None => fault,
    }
}
