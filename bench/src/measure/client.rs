//! What a call costs an agent that uses `sts-client`: with a token that is cached, without one, and when many wait for the same one.

use anyhow::Context as _;
use futures_util::future::try_join_all;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sts_client::inbound::Issuer;
use sts_client::{CallContext, Credentials, Propagator, Route, Sts, Verifier};
use sts_jose::Algorithm;
use sts_server::telemetry::Stopwatch;
use sts_tests::bearer;

use crate::arguments::Plan;
use crate::server::{CLIENT, SECRET, Server, audience};
use crate::statistics::Rounds;

/// How many calls wait for one token.
pub const WAITERS: usize = 1_000;
/// How many cached calls a round has.
const CACHED: usize = 20_000;
/// How many cold calls a round has.
const COLD: usize = 200;

/// An agent's calls, measured.
#[derive(Debug, Clone, Default)]
pub struct Calls {
    /// A call with a cached token, in microseconds.
    pub cached_us: Rounds,
    /// A call of a user who was not seen before: verification and one exchange, in microseconds.
    pub cold_us: Rounds,
    /// [`WAITERS`] calls at once that need the same new token: until the last has it, in microseconds.
    pub waiters_us: Rounds,
}

/// Measures an agent beside a server.
///
/// # Errors
/// A call that gets no token.
pub async fn measure(plan: &Plan, server: &Server) -> anyhow::Result<Calls> {
    let agent = Agent::beside(server).await?;
    let mut measured = Calls::default();
    for _ in 0..plan.rounds {
        let context = agent.context(&agent.inbound(server)).await?;
        agent.call(&context).await?;
        let watch = Stopwatch::start();
        for _ in 0..CACHED {
            agent.call(&context).await?;
        }
        measured.cached_us.push(watch.elapsed().as_secs_f64() * 1e6 / CACHED as f64);

        let inbound: Vec<HeaderMap> = (0..COLD).map(|_| agent.inbound(server)).collect();
        let watch = Stopwatch::start();
        for inbound in &inbound {
            agent.call(&agent.context(inbound).await?).await?;
        }
        measured.cold_us.push(watch.elapsed().as_secs_f64() * 1e6 / COLD as f64);

        let context = agent.context(&agent.inbound(server)).await?;
        let watch = Stopwatch::start();
        try_join_all((0..WAITERS).map(|_| agent.call(&context))).await?;
        measured.waiters_us.push(watch.elapsed().as_secs_f64() * 1e6);
    }
    Ok(measured)
}

struct Agent {
    verifier: Verifier,
    propagator: Propagator,
}

impl Agent {
    async fn beside(server: &Server) -> anyhow::Result<Self> {
        let users = Issuer::new(&server.users().issuer).tenant_claim("org_id");
        let verifier = Verifier::builder(["web-app"]).issuer(users).build()?;
        let sts = Sts::builder(server.issuer(), CLIENT, Credentials::ClientSecret(SECRET.to_owned().into())).build()?;
        let route = Route::to("https://inventory.example/".parse()?).audience(audience(Algorithm::Es256));
        let propagator = Propagator::builder().sts(sts).route(route).build().await?;
        Ok(Self { verifier, propagator })
    }

    /// The headers of a user's request, with a token that was never used.
    fn inbound(&self, server: &Server) -> HeaderMap {
        bearer(&server.users().tokens(Algorithm::Es256, 1).remove(0))
    }

    async fn context(&self, inbound: &HeaderMap) -> anyhow::Result<CallContext> {
        let caller = self.verifier.verify(inbound).await.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
        Ok(CallContext::from(caller))
    }

    async fn call(&self, context: &CallContext) -> anyhow::Result<()> {
        let url = "https://inventory.example/stock".parse()?;
        let mut headers = HeaderMap::new();
        self.propagator.apply(context, &url, &mut headers).await?;
        headers.get(AUTHORIZATION).context("a call without a token").map(drop)
    }
}
