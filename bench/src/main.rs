//! The `sts-bench` command.

use std::path::Path;

use anyhow::Context as _;
use clap::Parser as _;
use sts_bench::arguments::{Arguments, Part, Plan};
use sts_bench::measure::exchange::{self, Subjects};
use sts_bench::measure::{
    Figures, Named, assertion, bound, client, endpoints, flatness, latency, local, registry, stored,
};
use sts_bench::peers::{self, PEERS};
use sts_bench::report;
use sts_bench::server::{self, Database, Server};
use sts_jose::Algorithm;
use sts_tests::postgres;

/// What is exchanged, in which order: the first is that of the targets.
const KINDS: [(Algorithm, Subjects); 4] = [
    (Algorithm::Es256, Subjects::Once),
    (Algorithm::Es256, Subjects::FanOut),
    (Algorithm::EdDsa, Subjects::Once),
    (Algorithm::Rs256, Subjects::Once),
];

// One thread: the load must leave the machine to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let program = match &arguments.server {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => server::build("sts-server").await?,
    };
    let figures = measure(&arguments, &program).await?;
    report::plot(&figures, &arguments.plot)?;
    if arguments.json {
        println!("{}", report::json(&figures));
    } else {
        print!("{}", report::table(&figures));
    }
    Ok(())
}

async fn measure(arguments: &Arguments, program: &Path) -> anyhow::Result<Figures> {
    let plan = arguments.plan();
    let mut figures = Figures::default();
    let database = postgres::database().await;
    let server = Server::start(program, Database::Postgres(database.url())).await?;
    figures.idle_mib = server.resident_mib()?;
    if arguments.measures(Part::Exchange) {
        exchanges(&plan, &server, "PostgreSQL", &mut figures).await?;
        let on_sqlite = Server::start(program, Database::Sqlite).await?;
        exchanges(&plan, &on_sqlite, "SQLite", &mut figures).await?;
        let mut row = |name: &str, exchanges| figures.exchanges.push(Named { name: name.to_owned(), exchanges });
        row(report::ASSERTION, assertion::measure(&plan, &server).await?);
        row("PostgreSQL, ES256, with DPoP", bound::with_dpop(&plan, &server).await?);
        let database = postgres::database().await;
        row("PostgreSQL, ES256, with mTLS", bound::with_mtls(&plan, program, database.url()).await?);
        match stored::measure(&plan, &server).await {
            Ok(measured) => figures.stored = Some(measured),
            Err(error) => eprintln!("the cost in PostgreSQL was not measured: {error:#}"),
        }
    }
    if arguments.measures(Part::Latency) {
        let per_second = match figures.exchanges.first() {
            Some(named) => named.exchanges.per_second.median(),
            None => exchange::measure(&plan, &server, Algorithm::Es256, Subjects::Once).await?.per_second.median(),
        };
        figures.latencies = Some(latency::measure(&plan, &server, per_second).await?);
    }
    if arguments.measures(Part::Endpoints) {
        figures.endpoints = endpoints::measure(&plan, &server).await?;
    }
    if arguments.measures(Part::Client) {
        figures.calls = Some(client::measure(&plan, &server).await?);
    }
    if arguments.measures(Part::Local) {
        figures.local = Some(local::measure(&plan, &server, &server::build("sts-agent").await?).await?);
    }
    drop(server);
    if arguments.measures(Part::Flatness) {
        let database = postgres::database().await;
        let server = Server::start(program, Database::Postgres(database.url())).await?;
        figures.levels = flatness::measure(&plan, &server, &plan.levels).await?;
    }
    if arguments.measures(Part::Registry) {
        let database = postgres::database().await;
        figures.registry = Some(registry::measure(program, database.url()).await?);
    }
    for peer in PEERS.into_iter().filter(|peer| arguments.runs_peer(peer.name)) {
        match peers::measure(&plan, peer, &arguments.peers_folder).await {
            Ok(measured) => figures.peers.push(measured),
            Err(error) => eprintln!("{} was not measured: {error:#}", peer.name),
        }
    }
    Ok(figures)
}

async fn exchanges(plan: &Plan, server: &Server, database: &str, figures: &mut Figures) -> anyhow::Result<()> {
    for (algorithm, subjects) in KINDS {
        let exchanges = exchange::measure(plan, server, algorithm, subjects).await?;
        let used = match subjects {
            Subjects::Once => "each token once",
            Subjects::FanOut => "to eight targets",
        };
        figures.exchanges.push(Named { name: format!("{database}, {algorithm}, {used}"), exchanges });
    }
    Ok(())
}
