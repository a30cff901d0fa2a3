//! Each of the graph's parts as a process of its own, for `deploy/agent-graph/`: the rules stand in a file, as for any agent.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use axum::Router;
use clap::{Args, Subcommand};
use sts_client::{Propagator, Verifier};
use tokio::net::TcpListener;
use url::Url;

use crate::coordinator::Coordinator;
use crate::idp::{Idp, UserToken};
use crate::inventory::Inventory;
use crate::{agent, user, warehouse};

/// A part of the graph.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// The users' IdP. Everybody may log in as anybody (POST /login/alice).
    Idp {
        /// Where it listens.
        #[arg(long)]
        listen: SocketAddr,
        /// Its issuer identifier, which is also the base of its URLs.
        #[arg(long)]
        issuer: String,
    },
    /// The coordinator. Its file has `[inbound]`, `[sts]`, and a route to the inventory.
    Coordinator {
        /// What every agent needs.
        #[command(flatten)]
        place: Place,
        /// Where the inventory is.
        #[arg(long)]
        inventory: Url,
    },
    /// The inventory. Its file has `[inbound]`, `[sts]`, and a route to the warehouse.
    Inventory {
        /// What every agent needs.
        #[command(flatten)]
        place: Place,
        /// Where the warehouse's tools are.
        #[arg(long)]
        warehouse: Url,
    },
    /// The warehouse. Its file has `[inbound]`.
    Warehouse {
        /// What every agent needs.
        #[command(flatten)]
        place: Place,
    },
    /// The user's app: logs a user in, asks the coordinator, and prints the answer.
    Ask {
        /// The IdP.
        #[arg(long)]
        idp: Url,
        /// The coordinator.
        #[arg(long)]
        coordinator: Url,
        /// The user: alice or bob.
        user: String,
        /// What to ask.
        text: String,
    },
}

/// What every agent needs.
#[derive(Debug, Args)]
pub struct Place {
    /// Its file, as sts-client reads it.
    #[arg(long)]
    config: PathBuf,
    /// Where it listens.
    #[arg(long)]
    listen: SocketAddr,
    /// Where others find it.
    #[arg(long)]
    url: Url,
}

/// Runs it until it ends: never, but for `ask`.
pub async fn run(part: Part) -> anyhow::Result<()> {
    match part {
        Part::Idp { listen, issuer } => {
            let _idp = Idp::start_as(TcpListener::bind(listen).await?, issuer)?;
            std::future::pending().await
        }
        Part::Coordinator { place, inventory } => {
            let (verifier, propagator) = place.both().await?;
            let agent = Coordinator::calling(propagator, inventory)?;
            place.serve(agent::router(agent, &verifier, place.url.as_str())).await
        }
        Part::Inventory { place, warehouse } => {
            let (verifier, propagator) = place.both().await?;
            let agent = Inventory::calling(propagator, warehouse)?;
            place.serve(agent::router(agent, &verifier, place.url.as_str())).await
        }
        Part::Warehouse { place } => {
            let verifier = Verifier::from_toml(&read(&place.config)?)?.build()?;
            let host = place.url.host_str().context("the url has no host")?;
            place.serve(warehouse::router_of(&verifier, host)).await
        }
        Part::Ask { idp, coordinator, user, text } => {
            let token = log_in(&idp, &user).await?;
            match user::ask(coordinator.as_str(), &token, "ask", &text).await {
                Ok(answer) => println!("{answer}"),
                Err(why) => bail!("no answer: {why}"),
            }
            Ok(())
        }
    }
}

impl Place {
    /// Who may call, and what goes out.
    async fn both(&self) -> anyhow::Result<(Verifier, Propagator)> {
        let config = read(&self.config)?;
        Ok((Verifier::from_toml(&config)?.build()?, Propagator::from_toml(&config)?.build().await?))
    }

    async fn serve(&self, router: Router) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        println!("listening on {}", listener.local_addr()?);
        Ok(axum::serve(listener, router).await?)
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| path.display().to_string())
}

async fn log_in(idp: &Url, user: &str) -> anyhow::Result<UserToken> {
    let http = reqwest::Client::builder().no_proxy().build()?;
    let answer = http.post(idp.join(&format!("/login/{user}"))?).send().await?;
    ensure!(answer.status().is_success(), "no login as {user}: {}", answer.status());
    Ok(UserToken { token: answer.text().await?, jti: String::new() })
}
