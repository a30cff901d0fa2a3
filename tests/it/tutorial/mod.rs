//! Every command of a page is run as a reader would, and prints what the page shows.

mod agents;
mod figures;
mod links;
mod page;
mod terminal;

use page::{Kind, Step, steps};
use sts_tests::process::free_address;
use terminal::Reader;

/// The addresses of the pages: the service, the coordinator and the inventory.
const SERVICE: &str = "127.0.0.1:8080";
const COORDINATOR: &str = "127.0.0.1:9000";
const INVENTORY: &str = "127.0.0.1:9001";

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
async fn the_tutorial_prints_what_it_shows_with_agents_in_python() {
    let (mut reader, addresses) = (Reader::new().await, Addresses::free());
    agents::install_python(&reader).await;
    follow_tutorial(&mut reader, &addresses, "Python", "examples/python").await;
}

#[tokio::test]
async fn the_tutorial_prints_what_it_shows_with_agents_in_typescript() {
    let (mut reader, addresses) = (Reader::new().await, Addresses::free());
    if agents::install_typescript(&reader).await {
        follow_tutorial(&mut reader, &addresses, "TypeScript", "examples/typescript").await;
    }
}

#[tokio::test]
async fn the_files_of_the_page_on_setup_are_accepted_and_explained_as_shown() {
    let mut reader = Reader::new().await;
    let page = links::read(&links::root().join("docs/serve.md"));
    for (name, text) in ["sts.toml", "registry.toml"].into_iter().zip(blocks(&page, "toml")) {
        let text = text.replace('…', &"0f".repeat(32));
        std::fs::write(reader.folder().join(name), text).expect("the folder is ours");
    }
    let make_key =
        blocks(&page, "sh").into_iter().find(|command| command.starts_with("openssl ")).expect("a master key");
    assert_eq!(reader.run(make_key).await.1, 0);
    let (printed, code) = reader.run("sts-server check --config sts.toml").await;
    assert_eq!(code, 0, "{printed}");
    assert_eq!(reader.run("sts-server migrate --config sts.toml").await.1, 0);
    assert_eq!(reader.run("sts-server apply --config sts.toml registry.toml").await.1, 0);
    let session = blocks(&page, "text").into_iter().find_map(|block| block.strip_prefix("$ ")).expect("a session");
    let (command, shown) = session.split_once("\n1. ").expect("a command and its output");
    let (printed, _) = reader.run(command).await;
    assert_eq!(printed, format!("1. {shown}"));
}

/// The blocks of a page with this info string.
fn blocks<'a>(page: &'a str, info: &str) -> Vec<&'a str> {
    let fence = format!("```{info}\n");
    page.split(&fence).skip(1).filter_map(|rest| rest.split("\n```").next()).collect()
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
    for step in &mut steps {
        step.replace(COORDINATOR, &addresses.coordinator);
        step.replace(INVENTORY, &addresses.inventory);
    }
    follow(reader, steps, |reader, service| agents::copy(reader, example, addresses, service)).await;
}

/// Runs all steps in order. The service takes an address that is free: `prepare` is given it once it serves.
async fn follow(reader: &mut Reader, steps: Vec<Step>, prepare: impl Fn(&Reader, &str)) {
    assert!(!steps.is_empty());
    let mut service = SERVICE.to_owned();
    for mut step in steps {
        step.replace(SERVICE, &service);
        match step.kind {
            Kind::Setup => {}
            Kind::Run => {
                let (printed, code) = reader.run(&step.command).await;
                step.check(&printed, code);
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
