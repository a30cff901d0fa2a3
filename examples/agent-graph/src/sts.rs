//! The STS, embedded: `sts-server` as a library, with its files in a folder of its own. It can be stopped and started again.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sts_client::exchange::StsBuilder;
use sts_client::{Credentials, Sts};
use sts_jose::{Entropy as _, SystemClock, SystemEntropy};
use sts_server::admin::{By, Named};
use sts_server::config::{self, Config, Overrides};
use sts_server::keys::{MasterKey, write_private};
use sts_server::record::Event;
use sts_server::server::{Foundation, Server, Surroundings};
use sts_server::storage::AuditFilter;
use tempfile::TempDir;
use tokio::net::TcpListener;

/// The agents, each with a secret.
const AGENTS: [&str; 3] = ["coordinator", "inventory", "warehouse"];

/// The STS, running or stopped.
pub struct EmbeddedSts {
    directory: TempDir,
    config: Config,
    addresses: [SocketAddr; 2],
    secrets: Vec<(&'static str, String)>,
    server: Option<Server>,
}

impl EmbeddedSts {
    /// Makes its files and starts it.
    pub async fn start(idp: &str) -> anyhow::Result<Self> {
        Self::start_with(idp, &AGENTS, include_str!("registry.toml")).await
    }

    /// Starts it with other agents, and a registry that names the IdP and the digest of each agent's secret in braces.
    pub async fn start_with(idp: &str, agents: &[&'static str], template: &str) -> anyhow::Result<Self> {
        let listeners = [TcpListener::bind("127.0.0.1:0").await?, TcpListener::bind("127.0.0.1:0").await?];
        let addresses = [listeners[0].local_addr()?, listeners[1].local_addr()?];
        let directory = tempfile::tempdir()?;
        let secrets: Vec<_> = agents.iter().map(|agent| (*agent, random_secret())).collect();
        MasterKey::create(&directory.path().join("master.key"), &SystemEntropy)?;
        std::fs::write(directory.path().join("registry.toml"), registry(template, idp, &secrets))?;
        std::fs::write(directory.path().join("sts.toml"), configuration(addresses))?;
        let loaded = config::load(Some(&directory.path().join("sts.toml")), [], &Overrides::default());
        let config = loaded.config.with_context(|| format!("the configuration: {:?}", loaded.faults))?;
        let server = Server::start_on(&config, surroundings(), listeners).await?;
        Ok(Self { directory, config, addresses, secrets, server: Some(server) })
    }

    /// Its issuer identifier, which is also the base of its URLs.
    pub fn issuer(&self) -> &str {
        &self.config.issuer
    }

    /// Its configuration file, for the commands of `sts-server`.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("sts.toml")
    }

    /// The STS as an agent sees it.
    pub fn client(&self, agent: &str) -> anyhow::Result<Sts> {
        Ok(self.builder(agent)?.build()?)
    }

    /// The STS as an agent sees it that binds its tokens to a key of its own.
    pub fn client_with_key(&self, agent: &str) -> anyhow::Result<Sts> {
        Ok(self.builder(agent)?.dpop().build()?)
    }

    fn builder(&self, agent: &str) -> anyhow::Result<StsBuilder> {
        let credentials = Credentials::ClientSecret(self.secret(agent)?.into());
        Ok(Sts::builder(self.issuer(), agent, credentials))
    }

    /// The secret of an agent.
    pub fn secret(&self, agent: &str) -> anyhow::Result<&str> {
        let found = self.secrets.iter().find(|(name, _)| *name == agent);
        found.map(|(_, secret)| secret.as_str()).with_context(|| format!("no agent {agent}"))
    }

    /// Writes a token to a file that only its owner may read, beside its own files.
    pub fn keep(&self, name: &str, token: &str) -> anyhow::Result<PathBuf> {
        let path = self.directory.path().join(name);
        write_private(&path, token.as_bytes())?;
        Ok(path)
    }

    /// Stops it. Its database stays.
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// Starts it again where it was.
    pub async fn start_again(&mut self) -> anyhow::Result<()> {
        let [public, admin] = self.addresses;
        let listeners = [TcpListener::bind(public).await?, TcpListener::bind(admin).await?];
        self.server = Some(Server::start_on(&self.config, surroundings(), listeners).await?);
        Ok(())
    }

    /// Revokes a user's token and all that came of it, as an operator does.
    pub async fn revoke(&self, issuer: &str, jti: &str) -> anyhow::Result<()> {
        let foundation = Foundation::lay(&self.config, surroundings()).await?;
        let token = Named { jti: Some(jti.to_owned()), issuer: Some(issuer.to_owned()), ..Named::default() };
        let request = token.request(self.issuer())?;
        foundation.administration(&self.config).revoke(&request, &By::default()).await?;
        foundation.store.close().await;
        Ok(())
    }

    /// The audit trail of one transaction, oldest first.
    pub async fn audit(&self, txn: &str) -> anyhow::Result<Vec<Event>> {
        let foundation = Foundation::lay(&self.config, surroundings()).await?;
        let filter = AuditFilter { txn: Some(txn.to_owned()), ..AuditFilter::default() };
        let rows = foundation.store.audit(&filter, 100).await?.rows;
        foundation.store.close().await;
        rows.iter().map(|row| Ok(serde_json::from_str(&row.row.body)?)).collect()
    }
}

fn surroundings() -> Surroundings {
    Surroundings { clock: Arc::new(SystemClock), entropy: Arc::new(SystemEntropy) }
}

fn random_secret() -> String {
    let mut bytes = [0; 32];
    SystemEntropy.fill(&mut bytes);
    URL_SAFE_NO_PAD.encode(bytes)
}

fn registry(template: &str, idp: &str, secrets: &[(&str, String)]) -> String {
    let registry = template.replace("{idp}", idp);
    secrets.iter().fold(registry, |registry, (agent, secret)| {
        let digest = digest(&SHA256, secret.as_bytes());
        registry.replace(&format!("{{{agent}}}"), &sts_jose::hex(digest.as_ref()))
    })
}

fn configuration([public, admin]: [SocketAddr; 2]) -> String {
    format!(
        r#"issuer = "http://{public}"
registry = "registry.toml"

[listen]
public = "{public}"
admin = "{admin}"

[database]
url = "sqlite://sts.db"

[keys]
master_key_file = "master.key"
"#
    )
}
