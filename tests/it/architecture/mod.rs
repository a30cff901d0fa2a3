//! ARCHITECTURE.md, held to: who may import whom, which crate lives where, and how long a file may be.
//!
//! The source is read as text, line by line, without comments and without the `mod tests` at its end.

mod circles;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// A crate with floors, from the top. A module imports from floors below its own.
struct Building {
    name: &'static str,
    floors: &'static [&'static [&'static str]],
    /// The imports that do not go down, and are meant.
    exceptions: &'static [(&'static str, &'static str)],
}

const SERVER: Building = Building {
    name: "sts-server",
    floors: &[
        &["main"],
        &["cli"],
        &["server"],
        &["http"],
        &["admin"],
        &["exchange"],
        &["service"],
        &["client_auth", "verify", "mint", "notices"],
        &["policy", "keys", "rate_limits"],
        &["approval"],
        &["record"],
        &["registry"],
        &["config", "storage"],
        &["document", "telemetry"],
        &["ttl", "fault", "environment", "error_kind", "shutdown", "declared_slot", "misleading", "postgres_url"],
    ],
    exceptions: &[],
};

const CLIENT: Building = Building {
    name: "sts-client",
    floors: &[
        &["test_util"],
        &["integrations"],
        &["envelope"],
        &["idempotency"],
        &["outcome"],
        &["agent_file"],
        &["inbound", "propagate"],
        &["cache", "service_account"],
        &["error"],
        &["exchange"],
        &["credentials"],
        &["build_error"],
        &["events"],
        &["call"],
        &["possession"],
        &["dedup"],
        &["net", "header_values"],
    ],
    exceptions: &[],
};

const AGENT: Building = Building {
    name: "sts-agent",
    floors: &[
        &["main"],
        &["command"],
        &["server"],
        &["http"],
        &["live"],
        &["loaded"],
        &["contexts", "listen", "matches"],
        &["bounded_cache", "traces"],
        &["header_pairs", "metrics"],
    ],
    exceptions: &[],
};

/// The crates that have floors.
const BUILDINGS: [&Building; 3] = [&SERVER, &CLIENT, &AGENT];

/// Words that may stand only in these files: paths from the root of the repository, or beginnings of paths.
const CONFINED: &[(&str, &[&str])] = &[
    ("axum::", &["sts-server/src/http/", "sts-client/src/integrations/axum.rs", "sts-agent/src/http/"]),
    (
        "sqlx::",
        &[
            "sts-server/src/storage/",
            "sts-client/src/dedup/sql.rs",
            "sts-client/src/dedup/postgres.rs",
            "sts-client/src/dedup/sqlite.rs",
        ],
    ),
    (
        "reqwest::",
        &[
            "sts-jose/src/fetch.rs",
            "sts-jose/src/fetch_error.rs",
            "sts-jose/src/http_client.rs",
            "sts-client/src/net/transport.rs",
            "sts-client/src/net/http_options.rs",
            "sts-client/src/integrations/",
        ],
    ),
    ("hyper::client", &["sts-server/src/cli/loopback.rs"]),
    ("TcpStream::connect", &["sts-server/src/cli/loopback.rs", "sts-agent/src/command.rs"]),
    (
        "StatusCode::",
        &[
            "sts-server/src/http/answer.rs",
            "sts-server/src/http/admin/answer.rs",
            "sts-server/src/cli/dev/request.rs",
            "sts-agent/src/http/answer.rs",
            "sts-jose/src/fetch.rs",
            "sts-jose/src/fetch_error.rs",
            "sts-client/src/inbound/refusal.rs",
            "sts-client/src/integrations/axum.rs",
            // Outcomes: how they are written and read, and which of them are kept.
            "sts-client/src/outcome/",
            "sts-client/src/idempotency/",
        ],
    ),
    // Files that a configuration names are read within bounds.
    ("fs::read(", &[]),
    ("fs::read_to_string(", &[]),
    // An archive of the audit log, which a command names, has any length and is read line by line.
    ("File::open(", &["sts-client/src/credentials/token_file.rs", "sts-server/src/cli/audit.rs"]),
    ("VerifiedSubject::new(", &["sts-server/src/verify/"]),
    ("Permit::new(", &["sts-server/src/policy/"]),
    ("map(Permit::new)", &["sts-server/src/policy/"]),
    ("Caller::new(", &["sts-client/src/inbound/"]),
    ("VerifiedTenant(", &["sts-client/src/call/caller.rs"]),
    ("map(VerifiedTenant)", &["sts-client/src/call/caller.rs"]),
    ("AuthenticatedAgent {", &["sts-server/src/client_auth/"]),
    ("std::env", &["sts-server/src/environment.rs"]),
    ("env::var", &["sts-server/src/environment.rs"]),
    ("Timestamp::now", &["sts-jose/src/clock.rs"]),
    ("SystemTime::now", &[]),
    // How long something takes is measured by a clock that nobody can set.
    (
        "Instant::now",
        &["sts-server/src/telemetry/trail.rs", "sts-client/src/exchange/mod.rs", "sts-agent/src/http/answer.rs"],
    ),
    (
        "SystemClock",
        &[
            "sts-server/src/main.rs",
            "sts-agent/src/main.rs",
            "sts-jose/src/clock.rs",
            "sts-jose/src/lib.rs",
            // What an agent gets when it names no other.
            "sts-client/src/envelope/party.rs",
            "sts-client/src/exchange/builder.rs",
            "sts-client/src/idempotency/mod.rs",
            "sts-client/src/inbound/builder.rs",
            "sts-client/src/propagate/builder.rs",
            "sts-client/src/service_account/openid.rs",
            "sts-client/src/test_util/",
            "sts-client/src/lib.rs",
        ],
    ),
    (
        "SystemEntropy",
        &[
            "sts-server/src/main.rs",
            "sts-agent/src/main.rs",
            "sts-jose/src/entropy.rs",
            "sts-jose/src/lib.rs",
            // What an agent gets when it names no other.
            "sts-client/src/envelope/party.rs",
            "sts-client/src/exchange/builder.rs",
            "sts-client/src/inbound/builder.rs",
            "sts-client/src/propagate/builder.rs",
            "sts-client/src/lib.rs",
        ],
    ),
    // aws-lc wants a source of randomness where it signs, and takes its own.
    ("aws_lc_rs::rand", &["sts-jose/src/entropy.rs", "sts-jose/src/signing_key.rs"]),
    ("rustls::", &["sts-server/src/http/client_verifier.rs", "sts-server/src/http/tls.rs"]),
    ("josekit::", &["sts-client/src/envelope/jwe.rs"]),
    ("sts_client", &["sts-client/", "sts-agent/"]),
    ("sts_server", &["sts-server/src/main.rs"]),
    ("sts_agent::", &["sts-agent/src/main.rs"]),
];

/// What each crate may have of the workspace.
const CRATES: &[(&str, &[&str])] = &[
    ("sts-protocol", &[]),
    ("sts-jose", &[]),
    ("sts-server", &["sts-jose", "sts-protocol"]),
    ("sts-client", &["sts-jose", "sts-protocol"]),
    ("sts-agent", &["sts-client", "sts-jose"]),
];

/// Crates that the server must not have, each with the reason.
const BANNED_IN_SERVER: &[&str] = &["reqwest", "openssl", "ring", "native-tls"];

/// Past this a file is split by concern.
const MAX_LINES: usize = 500;

/// A source file: its path from the root of the repository, and its text.
struct Source {
    path: String,
    text: String,
}

#[test]
fn imports_go_down_the_floors() {
    for building in BUILDINGS {
        assert_none(&floor_breaches(building, &sources()));
    }
}

#[test]
fn crates_and_witnesses_stay_where_they_belong() {
    assert_none(&confinement_breaches(&sources()));
}

#[test]
fn no_file_is_longer_than_500_lines() {
    let tests = read_sources("tests");
    assert!(tests.len() > 50, "the tests were not found: {}", tests.len());
    let files: Vec<Source> = sources().into_iter().chain(tests).collect();
    let long = files.iter().filter(|file| file.text.lines().count() > MAX_LINES);
    let long: Vec<String> = long.map(|file| format!("{}: {} lines", file.path, file.text.lines().count())).collect();
    assert_none(&long);
}

#[test]
fn every_file_is_a_module_and_so_is_compiled() {
    let files: Vec<Source> = sources().into_iter().chain(read_sources("tests")).collect();
    let forgotten = files.iter().filter(|file| !file.is_declared(&files));
    assert_none(&forgotten.map(|file| format!("{}: no `mod` names it", file.path)).collect::<Vec<_>>());
}

#[test]
fn crates_depend_only_on_crates_below_them() {
    let mut breaches = Vec::new();
    for (name, allowed) in CRATES {
        let Ok(manifest) = fs::read_to_string(root().join(name).join("Cargo.toml")) else { continue };
        breaches.extend(manifest_breaches(name, allowed, &manifest));
    }
    assert_none(&breaches);
}

#[test]
fn every_module_has_a_floor() {
    let files = sources();
    for building in BUILDINGS {
        let modules = files.iter().filter_map(|file| file.module_of(building.name)).map(|(module, _)| module);
        let unknown: Vec<String> = modules
            .filter(|module| *module != "lib" && building.floor(module).is_none())
            .map(|module| format!("{}: {module}", building.name))
            .collect();
        assert_none(&unknown);
    }
}

#[test]
fn a_breach_is_found() {
    let floors = [
        ("sts-server/src/policy/scope.rs", "use crate::exchange::Sts;"),
        ("sts-server/src/verify/own.rs", "use crate::mint::Minted;"),
        ("sts-server/src/verify/own.rs", "    let x = crate::client_auth::suppose(agent);"),
        ("sts-server/src/storage/mod.rs", "pub(crate) use crate::registry::Registry;"),
        ("sts-server/src/policy/mod.rs", "use super::exchange::Sts;"),
        ("sts-server/src/registry/check/agents.rs", "use super::super::super::keys::KeyRing;"),
        ("sts-server/src/ttl.rs", "use super::config::Config;"),
        ("sts-server/src/config/mod.rs", "use crate::registry::Registry;"),
        ("sts-server/src/keys/mod.rs", "use crate::{record, storage};"),
        ("sts-client/src/exchange/retry.rs", "use crate::cache::ExchangeCache;"),
        ("sts-client/src/inbound/mod.rs", "use crate::propagate::Propagator;"),
        ("sts-client/src/net/mod.rs", "use super::exchange::Sts;"),
        ("sts-agent/src/loaded.rs", "use crate::http::Api;"),
    ];
    for (path, line) in floors {
        let file = [Source::made_up(path, line)];
        let found: Vec<String> = BUILDINGS.iter().flat_map(|building| floor_breaches(building, &file)).collect();
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
    }
    let words = [
        ("sts-server/src/exchange/mod.rs", "use axum::Router;"),
        ("sts-server/src/record/recorder.rs", "let pool = sqlx::SqlitePool::connect(url);"),
        ("sts-server/src/exchange/explain.rs", "let subject = VerifiedSubject::new(&token, subject);"),
        ("sts-server/src/exchange/mod.rs", "let permit = Permit::new(ruling);"),
        ("sts-jose/src/times.rs", "let now = Timestamp::now();"),
        ("sts-server/src/keys/ring.rs", "let home = std::env::home_dir();"),
        ("sts-client/src/lib.rs", "use sts_server::policy;"),
        ("sts-client/src/lib.rs", "use sts_agent::command;"),
        ("sts-agent/src/loaded.rs", "use axum::Router;"),
        ("sts-client/src/propagate/mod.rs", "let caller = Caller::new(verified);"),
        ("sts-client/src/service_account/slot.rs", "let http = reqwest::Client::new();"),
        ("sts-client/src/dedup/memory.rs", "let pool = sqlx::PgPool::connect(url);"),
    ];
    for (path, line) in words {
        let found = confinement_breaches(&[Source::made_up(path, line)]);
        assert_eq!(found.len(), 1, "{path}: {line}: {found:?}");
    }
    let manifest = "[dependencies]\nsts-server.workspace = true\n[dev-dependencies]\nsts-client = \"1\"\n";
    assert_eq!(manifest_breaches("sts-jose", &[], manifest).len(), 2);
    assert_eq!(manifest_breaches("sts-server", &[], "[dependencies]\nreqwest = \"0.13\"\n").len(), 1);
}

#[test]
fn what_is_no_breach_is_not_found() {
    let lines = [
        ("sts-server/src/exchange/mod.rs", "use crate::policy::{self, Permit};"),
        ("sts-server/src/exchange/mod.rs", "// use axum::Router;"),
        ("sts-server/src/registry/check/agents.rs", "use super::super::located::Located;"),
        ("sts-server/src/policy/mod.rs", "mod scope;\n#[cfg(test)]\nmod tests {\n    use crate::exchange::Sts;\n}"),
        ("sts-server/src/policy/mod.rs", "pub use permit::Permit;"),
    ];
    for (path, line) in lines {
        let file = [Source::made_up(path, line)];
        assert_none(&floor_breaches(&SERVER, &file));
        assert_none(&confinement_breaches(&file));
    }
}

fn assert_none(breaches: &[String]) {
    assert!(breaches.is_empty(), "see ARCHITECTURE.md:\n{}", breaches.join("\n"));
}

fn floor_breaches(building: &Building, files: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        let Some((module, path)) = file.module_of(building.name) else { continue };
        for (number, line) in file.code() {
            if line.contains("use crate::{") {
                breaches.push(format!("{}:{number}: one `use` per module: {line}", file.path));
            }
            let used = building.used_modules(line, &path);
            let against = used.iter().filter(|used| !building.may_import(module, used));
            breaches.extend(against.map(|used| format!("{}:{number}: {module} imports {used}: {line}", file.path)));
        }
    }
    breaches
}

impl Building {
    /// The top modules that a line names: after `crate::`, after as many `super::` as lead to the root, in `main` after the crate's name.
    fn used_modules(&self, line: &str, path: &[&str]) -> Vec<String> {
        let by_name = format!("{}::", self.name.replace('-', "_"));
        let mut used: Vec<String> = ["crate::", &by_name]
            .iter()
            .flat_map(|root| line.match_indices(root).map(|(at, _)| identifier(&line[at + root.len()..])))
            .collect();
        let supers = "super::".repeat(path.len());
        if let Some(at) = line.find(&supers) {
            used.push(identifier(&line[at + supers.len()..]));
        }
        used.retain(|used| self.floor(used).is_some());
        used
    }

    fn floor(&self, module: &str) -> Option<usize> {
        self.floors.iter().position(|floor| floor.contains(&module))
    }

    fn may_import(&self, module: &str, used: &str) -> bool {
        let is_below = self.floor(module) < self.floor(used);
        module == used || module == "lib" || is_below || self.exceptions.contains(&(module, used))
    }
}

fn identifier(text: &str) -> String {
    text.chars().take_while(|char| char.is_alphanumeric() || *char == '_').collect()
}

fn confinement_breaches(files: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for file in files {
        for (number, line) in file.code() {
            let strayed = CONFINED.iter().filter(|(word, homes)| {
                contains_word(line, word) && !homes.iter().any(|home| file.path.starts_with(home))
            });
            breaches
                .extend(strayed.map(|(word, _)| format!("{}:{number}: {word} has no place here: {line}", file.path)));
        }
    }
    breaches
}

/// Whether `word` stands in `line`, not as the end of a longer name.
fn contains_word(line: &str, word: &str) -> bool {
    let is_name = |char: char| char.is_alphanumeric() || char == '_';
    line.match_indices(word).any(|(at, _)| !line[..at].chars().next_back().is_some_and(is_name))
}

fn manifest_breaches(name: &str, allowed: &[&str], manifest: &str) -> Vec<String> {
    let manifest: Table = manifest.parse().expect("a manifest is TOML");
    let sections = ["dependencies", "dev-dependencies", "build-dependencies"];
    let tables = sections.iter().filter_map(|section| manifest.get(*section)?.as_table());
    let dependencies = tables.flat_map(|table| table.keys());
    let is_breach = |dependency: &&String| {
        let of_workspace = dependency.starts_with("sts-") && !allowed.contains(&dependency.as_str());
        of_workspace || name == "sts-server" && BANNED_IN_SERVER.contains(&dependency.as_str())
    };
    dependencies.filter(is_breach).map(|dependency| format!("{name} depends on {dependency}")).collect()
}

impl Source {
    fn made_up(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }

    /// Whether the file begins a crate, or a file beside or above it declares it as a module.
    fn is_declared(&self, files: &[Self]) -> bool {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let Some((folder, name)) = path.rsplit_once('/') else { return true };
        let parents = ["/mod.rs", "/main.rs", "/lib.rs", ".rs"].map(|end| format!("{folder}{end}"));
        let declaration = format!("mod {name};");
        let declares = |line: &str| line == declaration || line.ends_with(&format!(" {declaration}"));
        let mut above = files.iter().filter(|file| parents.contains(&file.path));
        let is_root = ["main", "lib"].contains(&name) || folder.ends_with("/tests");
        is_root || above.any(|file| file.text.lines().map(str::trim).any(declares))
    }

    /// The top module of that crate that this file belongs to, and its whole module path.
    fn module_of(&self, name: &str) -> Option<(&str, Vec<&str>)> {
        let inner = self.path.strip_prefix(name)?.strip_prefix("/src/")?.strip_suffix(".rs")?;
        let mut path: Vec<&str> = inner.split('/').collect();
        path.pop_if(|last| *last == "mod");
        Some((path.first().copied()?, path))
    }

    /// The lines of code, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let lines = (1..).zip(self.text.lines().map(str::trim));
        lines.take_while(|(_, line)| *line != "#[cfg(test)]").filter(|(_, line)| !line.starts_with("//"))
    }
}

/// The source of the crates that are shipped.
fn sources() -> Vec<Source> {
    let sources: Vec<Source> = CRATES.iter().flat_map(|(name, _)| read_sources(&format!("{name}/src"))).collect();
    let mut by_crate: BTreeMap<&str, usize> = BTreeMap::new();
    for file in &sources {
        *by_crate.entry(file.path.split('/').next().unwrap_or_default()).or_default() += 1;
    }
    assert!(by_crate.get("sts-server").is_some_and(|count| *count > 50), "the source was not found: {by_crate:?}");
    sources
}

fn read_sources(directory: &str) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut directories = vec![PathBuf::from(directory)];
    while let Some(directory) = directories.pop() {
        let Ok(entries) = fs::read_dir(root().join(&directory)) else { continue };
        for entry in entries {
            let entry = entry.expect("a directory of the repository");
            let path = directory.join(entry.file_name());
            if entry.file_type().expect("a file type").is_dir() {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(entry.path()).expect("source is UTF-8");
                sources.push(Source { path: path.to_string_lossy().into_owned(), text });
            }
        }
    }
    sources
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
