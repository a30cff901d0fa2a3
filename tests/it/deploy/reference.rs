//! The reference files: every option and every key, and nothing that there is not.

use std::collections::BTreeSet;

use sts_server::config::{self, OPTIONS, Overrides};
use sts_server::registry::{self, RegistryFile};
use tempfile::TempDir;

use super::{configuration, file, read};

const CONFIGURATION: &str = "deploy/sts.toml";
const REGISTRY: &str = "deploy/registry.toml";

#[test]
fn the_reference_configuration_is_what_the_code_makes() {
    assert!(
        read(CONFIGURATION) == config::reference(),
        "make it anew: cargo run -p sts-server -- config reference > {CONFIGURATION}"
    );
    assert_eq!(configuration(CONFIGURATION).issuer, "https://sts.example.com");
}

#[test]
fn the_reference_configuration_loads_with_every_option_set() {
    // Options that need another one than its default.
    let text = with_all_set(&read(CONFIGURATION))
        .replace("trusted_proxies = []", "trusted_proxies = [\"10.0.0.0/8\"]")
        .replace("client_certificates = \"off\"", "client_certificates = \"optional\"");
    for option in OPTIONS.iter() {
        assert!(text.lines().any(|line| line.starts_with(&format!("{} = ", option.key))), "{}", option.path());
    }
    let directory = TempDir::new().expect("a folder");
    let path = directory.path().join("sts.toml");
    std::fs::write(&path, text).expect("the folder is ours");
    assert_eq!(config::load(Some(&path), [], &Overrides::default()).faults, []);
}

#[test]
fn the_reference_registry_has_no_fault_and_no_unknown_key() {
    let config = configuration(CONFIGURATION);
    assert_eq!(registry::check(&RegistryFile::read(&file(REGISTRY)), Some(&config)), []);
    let directory = TempDir::new().expect("a folder");
    let path = directory.path().join("registry.toml");
    std::fs::write(&path, with_all_set(&read(REGISTRY))).expect("the folder is ours");
    // Of some keys only one can be set; what each may be, and that there is such a key, is told before that.
    let told: Vec<String> = RegistryFile::read(&path).faults().iter().map(ToString::to_string).collect();
    assert_eq!(told, Vec::<String>::new());
}

#[test]
fn the_reference_registry_has_every_key() {
    let schema = read("sts-server/src/registry/schema.rs");
    let keys = schema.split("required(\"").skip(1).chain(schema.split("optional(\"").skip(1));
    let keys: BTreeSet<&str> = keys.filter_map(|rest| rest.split('"').next()).collect();
    assert!(keys.len() > 30, "{keys:?}");
    let text = with_all_set(&read(REGISTRY));
    // A table has its name in brackets, and a table within a line stands behind a brace or a comma.
    let is_there = |key: &&str| {
        let set = format!("{key} = ");
        let inline = [format!("{{ {set}"), format!(", {set}")];
        let mut lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.any(|line| {
            line.starts_with(&set) || line.ends_with(&format!(".{key}]")) || inline.iter().any(|set| line.contains(set))
        })
    };
    let missing: Vec<&str> = keys.into_iter().filter(|key| !is_there(key)).collect();
    assert!(missing.is_empty(), "{REGISTRY} lacks {missing:?}");
}

/// Base64 holds `+` and `/`, which clients send in two ways in a Basic header. The master key is sent nowhere.
#[test]
fn no_file_recommends_a_client_secret_in_base64() {
    let mut folders = vec![file("docs"), file("deploy")];
    let mut files = vec![file("README.md"), file("sts-client/README.md")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder of the project") {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let mut commands = 0;
    for path in files {
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for line in text.lines().filter(|line| line.contains("rand -base64")) {
            commands += 1;
            assert!(line.contains(".key"), "{}: {line}", path.display());
        }
    }
    assert!(commands > 0, "master keys are made so");
}

/// A file whose examples are set: a `#` right before a key is taken away.
fn with_all_set(text: &str) -> String {
    let set = text.lines().map(|line| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|char: char| char.is_ascii_lowercase()) => rest,
        Some(_) | None => line,
    });
    set.collect::<Vec<_>>().join("\n")
}
