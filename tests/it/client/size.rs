//! The size of the client library for the agents that depend on it: the crates in its tree, and the Rust version that they need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// The number of crates without features must stay below this.
const LIMIT: usize = 130;

/// The oldest Rust version with which the client builds, unless a feature needs sqlx.
const RUST_VERSION: (u32, u32) = (1, 89);

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--locked"])
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Name and version of the crates that an agent builds.
fn tree(feature: &str) -> BTreeSet<(String, String)> {
    let tree = ["tree", "-p", "sts-client", "-e", "normal,build", "--prefix", "none", "--no-default-features"];
    let lines = cargo(&[&tree[..], &["--features", feature]].concat());
    let name_and_version = |line: &str| {
        let (name, rest) = line.split_once(" v")?;
        Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
    };
    lines.lines().filter_map(name_and_version).collect()
}

fn rust_versions() -> BTreeMap<(String, String), (u32, u32)> {
    let host = cargo_host();
    let metadata = cargo(&["metadata", "--format-version", "1", "--filter-platform", &host]);
    let metadata: Value = serde_json::from_str(&metadata).expect("json");
    let packages = metadata["packages"].as_array().expect("packages").iter();
    let text = |package: &Value, name: &str| package[name].as_str().unwrap_or_default().to_owned();
    packages
        .map(|package| {
            let version = text(package, "rust_version");
            let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
            let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
            ((text(package, "name"), text(package, "version")), version)
        })
        .collect()
}

fn cargo_host() -> String {
    let output = Command::new(env!("CARGO")).arg("-vV").output().expect("cargo runs");
    let output = String::from_utf8(output.stdout).expect("text");
    output.lines().find_map(|line| line.strip_prefix("host: ")).expect("a host").to_owned()
}

/// Feature and number of the table in the README of the crate.
fn table() -> Vec<(String, usize)> {
    let readme = include_str!("../../../sts-client/README.md");
    let (_, table) = readme.split_once("| feature | crates | what it adds |\n|---|---|---|\n").expect("the table");
    let (table, _) = table.split_once("\n\n").expect("its end");
    let row = |row: &str| {
        let mut cells = row.split('|').skip(1).map(|cell| cell.trim().trim_matches('`').to_owned());
        (cells.next().expect("a feature"), cells.next().expect("a number").parse().expect("a number"))
    };
    table.lines().map(row).collect()
}

#[test]
fn no_tree_has_more_crates_or_needs_a_newer_rust_than_the_readme_says() {
    let versions = rust_versions();
    let table = table();
    assert!(table.iter().any(|(feature, most)| feature == "none" && *most < LIMIT), "{table:?}");
    for (feature, most) in &table {
        let tree = tree(if feature == "none" { "" } else { feature });
        assert!(tree.len() <= *most, "{feature}: {} crates", tree.len());
        assert!(tree.len() + 15 > *most, "{feature}: {} crates, and the README says {most}", tree.len());
        let needs_sqlx = ["sqlite", "postgres"].contains(&feature.as_str());
        let newer = tree.iter().filter(|of_tree| versions.get(of_tree).is_some_and(|version| *version > RUST_VERSION));
        let newer: Vec<_> = newer.collect();
        assert!(newer.iter().all(|(name, _)| name.starts_with("sqlx")), "{feature}: {newer:?}");
        assert_eq!(newer.is_empty(), !needs_sqlx, "{feature}: {newer:?}");
    }
}

#[test]
fn every_feature_has_its_row() {
    let manifest: toml::Table = toml::from_str(include_str!("../../../sts-client/Cargo.toml")).expect("toml");
    let features = manifest["features"].as_table().expect("features").keys();
    let rows = table();
    for feature in features.filter(|name| !["default", "envelope-vendored"].contains(&name.as_str())) {
        assert!(rows.iter().any(|(row, _)| row == feature), "{feature}");
    }
    for name in ["sts-client", "sts-jose", "sts-protocol"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("Cargo.toml");
        let manifest: toml::Table = toml::from_str(&std::fs::read_to_string(path).expect("it is there")).expect("toml");
        assert_eq!(manifest["package"]["rust-version"].as_str(), Some("1.89"), "{name}");
    }
}
