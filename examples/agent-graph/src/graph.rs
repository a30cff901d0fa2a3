//! All that runs, and how it is wired.

use std::sync::Arc;

use sts_client::Sts;
use url::Url;

use crate::coordinator::Coordinator;
use crate::idp::{ALICE, Idp};
use crate::inventory::Inventory;
use crate::process::{self, Process, listen};
use crate::sts::EmbeddedSts;
use crate::wiretap::Wiretap;
use crate::{agent, coordinator, inventory, warehouse};

/// The whole graph.
pub struct Graph {
    /// The users' IdP.
    pub idp: Idp,
    /// The STS.
    pub sts: EmbeddedSts,
    /// What came to the agents.
    pub wiretap: Wiretap,
    /// The coordinator.
    pub coordinator: Arc<Coordinator>,
    /// Where the coordinator is.
    pub coordinator_url: Url,
    /// Where the inventory is.
    pub inventory_url: Url,
    /// Where the warehouse's tools are.
    pub warehouse_url: Url,
    /// What the coordinator and the inventory know of the STS: their connections, and whether it answers.
    pub clients: [Sts; 2],
    _processes: [Process; 3],
}

impl Graph {
    /// Starts everything, those that are called before those that call.
    pub async fn start() -> anyhow::Result<Self> {
        let idp = Idp::start().await?;
        let sts = EmbeddedSts::start(&idp.issuer).await?;
        let wiretap = Wiretap::default();
        let clients = [sts.client("coordinator")?, sts.client("inventory")?];
        let [for_coordinator, for_inventory] = clients.clone();

        let router = warehouse::router(&warehouse::verifier(sts.issuer())?.build()?);
        let (warehouse_url, warehouse) = process::start(wiretap.before("warehouse", router), "/mcp").await?;

        let (listener, inventory_url) = listen("/").await?;
        let inventory = Inventory::new(for_inventory, warehouse_url.clone()).await?;
        let router = agent::router(inventory, &inventory::verifier(sts.issuer()).build()?, inventory_url.as_str());
        let inventory = process::serve(listener, wiretap.before("inventory", router));

        let (listener, coordinator_url) = listen("/").await?;
        let coordinator = Coordinator::new(for_coordinator, inventory_url.clone()).await?;
        let verifier = coordinator::verifier(&idp.issuer)?;
        let router = agent::router(Arc::clone(&coordinator), &verifier, coordinator_url.as_str());
        let process = process::serve(listener, wiretap.before("coordinator", router));

        let processes = [warehouse, inventory, process];
        Ok(Self {
            idp,
            sts,
            wiretap,
            coordinator,
            coordinator_url,
            inventory_url,
            warehouse_url,
            clients,
            _processes: processes,
        })
    }

    /// Serves until Ctrl-C.
    pub async fn serve_until_told(&self) -> anyhow::Result<()> {
        self.wiretap.end();
        let file = self.sts.keep("alice.jwt", &self.idp.log_in(ALICE)?.token)?;
        println!("\nServing until Ctrl-C. Ask the coordinator:");
        println!(
            r#"curl -s {} -H 'A2A-Version: 1.0' -H 'Content-Type: application/json' -H "Authorization: Bearer $(cat {})" \
  -d '{{"jsonrpc":"2.0","id":1,"method":"SendMessage","params":{{"message":{{"messageId":"m1","role":"ROLE_USER","parts":[{{"text":"stock tea"}}]}}}}}}'"#,
            self.coordinator_url,
            file.display(),
        );
        println!("The audit log: sts-server audit list --config {}", self.sts.config_file().display());
        Ok(tokio::signal::ctrl_c().await?)
    }

    /// Ends it all.
    pub async fn stop(mut self) {
        self.sts.stop().await;
    }
}
