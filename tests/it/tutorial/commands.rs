//! Every command that a page prints is run by a test, or stands in a list with the reason why it is not.

use std::collections::{BTreeMap, BTreeSet};

use sts_tests::process::{command, outcome};

use super::links::{self, read, root};
use super::page::{self, Step, steps};

/// The pages whose commands the tests of this folder run, in order.
const FOLLOWED: [&str; 12] = [
    "SECURITY.md",
    "docs/admin-api.md",
    "docs/agents-in-any-language.md",
    "docs/approvals.md",
    "docs/audit.md",
    "docs/configuration.md",
    "docs/operations.md",
    "docs/proof-of-possession.md",
    "docs/serve.md",
    "docs/token-endpoint.md",
    "docs/tutorial.md",
    "examples/first-agent/README.md",
];

/// The commands that no test of this folder runs, by how they begin, each with the reason.
const NOT_RUN: &[(&str, &str)] = &[
    ("(cd ../../typescript && npm ci", "downloads packages: the test compiles the package as its own tests do"),
    (".venv/bin/pip install", "downloads packages: the test shares those of the other tests"),
    ("POSTGRES_VERSION=17 deploy/test", "needs a Docker engine"),
    (
        "cargo add ",
        "changes the manifest of another package: tests/it/client/documents.rs compares it with the example",
    ),
    ("cargo bench ", "minutes, on a machine that does nothing else"),
    ("cargo install ", "a release build of minutes: the tests run the same program as Cargo builds it for them"),
    ("cargo run --release -- dev", "a release build of minutes: the tutorial runs the same program"),
    ("cargo run --release -p agent-graph", "a release build of minutes: examples/agent-graph/tests runs it"),
    ("cargo run --release -p secure-message", "a release build of minutes: examples/secure-message/tests runs it"),
    ("cargo run --release -p sts-bench", "minutes, on a machine that does nothing else"),
    ("cargo run --release -p sts-faults", "minutes to hours: tests/faults runs the short form of each scenario"),
    ("curl --cacert deploy/", "needs a Docker engine: deploy/test asks the same"),
    ("deploy/", "needs a Docker engine"),
    ("docker ", "needs a Docker engine: deploy/test runs it"),
    ("just ", "it runs the tests"),
    ("npm ci", "downloads packages: the test shares one folder of them between its runs"),
    ("pg_dump ", "needs a PostgreSQL server: tests/it/cli/backup.rs"),
    ("pg_restore ", "needs a PostgreSQL server: tests/it/cli/backup.rs"),
    ("python3 -m venv", "downloads packages: the test shares those of the other tests"),
    ("sqlite3 ", "a program that need not be there: tests/it/cli/backup.rs copies the database in the same way"),
    (
        "sts-server audit verify --config sts.toml --heads heads.jsonl --database-url",
        "the restored copy: tests/it/cli/backup.rs",
    ),
    (
        "sts-server explain -c sts.toml --client-assertion",
        "a real assertion of a faulty client: tests/it/cli/explain.rs",
    ),
    ("sts-server serve --config sts.toml --database-url", "the restored copy: tests/it/cli/backup.rs"),
    ("tests/run", "it runs the tests"),
];

/// The reason why no test runs a step; `None` if tests run it.
pub(super) fn reason_not_to_run(step: &Step) -> Option<&'static str> {
    let reasons: Vec<_> = step.commands().iter().map(|command| listed(command).map(|(_, reason)| reason)).collect();
    let is_mixed = reasons.iter().any(Option::is_some) && reasons.iter().any(Option::is_none);
    assert!(!is_mixed, "line {}: put what no test runs into a block of its own:\n{}", step.line, step.command);
    reasons.first().copied().flatten()
}

fn listed(command: &str) -> Option<(&'static str, &'static str)> {
    NOT_RUN.iter().copied().find(|(start, _)| command.starts_with(start))
}

#[test]
fn every_command_of_a_page_is_run_or_is_listed_with_a_reason() {
    let mut used = BTreeSet::new();
    let mut neither = Vec::new();
    for page in links::all_pages() {
        let is_followed = FOLLOWED.contains(&page.as_str());
        for step in steps(&page) {
            reason_not_to_run(&step);
            for command in step.commands() {
                match listed(&command) {
                    Some((start, _)) => drop(used.insert(start)),
                    None if is_followed => {}
                    None => neither.push(format!("{page}, line {}: {command}", step.line)),
                }
            }
        }
    }
    assert!(neither.is_empty(), "{neither:#?}");
    let unused: Vec<&str> = NOT_RUN.iter().map(|(start, _)| *start).filter(|start| !used.contains(start)).collect();
    assert!(unused.is_empty(), "no page has: {unused:?}");
}

#[tokio::test]
async fn every_command_of_the_program_that_a_page_prints_exists_with_its_options() {
    let mut printed = BTreeMap::<String, BTreeSet<(String, String)>>::new();
    for page in links::all_pages() {
        for invocation in invocations(&page) {
            let words = invocation.split(' ').skip(1);
            let is_name = |word: &&str| {
                word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') && !word.starts_with('-')
            };
            let path: Vec<&str> = words.clone().take_while(is_name).collect();
            let options = words.filter(|word| word.starts_with("--") && word.len() > 2);
            let options = options.map(|word| word.split(['=', '`', ')', ',', ';']).next().unwrap_or_default());
            let named = printed.entry(path.join(" ")).or_default();
            named.extend(options.map(|option| (option.to_owned(), page.clone())));
        }
    }
    assert!(printed.len() > 15, "{printed:?}");
    let folder = tempfile::tempdir().expect("a folder");
    let mut wrong = Vec::new();
    for (path, options) in printed {
        let mut program = command(folder.path()).await;
        program.args(path.split(' ').filter(|word| !word.is_empty())).arg("--help");
        let help = outcome(program).await;
        if help.code != 0 {
            wrong.push(format!("sts-server {path}: {}", help.stderr));
        }
        let has = |option: &str| help.stdout.split([' ', ',', '\n', '[', '=']).any(|word| word == option);
        wrong.extend(
            options
                .into_iter()
                .filter(|(option, _)| !has(option))
                .map(|(option, page)| format!("{page}: sts-server {path} {option}")),
        );
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The commands of the program that a page prints, in its blocks and in its lines.
fn invocations(page: &str) -> Vec<String> {
    let text = read(&root().join(page));
    let mut found: Vec<String> = steps(page).iter().flat_map(Step::commands).collect();
    for block in page::blocks(&text).iter().filter(|block| block.info.starts_with("text")) {
        found.extend(block.text.lines().filter_map(|line| line.strip_prefix("$ ")).map(str::to_owned));
    }
    let prose = text.split("\n```").step_by(2);
    found.extend(prose.flat_map(|prose| prose.split('`').skip(1).step_by(2)).map(|code| code.replace('\n', " ")));
    found.retain(|command| command.starts_with("sts-server ") && !command.contains('…'));
    found
}
