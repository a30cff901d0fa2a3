//! All that runs: the users' IdP, the STS, the two agents; and what the cases need to play the thief.

use std::sync::Arc;

use agent_graph::idp::{Idp, User};
use agent_graph::process::{self, Process, listen};
use agent_graph::sts::EmbeddedSts;
use anyhow::Context as _;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};
use sts_client::envelope::{AgentKeys, DecryptionKey};
use sts_client::events::{EventSinks, Recorded};
use sts_jose::{Algorithm, CompactJws, SigningKey};
use url::Url;

use crate::billing::{self, Billing};
use crate::support::{Places, Support};
use crate::till;

/// She may have refunds drafted.
pub const ALICE: User = User { name: "alice", tenant: "acme", scope: "payroll:read refund:draft" };
/// He may look at them, and not more.
pub const BOB: User = User { name: "bob", tenant: "acme", scope: "refund:read" };
/// An order that nobody outside of the two agents may learn of.
pub const SECRET_ORDER: &str = "order-4711-of-a-private-person";

/// The stage.
pub struct Stage {
    /// The users' IdP.
    pub idp: Idp,
    /// The STS.
    pub sts: EmbeddedSts,
    /// The agent that asks.
    pub support: Support,
    /// The agent that is asked.
    pub billing: Billing,
    /// The URL of the tools that pay.
    pub till: Url,
    /// What the billing agent said of what it saw.
    pub events: Arc<Recorded>,
    /// The support agent's signing key: an agent that was broken into signs whatever its thief wants.
    pub stolen: SigningKey,
    /// What must be found nowhere.
    pub secrets: Vec<String>,
    _processes: [Process; 3],
}

impl Stage {
    /// Starts everything.
    pub async fn start() -> anyhow::Result<Self> {
        let idp = Idp::start().await?;
        let sts = EmbeddedSts::start_with(&idp.issuer, &["support", "billing"], include_str!("registry.toml")).await?;
        let stolen = SigningKey::generate(Algorithm::Es256)?;
        let signing = SigningKey::from_pkcs8(Algorithm::Es256, &stolen.to_pkcs8())?;
        let (support_key, billing_key) = (DecryptionKey::generate()?, DecryptionKey::generate()?);
        let mut secrets = vec![SECRET_ORDER.to_owned()];
        for key in [&support_key, &billing_key] {
            let jwk: Value = serde_json::from_str(key.to_jwk().expose_secret())?;
            secrets.push(jwk.get("d").and_then(Value::as_str).context("a private key")?.to_owned());
        }
        let support_keys = AgentKeys::new(signing, support_key);
        let (url, support_process) = process::start(Support::router(support_keys.clone()), "/jwks").await?;

        let events = Arc::new(Recorded::default());
        let sinks = EventSinks::to(Arc::clone(&events) as Arc<_>);
        let keys = AgentKeys::new(SigningKey::generate(Algorithm::Es256)?, billing_key);
        let billing = Billing::new(keys, url, sinks.clone())?;
        let (listener, url) = listen("/").await?;
        let router = billing.router(&billing::verifier(sts.issuer(), sinks)?);
        let billing_process = process::serve(listener, router);
        let (till, till_process) = process::start(till::router(sts.issuer())?, "/").await?;
        let places = Places { billing: url, till: till.clone() };
        let support = Support::new(support_keys, &idp.issuer, sts.client("support")?, places).await?;
        let processes = [support_process, billing_process, till_process];
        Ok(Self { idp, sts, support, billing, till, events, stolen, secrets, _processes: processes })
    }

    /// Remembers what must be found nowhere: of a token or an envelope, its payload and its signature.
    pub fn remember(&mut self, text: &str) {
        self.secrets.extend(text.split('.').skip(1).map(str::to_owned));
    }

    /// An envelope as whoever holds the support agent's key would make it.
    pub fn forged(&self, envelope: &str, change: impl FnOnce(&mut Map<String, Value>)) -> anyhow::Result<String> {
        let jws = CompactJws::parse_within(sts_client::envelope::MAX_ENVELOPE_BYTES, envelope)?;
        let mut claims = serde_json::from_slice(jws.payload())?;
        change(&mut claims);
        Ok(self.stolen.sign(Some("agent-request+jwt"), &serde_json::to_vec(&claims)?)?)
    }
}
