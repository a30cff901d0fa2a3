//! Every command of a page is run as a reader would, and prints what the page shows.

mod agents;
mod commands;
mod figures;
mod links;
mod page;
mod shop;
mod terminal;

use commands::reason_not_to_run;
use page::{Kind, Step, steps};
use shop::Shop;
use sts_tests::process::free_address;
use terminal::Reader;

/// The addresses of the pages: the service, the coordinator and the inventory.
const SERVICE: &str = "127.0.0.1:8080";
const COORDINATOR: &str = "127.0.0.1:9000";
const INVENTORY: &str = "127.0.0.1:9001";
/// How often a command is repeated at most, until the service follows a change. An agent in Rust remembers a refusal for 5 seconds.
const FOLLOWS_AFTER: usize = 2000;

#[tokio::test]
async fn every_command_of_the_token_endpoint_page_prints_what_the_page_shows() {
    let mut reader = Reader::new().await;
    follow(&mut reader, steps("docs/token-endpoint.md"), |_, _| {}).await;
}

#[tokio::test]
async fn the_tutorial_prints_what_it_shows_with_agents_in_rust() {
    let (mut reader, addresses) = (Reader::new().await, Addresses::free());
    agents::install_rust(&reader, &addresses).await;
    follow_tutorial(&mut reader, &addresses, "Rust", "examples/first-agent").await;
}

#[tokio::test]
async fn the_first_agent_runs_as_its_page_says() {
    let (mut reader, addresses) = (Reader::new().await, Addresses::free());
    agents::install_rust(&reader, &addresses).await;
    follow_example(&mut reader, &addresses, steps("examples/first-agent/README.md"), "examples/first-agent").await;
}

#[tokio::test]
async fn every_command_of_the_page_on_any_language_prints_what_the_page_shows() {
    let mut reader = Reader::new().await;
    agents::install_local_process(&reader).await;
    follow(&mut reader, steps("docs/agents-in-any-language.md"), |_, _| {}).await;
}

#[tokio::test]
async fn the_tutorial_prints_what_it_shows_with_agents_in_python() {
    let (mut reader, addresses) = (Reader::new().await, Addresses::free());
    agents::install_python(&reader).await;
    follow_tutorial(&mut reader, &addresses, "Python", "examples/python").await;
}

#[tokio::test]
async fn the_tutorial_prints_what_it_shows_with_agents_in_typescript() {
    let (mut reader, addresses) = (Reader::new().await, Addresses::free());
    if let Some(_package) = agents::install_typescript(&reader).await {
        follow_tutorial(&mut reader, &addresses, "TypeScript", "examples/typescript").await;
    }
}

#[tokio::test]
async fn every_command_of_the_page_on_setup_prints_what_the_page_shows() {
    let (mut reader, shop) = (Reader::new().await, Shop::new());
    shop.write_files(&mut reader).await;
    follow(&mut reader, shop.steps("docs/serve.md"), |_, _| {}).await;
}

#[tokio::test]
async fn every_command_of_the_page_on_the_admin_api_succeeds() {
    let (mut reader, shop) = (Reader::new().await, Shop::new());
    shop.write_files(&mut reader).await;
    reader.install("curl", "#!/bin/sh\nPATH=${PATH#*:} exec curl --fail-with-body \"$@\"\n");
    let mut steps = shop.steps("docs/admin-api.md").into_iter();
    let make_token = steps.next().expect("a first command");
    let (printed, code) = reader.run(&make_token.command).await;
    make_token.check(&printed, code);
    let (_, token) = printed.split_once('\n').expect("a token on a line of its own");
    let (token, lines) = token.split_once('\n').expect("lines for the configuration");
    let (_, lines) = lines.split_once("[[").expect("a table");
    shop.serve(&mut reader, &format!("[[{lines}\n")).await;
    assert_eq!(reader.run(&format!("TOKEN={token}")).await.1, 0);
    follow(&mut reader, steps.collect(), |_, _| {}).await;
}

#[tokio::test]
async fn every_command_of_the_page_on_approvals_prints_what_the_page_shows() {
    let (mut reader, shop) = (Reader::new().await, Shop::new());
    shop.write_files(&mut reader).await;
    shop.write_approvals(&reader, "docs/approvals.md");
    shop.serve(&mut reader, "").await;
    follow(&mut reader, shop.steps("docs/approvals.md"), |_, _| {}).await;
}

#[tokio::test]
async fn every_command_of_the_pages_for_operators_succeeds() {
    let (mut reader, shop) = (Reader::new().await, Shop::new());
    shop.write_files(&mut reader).await;
    shop.serve(&mut reader, "").await;
    shop.fill(&mut reader).await;
    for page in
        ["SECURITY.md", "docs/audit.md", "docs/configuration.md", "docs/proof-of-possession.md", "docs/operations.md"]
    {
        follow(&mut reader, shop.steps(page), |_, _| {}).await;
    }
}

/// Where the agents of this test listen.
struct Addresses {
    coordinator: String,
    inventory: String,
}

impl Addresses {
    fn free() -> Self {
        Self { coordinator: free_address(), inventory: free_address() }
    }
}

/// Runs the tutorial with the agents of one language.
async fn follow_tutorial(reader: &mut Reader, addresses: &Addresses, language: &str, example: &str) {
    let mut steps = steps("docs/tutorial.md");
    steps.retain(|step| step.heading.strip_prefix("In ").is_none_or(|other| other == language));
    assert!(steps.iter().any(|step| step.heading.ends_with(language)), "no agents in {language}");
    follow_example(reader, addresses, steps, example).await;
}

/// Runs steps that start the agents of an example.
async fn follow_example(reader: &mut Reader, addresses: &Addresses, mut steps: Vec<Step>, example: &str) {
    for step in &mut steps {
        step.replace(COORDINATOR, &addresses.coordinator);
        step.replace(INVENTORY, &addresses.inventory);
    }
    follow(reader, steps, |reader, service| agents::copy(reader, example, addresses, service)).await;
}

/// Runs the steps in order, but for those that no test runs. The service takes an address that is free: `prepare` is given it once it
/// serves.
async fn follow(reader: &mut Reader, steps: Vec<Step>, prepare: impl Fn(&Reader, &str)) {
    assert!(!steps.is_empty());
    let mut service = SERVICE.to_owned();
    for mut step in steps {
        if reason_not_to_run(&step).is_some() {
            continue;
        }
        step.replace(SERVICE, &service);
        match step.kind {
            Kind::Run => {
                let (printed, code) = reader.run(&step.command).await;
                step.check(&printed, code);
            }
            Kind::Follow => {
                let mut tries = 0..FOLLOWS_AFTER;
                loop {
                    let (printed, code) = reader.run(&step.command).await;
                    if tries.next().is_none() || step.difference(&printed, code).is_none() {
                        step.check(&printed, code);
                        break;
                    }
                }
            }
            Kind::Serve => {
                let printed = reader.serve(&step.command).await;
                let found = printed.lines().find_map(|line| line.strip_prefix("agent-sts at http://"));
                if let Some(found) = found {
                    found.clone_into(&mut service);
                    step.replace(SERVICE, &service);
                    prepare(reader, &service);
                }
                // With another port the first line says that the usual one is busy.
                let printed = printed.strip_prefix("port 8080 is busy").map_or(printed.as_str(), |rest| {
                    rest.find("agent-sts at ").and_then(|start| rest.get(start..)).unwrap_or_default()
                });
                step.check(printed, 0);
            }
        }
    }
}
