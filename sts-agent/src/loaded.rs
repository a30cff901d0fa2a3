//! One version of the agent's file: a verifier and a propagator.

use std::sync::Arc;

use ::http::HeaderMap;
use ::http::request::Parts;
use sts_client::dedup::DedupStore;
use sts_client::inbound::Refusal;
use sts_client::{BuildError, CallContext, Caller, Clock, Entropy, Propagator, StartError, Verifier};
use thiserror::Error;

use crate::contexts::{self, CONTEXT, Contexts};
use crate::header_pairs::{self, HeaderError, HeaderPairs};

/// The clock and the entropy of the process.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// The source of randomness.
    pub entropy: Arc<dyn Entropy>,
}

/// The agent's file cannot be used.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The file is wrong, or a file that it names.
    #[error("the agent's file cannot be used")]
    File(#[from] BuildError),
    /// The agent's own tokens cannot be had.
    #[error("the agent cannot start")]
    Start(#[from] StartError),
}

/// The reasons why a bound token is refused without its request.
const NEEDS_REQUEST: [&str; 2] = ["bound", "proof_without_request"];

/// The two halves of sts-client, from one version of the file.
#[derive(Debug)]
pub(crate) struct Loaded {
    verifier: Option<Verifier>,
    propagator: Propagator,
    contexts: Contexts,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// The caller is not known.
#[derive(Debug, Error)]
pub(crate) enum CallerError {
    #[error("the agent's file has no table [inbound], so no caller can be verified")]
    NoInbound,
    #[error("a header cannot be read")]
    Header(#[from] HeaderError),
    #[error("the caller is refused")]
    Refused(#[from] Refusal),
    #[error("the context of the request is gone, and its bound token cannot be verified again: verify a new request")]
    Lost,
}

/// The part of an inbound request that a proof of possession names.
pub(crate) enum Presented {
    /// The headers alone.
    Headers,
    /// The whole request. Its headers are replaced by those that were verified.
    Request(Box<Parts>),
}

impl Loaded {
    /// Reads the text of `agent.toml`. Fetches the tokens that a route keeps for an outage. `replays` is
    /// the store of used proofs for a file that names none.
    pub(crate) async fn read(
        text: &str,
        surroundings: &Surroundings,
        replays: Arc<dyn DedupStore>,
    ) -> Result<Self, LoadError> {
        let Surroundings { clock, entropy } = surroundings;
        let propagator = Propagator::from_toml(text)?.clock(Arc::clone(clock)).entropy(Arc::clone(entropy));
        let file = text.parse::<toml::Table>().unwrap_or_default();
        let verifier = match file.get("inbound") {
            Some(inbound) => {
                let builder = Verifier::from_toml(text)?.clock(Arc::clone(clock)).entropy(Arc::clone(entropy));
                let has = |key| inbound.get(key).is_some();
                let is_ours = has("public_url") && !has("replay_store_url_file");
                Some(if is_ours { builder.replays(replays) } else { builder }.build()?)
            }
            None => None,
        };
        let propagator = propagator.build().await?;
        let (clock, entropy) = (Arc::clone(clock), Arc::clone(entropy));
        Ok(Self { verifier, propagator, contexts: Contexts::new(), clock, entropy })
    }

    pub(crate) fn propagator(&self) -> &Propagator {
        &self.propagator
    }

    pub(crate) fn entropy(&self) -> &dyn Entropy {
        self.entropy.as_ref()
    }

    /// Verifies an inbound request. Returns the caller, and the headers by which [`Self::context`]
    /// finds it again.
    pub(crate) async fn verify(
        &self,
        pairs: HeaderPairs,
        presented: Presented,
    ) -> Result<(Caller, HeaderPairs), CallerError> {
        let caller = self.caller(header_pairs::read(&pairs)?, presented).await?;
        let mut inbound = pairs;
        let correlation_id = sts_client::X_CORRELATION_ID;
        inbound.retain(|[name, _]| {
            ![CONTEXT, correlation_id.clone()].iter().any(|own| name.eq_ignore_ascii_case(own.as_str()))
        });
        inbound.push([correlation_id.as_str().to_owned(), caller.correlation_id().as_str().to_owned()]);
        inbound.push([CONTEXT.as_str().to_owned(), contexts::new_id(self.entropy())]);
        self.contexts.keep(&inbound, CallContext::from(&caller), caller.expires_at());
        Ok((caller, inbound))
    }

    /// Returns the context of the headers that [`Self::verify`] gave. Verifies them again, if it is
    /// not kept any more.
    pub(crate) async fn context(&self, inbound: &HeaderPairs) -> Result<CallContext, CallerError> {
        if let Some(context) = self.contexts.find(inbound, self.clock.now()) {
            return Ok(context);
        }
        let caller = match self.caller(header_pairs::read_answered(inbound)?, Presented::Headers).await {
            Ok(caller) => caller,
            Err(CallerError::Refused(refusal))
                if was_verified(inbound) && NEEDS_REQUEST.contains(&refusal.reason()) =>
            {
                return Err(CallerError::Lost);
            }
            Err(error) => return Err(error),
        };
        let context = CallContext::from(&caller);
        self.contexts.keep(inbound, context.clone(), caller.expires_at());
        Ok(context)
    }

    async fn caller(&self, mut headers: HeaderMap, presented: Presented) -> Result<Caller, CallerError> {
        let verifier = self.verifier.as_ref().ok_or(CallerError::NoInbound)?;
        headers.remove(CONTEXT);
        Ok(match presented {
            Presented::Headers => verifier.verify(&headers).await?,
            Presented::Request(mut request) => {
                request.headers = headers;
                verifier.verify_request(&request).await?
            }
        })
    }
}

/// Returns true for headers that the answer of a verification gave.
fn was_verified(inbound: &HeaderPairs) -> bool {
    inbound.iter().any(|[name, _]| name.eq_ignore_ascii_case(CONTEXT.as_str()))
}
