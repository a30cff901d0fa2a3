//! What stands in front of each agent and keeps what came in: so the acts can show it, and play the thief. No real agent has one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context as _;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method};
use serde_json::{Map, Value};
use sts_client::{IDEMPOTENCY_KEY, X_DELEGATION_FALLBACK, X_TENANT_ID};
use sts_jose::UnverifiedToken;
use tokio::sync::oneshot;

/// All that was heard, in its order, until it ends. Clones share it.
#[derive(Clone)]
pub struct Wiretap(Arc<Mutex<Option<Vec<Heard>>>>, Losing);

/// Whose next answer gets lost, and who is told of it.
type Losing = Arc<Mutex<Option<(&'static str, oneshot::Sender<()>)>>>;

/// One message on its way to an agent. It holds the token: nothing prints it.
#[derive(Clone)]
pub struct Heard {
    /// To whom.
    pub agent: &'static str,
    /// The token, without its scheme.
    pub token: String,
    /// The proof that a bound token came with.
    pub proof: Option<String>,
    /// The `Mcp-Session-Id`.
    pub mcp_session: Option<String>,
    /// The `Idempotency-Key`.
    pub idempotency_key: Option<String>,
    /// The `X-Tenant-ID`.
    pub tenant: Option<String>,
    /// The `X-Delegation-Fallback`.
    pub fallback: Option<String>,
}

impl Default for Wiretap {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Some(Vec::new()))), Losing::default())
    }
}

impl Wiretap {
    /// Listens in front of an agent.
    pub fn before(&self, agent: &'static str, router: Router) -> Router {
        router.layer(from_fn_with_state((self.clone(), agent), listen))
    }

    /// How many messages an agent was sent so far.
    pub fn count(&self, agent: &str) -> usize {
        self.heard().iter().flatten().filter(|heard| heard.agent == agent).count()
    }

    /// The last message to an agent.
    pub fn last(&self, agent: &str) -> anyhow::Result<Heard> {
        let last = self.heard().iter().flatten().rev().find(|heard| heard.agent == agent).cloned();
        last.with_context(|| format!("nothing came to the {agent}"))
    }

    /// The messages to an agent with an idempotency key.
    pub fn with_key(&self, agent: &str) -> Vec<Heard> {
        let all = self.heard();
        let kept = all.iter().flatten().filter(|heard| heard.agent == agent && heard.idempotency_key.is_some());
        kept.cloned().collect()
    }

    /// Loses the next answer of an agent: it has done its work, and nobody hears of it. Ends when that has happened.
    pub fn lose_next_answer(&self, agent: &'static str) -> oneshot::Receiver<()> {
        let (lost, is_lost) = oneshot::channel();
        *self.1.lock().unwrap_or_else(PoisonError::into_inner) = Some((agent, lost));
        is_lost
    }

    fn loses(&self, agent: &str) -> Option<oneshot::Sender<()>> {
        let mut losing = self.1.lock().unwrap_or_else(PoisonError::into_inner);
        losing.take_if(|(whose, _)| *whose == agent).map(|(_, lost)| lost)
    }

    /// Forgets all, and listens no more.
    pub fn end(&self) {
        *self.heard() = None;
    }

    fn heard(&self) -> MutexGuard<'_, Option<Vec<Heard>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// The claims, as anyone can read them who has the token.
    pub fn claims(&self) -> anyhow::Result<Map<String, Value>> {
        claims(&self.token)
    }
}

/// The claims of a token, unverified: for showing them.
pub fn claims(token: &str) -> anyhow::Result<Map<String, Value>> {
    Ok(UnverifiedToken::parse(token)?.claims().as_map().clone())
}

async fn listen(State((wiretap, agent)): State<(Wiretap, &'static str)>, request: Request, next: Next) -> Response {
    if request.method() == Method::POST
        && let Some(heard) = &mut *wiretap.heard()
    {
        let headers = request.headers();
        let authorization = text(headers, AUTHORIZATION.as_str()).unwrap_or_default();
        heard.push(Heard {
            agent,
            token: authorization.split_once(' ').map(|(_scheme, token)| token.to_owned()).unwrap_or_default(),
            proof: text(headers, "dpop"),
            mcp_session: text(headers, "mcp-session-id"),
            idempotency_key: text(headers, IDEMPOTENCY_KEY.as_str()),
            tenant: text(headers, X_TENANT_ID.as_str()),
            fallback: text(headers, X_DELEGATION_FALLBACK.as_str()),
        });
    }
    let answer = next.run(request).await;
    if let Some(lost) = wiretap.loses(agent) {
        let _nobody_waits = lost.send(());
        std::future::pending::<()>().await;
    }
    answer
}

fn text(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}
