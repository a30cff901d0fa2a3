//! Which agent is asking? One file per method, named as the method is registered.
//!
//! What lives here: the choice of the method and the checks that all methods share. What must never: what the agent may do.
//! Another method is a file here, one arm of [`authenticate`], and its twin in the client.

mod client_secret;
mod client_secret_basic;
mod error;
mod new_secret;
mod private_key_jwt;
mod workload;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use sts_jose::UnverifiedToken;
use sts_protocol::{Form, TokenType, parameter};

pub use client_secret::{SecretCheck, SecretQueue};
pub use error::{AuthenticationError, ClientError, Failure};
pub use new_secret::NewSecret;
pub use private_key_jwt::ALLOWED_TYP as ASSERTION_TYP;
pub use workload::{IdentifiedWorkload, WorkloadError, identify as identify_workload};

use crate::keys::TrustedKeys;
use crate::rate_limits::RateLimits;
use crate::record::{Revocations, Standing};
use crate::registry::{Agent, Registry};
use crate::storage::OneTimeValue;

/// The `typ` that a JWT-SVID may bear (JWT-SVID §2.4).
const SVID_TYP: &[&str] = &["", "jwt", "jose"];

/// The path of the token endpoint, below our issuer.
pub const TOKEN_PATH: &str = "/oauth2/token";

/// What authenticating reads.
#[derive(Debug, Clone, Copy)]
pub struct ClientContext<'a> {
    /// The entries.
    pub registry: &'a Registry,
    /// The keys of issuers and agents.
    pub trusted: &'a TrustedKeys,
    /// Checks secrets.
    pub secrets: &'a SecretCheck,
    /// Counts requests and failed attempts.
    pub rates: &'a RateLimits,
    /// The revocations in force.
    pub revocations: &'a Revocations,
    /// Our issuer: the one audience of an assertion.
    pub issuer: &'a str,
    /// The longest token that is read.
    pub max_token_bytes: usize,
    /// The present.
    pub now: Timestamp,
}

/// How an agent authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// RFC 6749 §2.3.1, in the `Authorization` header.
    ClientSecretBasic,
    /// RFC 6749 §2.3.1, in the body.
    ClientSecretPost,
    /// RFC 7523 §2.2, signed with the agent's own key.
    PrivateKeyJwt,
    /// RFC 7523 §2.2, with a token of a workload issuer.
    WorkloadAssertion,
    /// A JWT-SVID as client assertion (draft-ietf-oauth-spiffe-client-auth §3.1).
    SpiffeJwt,
    /// The `actor_token` of an otherwise unauthenticated exchange.
    WorkloadActorToken,
    /// An operator asks what would happen; nothing was authenticated, and nothing can come of it.
    Supposed,
}

/// An agent that has authenticated and is neither disabled nor on hold. Only this module makes one.
#[derive(Debug, Clone)]
pub struct AuthenticatedAgent {
    agent: Arc<Agent>,
    method: Method,
    one_time: Option<OneTimeValue>,
    standings: Vec<Standing>,
}

impl Method {
    /// The methods that metadata lists (RFC 8414 §2).
    pub const REGISTERED: [&'static str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

    /// The name for audit.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::WorkloadAssertion => "workload_assertion",
            Self::SpiffeJwt => "spiffe_jwt",
            Self::WorkloadActorToken => "workload_actor_token",
            Self::Supposed => "supposed",
        }
    }
}

impl AuthenticatedAgent {
    /// The agent.
    #[must_use]
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// How it authenticated.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// The value that must be spent before the authentication counts.
    #[must_use]
    pub fn one_time(&self) -> Option<&OneTimeValue> {
        self.one_time.as_ref()
    }

    /// The standing of each token that the agent presented: its client assertion, its workload token, and an actor token beside them.
    /// None of them is revoked as far as the snapshot says. Empty for a secret: the decision's own standing names the agent.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Adds an actor token that the agent presented beside its own authentication.
    pub fn presents(&mut self, actor_token: Standing) {
        self.standings.push(actor_token);
    }

    fn by_secret(agent: Arc<Agent>, method: Method) -> Self {
        Self { agent, method, one_time: None, standings: Vec::new() }
    }

    fn by_workload(workload: IdentifiedWorkload, method: Method) -> Self {
        Self { agent: workload.agent, method, one_time: None, standings: vec![workload.standing] }
    }
}

impl<'a> ClientContext<'a> {
    /// The agent of this id, unless it is disabled or on hold.
    fn agent(&self, id: &str) -> Option<&'a Arc<Agent>> {
        in_service(self.registry, self.revocations, id).ok()
    }
}

/// The agent of this id, unless it is disabled or on hold.
fn in_service<'a>(registry: &'a Registry, revocations: &Revocations, id: &str) -> Result<&'a Arc<Agent>, Failure> {
    let agent = registry.agent(id).ok_or(Failure::UnknownAgent)?;
    if agent.disabled || revocations.holds_agent(&agent.id) {
        return Err(Failure::DisabledAgent);
    }
    Ok(agent)
}

/// Supposes an agent, for `explain`: an operator with the database in hand need not authenticate as each agent.
///
/// # Errors
/// [`Failure`] for an agent that cannot authenticate: it is unknown, disabled or on hold, or has no credentials.
pub fn suppose(registry: &Registry, revocations: &Revocations, id: &str) -> Result<AuthenticatedAgent, Failure> {
    let agent = registry.acting(id).ok_or(Failure::UnknownAgent)?;
    if agent.disabled || revocations.holds_agent(&agent.id) {
        return Err(Failure::DisabledAgent);
    }
    if agent.auth.is_none() {
        return Err(Failure::OnlyReceives);
    }
    Ok(AuthenticatedAgent::by_secret(agent, Method::Supposed))
}

/// Authenticates the agent that sends a request. A failed attempt counts against `source`, and a request against its agent. A source
/// that has used up its failed attempts waits for its turn before anything is compared.
///
/// # Errors
/// [`ClientError`]. One that says `Limited` is counted and not stored: the limit spares the database.
pub async fn authenticate(
    context: &ClientContext<'_>,
    source: IpAddr,
    headers: &HeaderMap,
    form: &Form,
) -> Result<AuthenticatedAgent, ClientError> {
    context.rates.admit_attempt(source)?;
    match check_credentials(context, headers, form).await {
        Ok(client) => {
            context.rates.admit_client(client.agent.entry_id())?;
            Ok(client)
        }
        Err(error) => {
            if error.is_failed_attempt() {
                let claimed = claimed_id(context.registry, headers, form);
                context.rates.failed_attempt(source, claimed.as_deref())?;
            }
            Err(error.into())
        }
    }
}

/// Checks the credentials of a request and counts nothing. A single-use value is not spent here: recording the decision does that.
///
/// # Errors
/// [`AuthenticationError`]; none of its texts tells an unknown agent from a wrong secret to the requester.
pub async fn check_credentials(
    context: &ClientContext<'_>,
    headers: &HeaderMap,
    form: &Form,
) -> Result<AuthenticatedAgent, AuthenticationError> {
    let client = match presented(headers, form)? {
        Presented::Basic(header) => {
            let agent = client_secret::authenticate(context, &client_secret_basic::decode(header)?).await?;
            AuthenticatedAgent::by_secret(agent, Method::ClientSecretBasic)
        }
        Presented::Post(secret) => {
            let id = form.get(parameter::CLIENT_ID).map(str::to_owned);
            let presented = client_secret::Presented { id, secret: secret.into() };
            let agent = client_secret::authenticate(context, &[presented]).await?;
            AuthenticatedAgent::by_secret(agent, Method::ClientSecretPost)
        }
        Presented::Assertion(assertion) => by_assertion(context, assertion).await?,
        Presented::Svid(svid) => {
            let identified = workload::identify(context, svid, SVID_TYP).await;
            AuthenticatedAgent::by_workload(identified.map_err(AuthenticationError::assertion)?, Method::SpiffeJwt)
        }
        Presented::ActorToken(token, token_type) => by_actor_token(context, token, token_type).await?,
    };
    if form.get(parameter::CLIENT_ID).is_some_and(|id| id != client.agent.id) {
        return Err(AuthenticationError::ClientIdMismatch);
    }
    Ok(client)
}

/// The agent that a request claims to be of. Nothing is verified: it serves to count failures and to write the log, and nothing else.
#[must_use]
pub fn claimed_id(registry: &Registry, headers: &HeaderMap, form: &Form) -> Option<String> {
    let by_header = || {
        let ids = client_secret_basic::decode(headers.get(AUTHORIZATION)?).ok()?.into_iter().filter_map(|pair| pair.id);
        // A header may mean two ids: the one that there is was meant.
        ids.reduce(|first, other| if registry.agent(&first).is_some() { first } else { other })
    };
    let by_assertion = || {
        let token = UnverifiedToken::parse(form.get(parameter::CLIENT_ASSERTION)?).ok()?;
        token.claims().string("sub").ok().flatten().map(str::to_owned)
    };
    form.get(parameter::CLIENT_ID).map(str::to_owned).or_else(by_header).or_else(by_assertion)
}

/// The one method that a request uses.
enum Presented<'a> {
    Basic(&'a HeaderValue),
    Post(&'a str),
    Assertion(&'a str),
    Svid(&'a str),
    ActorToken(&'a str, TokenType),
}

fn presented<'a>(headers: &'a HeaderMap, form: &'a Form) -> Result<Presented<'a>, AuthenticationError> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let authorization = [authorization.next(), authorization.next()];
    let secret = form.get(parameter::CLIENT_SECRET);
    let assertion = (form.get(parameter::CLIENT_ASSERTION), form.get(parameter::CLIENT_ASSERTION_TYPE));
    match (authorization, secret, assertion) {
        ([None, _], None, (None, None)) => by_itself(form),
        ([Some(header), None], None, (None, None)) => Ok(Presented::Basic(header)),
        ([None, _], Some(secret), (None, None)) => Ok(Presented::Post(secret)),
        ([None, _], None, (Some(assertion), Some(parameter::JWT_BEARER_ASSERTION))) => {
            Ok(Presented::Assertion(assertion))
        }
        ([None, _], None, (Some(svid), Some(parameter::JWT_SPIFFE_ASSERTION))) => Ok(Presented::Svid(svid)),
        ([None, _], None, (_, Some(other)))
            if ![parameter::JWT_BEARER_ASSERTION, parameter::JWT_SPIFFE_ASSERTION].contains(&other) =>
        {
            Err(AuthenticationError::Failed(Failure::AssertionType))
        }
        ([None, _], None, (_, _)) => Err(AuthenticationError::IncompleteAssertion),
        (_, _, _) => Err(AuthenticationError::SeveralMethods),
    }
}

/// A request without client authentication: the workload token that it sends as `actor_token` is the credential.
fn by_itself(form: &Form) -> Result<Presented<'_>, AuthenticationError> {
    let is_exchange = form.get(parameter::GRANT_TYPE) == Some(parameter::GRANT_TOKEN_EXCHANGE);
    let Some(token) = form.get(parameter::ACTOR_TOKEN).filter(|_| is_exchange) else {
        return Err(AuthenticationError::Absent);
    };
    match form.get(parameter::ACTOR_TOKEN_TYPE).and_then(TokenType::from_identifier) {
        Some(token_type @ (TokenType::Jwt | TokenType::AccessToken)) => Ok(Presented::ActorToken(token, token_type)),
        Some(TokenType::IdToken) | None => Err(AuthenticationError::ActorTokenType),
    }
}

async fn by_assertion(context: &ClientContext<'_>, assertion: &str) -> Result<AuthenticatedAgent, AuthenticationError> {
    let token = UnverifiedToken::parse_within(context.max_token_bytes, assertion);
    let token = token.map_err(|error| Failure::Assertion(error.into()))?;
    if workload::names_workload_issuer(context.registry, token.claims()) {
        let identified = workload::identify(context, assertion, private_key_jwt::ALLOWED_TYP).await;
        let workload = identified.map_err(AuthenticationError::assertion)?;
        return Ok(AuthenticatedAgent::by_workload(workload, Method::WorkloadAssertion));
    }
    // Whose issuer is no agent would be a workload's, if an entry named that issuer.
    let iss = token.claims().string("iss").ok().flatten();
    if iss.is_some_and(|iss| context.registry.agent(iss).is_none() && token.claims().string("sub") != Ok(Some(iss))) {
        return Err(AuthenticationError::assertion(WorkloadError::UnknownIssuer));
    }
    private_key_jwt::authenticate(context, token).await
}

async fn by_actor_token(
    context: &ClientContext<'_>,
    token: &str,
    token_type: TokenType,
) -> Result<AuthenticatedAgent, AuthenticationError> {
    let identified = workload::identify(context, token, token_type.allowed_typ()).await;
    let workload = identified.map_err(AuthenticationError::actor_token)?;
    Ok(AuthenticatedAgent::by_workload(workload, Method::WorkloadActorToken))
}
