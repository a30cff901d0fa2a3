//! Each agent has a key, and every token is bound to the key of the agent that holds it (DPoP).

use http::StatusCode;
use sts_client::{Clock as _, Sts, SystemClock};
use sts_jose::dpop::{ProofClaims, ProofKey, ProofUri, access_token_hash};
use url::Url;

use super::captured::present_with;
use super::stage::{ANSWER, Stage};
use crate::coordinator::Coordinator;
use crate::idp::ALICE;
use crate::inventory::Inventory;
use crate::process::{Process, listen, serve};
use crate::wiretap::Wiretap;
use crate::{Graph, agent, coordinator, inventory, user, warehouse};

/// The same agents once more, with keys. They accept bound tokens alone.
struct Bound {
    wiretap: Wiretap,
    coordinator_url: Url,
    /// The agents that hold a token: for whom, whose it is, and where it is good.
    holders: [(&'static str, Sts, Url); 2],
    _processes: [Process; 3],
}

impl Bound {
    async fn start(graph: &Graph) -> anyhow::Result<Self> {
        let (sts, wiretap) = (graph.sts.issuer(), Wiretap::default());
        let [first, second] = [graph.sts.client_with_key("coordinator")?, graph.sts.client_with_key("inventory")?];

        let (listener, warehouse_url) = listen("/mcp").await?;
        let verifier = warehouse::verifier(sts)?.public_url(warehouse_url.join("/")?).require_dpop().build()?;
        let warehouse = serve(listener, wiretap.before("warehouse", warehouse::router(&verifier)));

        let (listener, inventory_url) = listen("/").await?;
        let inventory = Inventory::new(second.clone(), warehouse_url.clone()).await?;
        let verifier = inventory::verifier(sts).public_url(inventory_url.clone()).require_dpop().build()?;
        let router = agent::router(inventory, &verifier, inventory_url.as_str());
        let inventory = serve(listener, wiretap.before("inventory", router));

        // Users come to the coordinator with the bearer token of their app.
        let (listener, coordinator_url) = listen("/").await?;
        let coordinator = Coordinator::new(first.clone(), inventory_url.clone()).await?;
        let router = agent::router(coordinator, &coordinator::verifier(&graph.idp.issuer)?, coordinator_url.as_str());
        let coordinator = serve(listener, wiretap.before("coordinator", router));

        let holders = [("inventory", first, inventory_url), ("warehouse", second, warehouse_url)];
        Ok(Self { wiretap, coordinator_url, holders, _processes: [warehouse, inventory, coordinator] })
    }
}

/// A stolen token is useless at the very agent that it was issued for, even with the proof that it was sent with.
pub(super) async fn useless_without_its_key(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("tokens are bound to keys: a stolen one is useless everywhere");
    let bound = Bound::start(graph).await?;
    let answer = user::ask(bound.coordinator_url.as_str(), &graph.idp.log_in(ALICE)?, "bound", "stock tea").await;
    stage.expect("alice has her answer", answer, Ok(ANSWER.to_owned()));
    stage.keys.push(["alice's own token", "-", "alice's app", "Bearer"].map(str::to_owned));
    for (agent, holder, url) in &bound.holders {
        let (heard, name) = (bound.wiretap.last(agent)?, holder.client_id());
        let claims = heard.claims()?;
        let is_own = claims["cnf"]["jkt"].as_str() == holder.dpop_thumbprint();
        stage.expect(&format!("the token to the {agent} is bound to the {name}'s key"), is_own, true);
        stage.keys.push([format!("to {agent}"), format!("the key of {name}"), name.to_owned(), "DPoP".to_owned()]);

        let (token, proof) = (format!("DPoP {}", heard.token), heard.proof.unwrap_or_default());
        let forged = forged(&heard.token, url)?;
        let as_bearer = format!("Bearer {}", heard.token);
        let tries = [
            ("as a bearer token", vec![("authorization", as_bearer.as_str())], "invalid_token"),
            ("with its proof", vec![("authorization", token.as_str()), ("dpop", &proof)], "invalid_dpop_proof"),
            ("with another key", vec![("authorization", token.as_str()), ("dpop", &forged)], "invalid_dpop_proof"),
        ];
        for (how, headers, error) in tries {
            let refused = (StatusCode::UNAUTHORIZED, format!("DPoP error=\"{error}\""));
            stage.expect(&format!("stolen, {how}: 401, {error}"), present_with(&headers, url).await?, refused);
        }
    }
    Ok(())
}

/// A proof that a thief makes, with a key of its own.
fn forged(token: &str, url: &Url) -> anyhow::Result<String> {
    Ok(ProofKey::generate()?.prove(&ProofClaims {
        method: "POST",
        uri: &ProofUri::of(url)?,
        issued_at: SystemClock.now(),
        jti: "made by the thief",
        ath: Some(&access_token_hash(token)),
        nonce: None,
    })?)
}
