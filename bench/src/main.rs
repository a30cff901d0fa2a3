//! The `sts-bench` command.

use anyhow::Context as _;
use clap::Parser as _;
use sts_bench::arguments::{Arguments, Part};
use sts_bench::measure::exchange::{self, Subjects};
use sts_bench::report::{self, Row};
use sts_bench::server::{self, Database, Server};
use sts_jose::Algorithm;
use sts_tests::postgres;

// One thread: the load must leave the machine to the server.
#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let plan = arguments.plan();
    let program = match &arguments.server {
        Some(path) => path.canonicalize().with_context(|| path.display().to_string())?,
        None => server::build().await?,
    };
    let mut rows = Vec::new();
    if arguments.measures(Part::Exchange) {
        for name in ["PostgreSQL", "SQLite"] {
            let database = postgres::database().await;
            let database = if name == "SQLite" { Database::Sqlite } else { Database::Postgres(database.url()) };
            let server = Server::start(&program, database).await?;
            let exchanges = exchange::measure(&plan, &server, Algorithm::Es256, Subjects::Once).await?;
            rows.push(Row { name: format!("exchange, {name}, ES256, once"), exchanges });
        }
    }
    if arguments.json {
        println!("{}", report::json(&rows));
    } else {
        print!("{}", report::table(&rows));
    }
    Ok(())
}
