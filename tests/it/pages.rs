//! The pages name files, dependencies and headings that are there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// The words before the heading that a test cites.
const CITATION: &str = concat!("(docs/", "threats.md, ");

#[test]
fn every_source_file_that_a_page_names_exists() {
    let pages = [files("docs", "md"), files(".", "md")].concat();
    assert!(pages.len() > 10, "the pages are found");
    let mut missing = Vec::new();
    for page in pages {
        let text = read(&page);
        for word in text.split('`').skip(1).step_by(2) {
            let is_file = word.contains('/')
                && word.ends_with(".rs")
                && word != "src/main.rs"
                && !word.contains(['*', '{', ' ', '<']);
            let mut places =
                ["", "sts-server/src", "sts-client/src", "sts-agent/src", "sts-jose/src", "sts-protocol/src"]
                    .into_iter();
            if is_file && !places.any(|place| root().join(place).join(word).is_file()) {
                missing.push(format!("{}: {word}", page.display()));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
}

#[test]
fn every_test_cites_a_heading_of_the_threats_that_is_there() {
    let threats = read(&root().join("docs/threats.md"));
    let headings: BTreeSet<&str> = threats.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let mut cited = BTreeSet::new();
    for file in files("tests/it", "rs") {
        let text = read(&file);
        for heading in text.split(CITATION).skip(1).filter_map(|rest| rest.split(')').next()) {
            assert!(headings.contains(heading), "{}: {heading}", file.display());
            cited.insert(heading.to_owned());
        }
    }
    assert!(cited.len() > 3, "the citations are found: {cited:?}");
}

#[test]
fn the_page_of_dependencies_has_every_direct_dependency_and_no_other() {
    let mut direct = BTreeSet::new();
    for package in ["sts-agent", "sts-client", "sts-jose", "sts-protocol", "sts-server"] {
        let manifest: Table = read(&root().join(package).join("Cargo.toml")).parse().expect("a manifest");
        let targets = manifest.get("target").and_then(toml::Value::as_table);
        let targets = targets.into_iter().flat_map(Table::values).filter_map(toml::Value::as_table);
        for table in targets.chain([&manifest]) {
            let dependencies = table.get("dependencies").and_then(toml::Value::as_table).expect("dependencies");
            direct.extend(dependencies.keys().map(|name| (name.clone(), package.to_owned())));
        }
    }
    let page = read(&root().join("docs/dependencies.md"));
    let rows = page.lines().filter(|line| line.starts_with("| `")).map(|line| line.split(" | ").collect::<Vec<_>>());
    let named: BTreeSet<(String, String)> = rows
        .flat_map(|cells| {
            let name = cells[0].trim_matches(['|', ' ', '`']).to_owned();
            cells[1].split(", ").map(|user| (name.clone(), user.trim_matches('`').to_owned())).collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(named, direct);
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository").to_owned()
}

/// The files with an extension below a folder; of the root itself, those that stand there.
fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(folder)];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() && folder != "." {
                folders.push(path);
            } else if path.extension().is_some_and(|is| is == extension) {
                found.push(path);
            }
        }
    }
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
