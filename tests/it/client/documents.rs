//! What the documents say of the client library is so.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use sts_client::{Propagator, Verifier};
use sts_tests::local_agent::LocalFolder;
use sts_tests::process::outcome;
use tempfile::TempDir;

#[test]
fn the_agent_of_the_readmes_is_the_example_that_runs() {
    let [program, file] = ["src/main.rs", "agent.toml"].map(|name| read(&format!("examples/first-agent/{name}")));
    for readme in ["docs/first-agent.md", "sts-client/README.md"] {
        assert!(read(readme).contains(&format!("```rust\n{program}```")), "{readme} has another agent");
        assert!(read(readme).contains(&format!("```toml\n{file}```")), "{readme} has another agent.toml");
    }
    let manifest = read("examples/first-agent/Cargo.toml");
    let (_, added) = manifest.split_once("[dependencies]\n").unwrap();
    for name in added.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.split(' ').next()) {
        assert!(
            read("docs/first-agent.md").lines().any(|line| line.starts_with("cargo add") && line.contains(name)),
            "{name}"
        );
    }
}

#[test]
fn the_test_of_the_readme_is_one_that_runs() {
    let test = read("sts-client/tests/with_a_mock_sts.rs");
    assert!(read("sts-client/README.md").contains(&format!("```rust\n{test}```")));
}

#[test]
fn every_reason_of_a_refused_request_is_in_the_table() {
    let source = read("sts-client/src/inbound/refusal.rs");
    let (_, reasons) = source.split_once("fn reason(&self) -> &'static str {").unwrap();
    let (reasons, _) = reasons.split_once("\n    }\n").unwrap();
    let reasons: Vec<&str> = reasons.split('"').skip(1).step_by(2).collect();
    assert!(reasons.len() > 25, "{reasons:?}");
    let page = read("docs/agents.md");
    let (_, table) = page.split_once("| `reason` | status |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut rows: Vec<&str> = table.lines().filter_map(|row| row.strip_prefix("| `")?.split('`').next()).collect();
    for reason in reasons {
        assert!(rows.contains(&reason), "{reason} is not in the table");
        rows.retain(|row| *row != reason);
    }
    assert!(rows.is_empty(), "{rows:?}");
}

#[tokio::test]
async fn the_file_of_the_readme_sets_up_an_agent() {
    let directory = TempDir::new().unwrap();
    let text = file_of_the_readme(directory.path());
    Verifier::from_toml(&text).unwrap().build().unwrap();
    Propagator::from_toml(&text).unwrap().build().await.unwrap();
}

/// All packages are built with the features of all here, so a missing feature would show only to an operator.
#[tokio::test]
async fn the_local_process_takes_the_file_of_the_readme_and_has_every_feature_that_a_key_needs() {
    let directory = TempDir::new().unwrap();
    let folder = LocalFolder::new(&file_of_the_readme(directory.path()), &[]);
    let checked = outcome(folder.command(&["check"]).await).await;
    assert_eq!(checked.code, 0, "{}", checked.stderr);
    let manifest: toml::Table = read("sts-agent/Cargo.toml").parse().unwrap();
    let features = manifest["dependencies"]["sts-client"]["features"].as_array().unwrap();
    let paths = ["agent_file/inbound.rs", "agent_file/outbound.rs", "dedup/by_url.rs"];
    let sources: String = paths.map(|path| read(&format!("sts-client/src/{path}"))).concat();
    let needed: BTreeSet<&str> =
        sources.split("feature = \"").skip(1).filter_map(|rest| Some(rest.split_once('"')?.0)).collect();
    assert!(needed.len() > 2, "{needed:?}");
    for feature in needed {
        assert!(features.iter().any(|has| has.as_str() == Some(feature)), "sts-agent lacks {feature}");
    }
}

#[test]
fn the_readme_names_every_key_of_the_file() {
    let readme = read("sts-client/README.md");
    let tables = [
        ("sts-client/src/agent_file/inbound.rs", "pub(super) struct InboundTable {"),
        ("sts-client/src/agent_file/inbound.rs", "struct ServiceAccountConfig {"),
        ("sts-client/src/agent_file/inbound.rs", "struct IssuerConfig {"),
        ("sts-client/src/agent_file/inbound.rs", "struct MarkConfig {"),
        ("sts-client/src/agent_file/outbound.rs", "pub(super) struct StsTable {"),
        ("sts-client/src/agent_file/outbound.rs", "pub(super) struct HttpTable {"),
        ("sts-client/src/agent_file/outbound.rs", "pub(super) struct ServiceAccountTable {"),
        ("sts-client/src/call/route.rs", "pub struct Route {"),
    ];
    for (path, declaration) in tables {
        let source = read(path);
        let (_, fields) = source.split_once(declaration).unwrap_or_else(|| panic!("{path} has no {declaration}"));
        let (fields, _) = fields.split_once("\n}").unwrap();
        let names = fields.lines().filter_map(|line| line.trim().trim_start_matches("pub ").split_once(": "));
        let names: Vec<&str> = names.map(|(name, _)| name).filter(|name| !name.contains(['/', '#', ' '])).collect();
        assert!(!names.is_empty(), "{path}: {declaration}");
        for name in names {
            let key = if name == "scope" { "scopes" } else { name };
            let named = ["\n{} = ", "\n# {} = ", "[[inbound.{}]]", "`{}`", "{ {} = ", ", {} = "]
                .map(|form| form.replace("{}", key));
            assert!(named.iter().any(|form| readme.contains(form)), "{path}: {declaration} {key} is not in the README");
        }
    }
}

/// Every test that the checklist names, and every reason that the table of checks has.
#[test]
fn the_tests_of_the_checklist_exist_and_every_reason_has_its_row() {
    let page = read("docs/secure-messages.md");
    let (_, checklist) = page.split_once("| asked for | answered by |\n|---|---|\n").unwrap();
    let rows: Vec<&str> = checklist.lines().collect();
    assert!(rows.len() > 15, "{rows:?}");
    let tests =
        sources(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").as_path(), &["tests", "examples", "sts-client"]);
    for row in rows {
        let named: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "{row}");
        for name in named {
            assert!(tests.iter().any(|source| source.contains(&format!("fn {name}("))), "there is no test {name}");
        }
    }
    for reason in sts_client::envelope::Reason::ALL {
        assert!(page.contains(&format!(" | `{reason}` |\n")), "{reason}");
    }
}

fn sources(root: &Path, folders: &[&str]) -> Vec<String> {
    let mut open: Vec<_> = folders.iter().map(|folder| root.join(folder)).collect();
    let mut sources = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.extension().is_some_and(|extension| extension == "rs") {
                sources.push(fs::read_to_string(&entry).unwrap());
            }
        }
    }
    sources
}

/// The file, with the files that it names in a directory of this test.
fn file_of_the_readme(directory: &Path) -> String {
    let readme = read("sts-client/README.md");
    let (_, toml) = readme.split_once("Every key there is:\n\n```toml\n").unwrap();
    let (toml, _) = toml.split_once("```").unwrap();
    let ca = rcgen::generate_simple_self_signed(["sts.example.com".to_owned()]).unwrap().cert.pem();
    fs::write(directory.join("private-ca.pem"), ca).unwrap();
    fs::write(directory.join("sts"), "a secret\n").unwrap();
    fs::write(directory.join("jwks"), "a token\n").unwrap();
    fs::write(directory.join("nonce"), [7; 32]).unwrap();
    fs::write(directory.join("replays"), "postgres://127.0.0.1/replays\n").unwrap();
    let directory = directory.to_str().unwrap();
    toml.replace("/run/secrets", directory).replace("/etc/ssl", directory)
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
