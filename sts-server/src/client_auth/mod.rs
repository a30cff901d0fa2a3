//! Client authentication. Each method has a file with the registered name of the method.
//!
//! What lives here: the selection of the method, and the checks that all methods share. What must
//! never: the permissions of the agent. A new method is a file here, an arm of [`authenticate`],
//! and its counterpart in the client.

mod certificate;
mod client_secret;
mod client_secret_basic;
mod dpop;
mod error;
mod new_secret;
mod private_key_jwt;
mod spiffe_x509;
mod tls_client_auth;
mod workload;

use std::net::IpAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use sts_jose::{Slot, UnverifiedToken};
use sts_protocol::{Confirmation, Form, TokenType, parameter};

pub use certificate::{CertificateError, ClientCertificate, VerifiedBy};
pub use client_secret::{SecretCheck, SecretQueue};
pub use dpop::{INTROSPECTION_PATH, ProofChecks, ProofEndpoint, ProofFailure, ProofNonces, REVOCATION_PATH};
pub use error::{AuthenticationError, ClientError, Failure};
pub use new_secret::NewSecret;
pub(crate) use workload::names_workload_issuer;
pub use workload::{IdentifiedWorkload, WorkloadError, identify as identify_workload};

use crate::declared_slot::declared_slot;
use crate::keys::TrustedKeys;
use crate::rate_limits::RateLimits;
use crate::record::{Revocations, SingleUse, Standing};
use crate::registry::{Agent, Registry};

/// The path of the token endpoint, relative to our issuer.
pub const TOKEN_PATH: &str = "/oauth2/token";

/// The data that authentication reads.
#[derive(Debug, Clone, Copy)]
pub struct ClientContext<'a> {
    /// The registry of agents and issuers.
    pub registry: &'a Registry,
    /// The keys of issuers and agents.
    pub trusted: &'a TrustedKeys,
    /// The check of client secrets.
    pub secrets: &'a SecretCheck,
    /// The rules for proofs of possession.
    pub proofs: &'a ProofChecks,
    /// The certificate of the client, which has proved to hold its key.
    pub certificate: Option<&'a ClientCertificate>,
    /// Counts requests and failed attempts.
    pub rates: &'a RateLimits,
    /// The revocations in force.
    pub revocations: &'a Revocations,
    /// Our issuer, which is the expected audience of an assertion.
    pub issuer: &'a str,
    /// The maximum length of a token, in bytes.
    pub max_token_bytes: usize,
    /// The current time.
    pub now: Timestamp,
}

/// The method by which an agent authenticated.
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
    /// An X.509-SVID on the connection (draft-ietf-oauth-spiffe-client-auth §3.2).
    SpiffeX509,
    /// RFC 8705 §2.1, with a certificate of a configured authority.
    TlsClientAuth,
    /// The `actor_token` of an otherwise unauthenticated exchange.
    WorkloadActorToken,
    /// Supposed by an operator's explain request. No agent has authenticated, and no token can be
    /// issued.
    Supposed,
}

/// An authenticated agent that is neither disabled nor on hold. Only this module creates this type.
#[derive(Debug, Clone)]
pub struct AuthenticatedAgent {
    agent: Arc<Agent>,
    method: Method,
    single_use: Vec<SingleUse>,
    proven: Confirmation,
    standings: Vec<Standing>,
}

impl Method {
    /// The methods that metadata lists (RFC 8414 §2).
    pub const REGISTERED: [&'static str; 3] = ["client_secret_basic", "client_secret_post", "private_key_jwt"];

    /// The method that metadata lists where clients can present certificates (RFC 8705 §2.1.1).
    pub const TLS_CLIENT_AUTH: &'static str = "tls_client_auth";

    /// Returns the name of the method in the audit log.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::WorkloadAssertion => "workload_assertion",
            Self::SpiffeJwt => "spiffe_jwt",
            Self::SpiffeX509 => "spiffe_x509",
            Self::TlsClientAuth => Self::TLS_CLIENT_AUTH,
            Self::WorkloadActorToken => "workload_actor_token",
            Self::Supposed => "supposed",
        }
    }
}

impl AuthenticatedAgent {
    /// Returns the authenticated agent.
    #[must_use]
    pub fn agent(&self) -> &Arc<Agent> {
        &self.agent
    }

    /// Returns the method of authentication.
    #[must_use]
    pub fn method(&self) -> Method {
        self.method
    }

    /// Returns the single-use values that must be recorded before the authentication is valid.
    #[must_use]
    pub fn single_use(&self) -> &[SingleUse] {
        &self.single_use
    }

    /// Returns the keys that the agent has proven to hold in this request.
    #[must_use]
    pub fn proven(&self) -> &Confirmation {
        &self.proven
    }

    /// Supposes that the agent has proven to hold these keys, for `explain`.
    #[must_use]
    pub fn supposed_to_hold(self, proven: Confirmation) -> Self {
        Self { proven, ..self }
    }

    /// Returns the standing of each token that the agent presented: its client assertion, its
    /// workload token, and an additional actor token. None of them is revoked in the snapshot.
    /// Empty for a secret, because the standing of the decision names the agent.
    #[must_use]
    pub fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// Adds an actor token that the agent presented in addition to its own authentication.
    pub fn presents(&mut self, actor_token: Standing) {
        self.standings.push(actor_token);
    }

    /// Returns true if a `client_id` is that of the agent. A SPIFFE workload may name its SPIFFE ID instead.
    fn is_named(&self, client_id: &str) -> bool {
        let is_spiffe = matches!(self.method, Method::SpiffeJwt | Method::SpiffeX509);
        client_id == self.agent.id || (is_spiffe && self.standings.iter().any(|standing| standing.sub == client_id))
    }

    fn by_secret(agent: Arc<Agent>, method: Method) -> Self {
        Self { agent, method, single_use: Vec::new(), proven: Confirmation::default(), standings: Vec::new() }
    }

    fn by_workload(workload: IdentifiedWorkload, method: Method) -> Self {
        Self { standings: vec![workload.standing], ..Self::by_secret(workload.agent, method) }
    }
}

impl<'a> ClientContext<'a> {
    /// Returns the agent with this id, unless it is disabled or on hold.
    fn agent(&self, id: &str) -> Option<&'a Arc<Agent>> {
        in_service(self.registry, self.revocations, id).ok()
    }
}

/// Returns the agent with this id, unless it is disabled or on hold.
fn in_service<'a>(registry: &'a Registry, revocations: &Revocations, id: &str) -> Result<&'a Arc<Agent>, Failure> {
    let agent = registry.agent(id).ok_or(Failure::UnknownAgent)?;
    if agent.disabled || revocations.holds_agent(&agent.id) {
        return Err(Failure::DisabledAgent);
    }
    Ok(agent)
}

/// Supposes an agent, for `explain`. An operator with access to the database need not authenticate
/// as each agent.
///
/// # Errors
/// [`Failure`] if the agent cannot authenticate: it is unknown, disabled or on hold, or has no
/// credentials.
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
                let attempts = attempts(context.registry, headers, form);
                context.rates.failed_attempts(source, claimed.as_deref(), attempts)?;
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
    let mut client = match presented(context.certificate, headers, form)? {
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
            let identified = workload::identify(context, svid, Slot::JwtSvid).await;
            AuthenticatedAgent::by_workload(identified.map_err(AuthenticationError::assertion)?, Method::SpiffeJwt)
        }
        Presented::Certificate(id, certificate) => by_certificate(context, id, certificate).await?,
        Presented::ActorToken(token, token_type) => by_actor_token(context, token, token_type).await?,
    };
    if form.get(parameter::CLIENT_ID).is_some_and(|id| !client.is_named(id)) {
        return Err(AuthenticationError::ClientIdMismatch);
    }
    if let Some(certificate) = context.certificate.filter(|certificate| certificate.is_valid(context.now))
        && binds_to_certificate(context, &client, certificate).await?
    {
        client.proven.x5t_s256 = Some(certificate.thumbprint().to_owned());
    }
    Ok(client)
}

/// Authenticates by a name of the agent's entry, or as a workload of the trust domain that the certificate names.
async fn by_certificate(
    context: &ClientContext<'_>,
    client_id: &str,
    certificate: &ClientCertificate,
) -> Result<AuthenticatedAgent, AuthenticationError> {
    let auth = context.registry.agent(client_id).and_then(|agent| agent.auth.as_ref());
    let is_by_name = auth.is_some_and(|auth| auth.certificate_names().next().is_some()) && certificate.is_verified();
    if !is_by_name && spiffe_x509::is_of_trust_domain(context, certificate) {
        let identified = spiffe_x509::identify(context, certificate).await;
        let workload = identified.map_err(AuthenticationError::assertion)?;
        return Ok(AuthenticatedAgent::by_workload(workload, Method::SpiffeX509));
    }
    let agent = tls_client_auth::authenticate(context, client_id, certificate)?;
    Ok(AuthenticatedAgent::by_secret(agent, Method::TlsClientAuth))
}

/// Returns true if the tokens of a client are bound to its certificate.
async fn binds_to_certificate(
    context: &ClientContext<'_>,
    client: &AuthenticatedAgent,
    certificate: &ClientCertificate,
) -> Result<bool, AuthenticationError> {
    match client.method {
        Method::TlsClientAuth | Method::SpiffeX509 => return Ok(true),
        _ if !client.agent.tls_client_certificate_bound_access_tokens => return Ok(false),
        _ if certificate.is_verified() => return Ok(true),
        _ => {}
    }
    match spiffe_x509::believe(context, certificate).await {
        Ok(()) => Ok(true),
        Err(WorkloadError::Trust(trust)) if trust.is_outage() => Err(AuthenticationError::Unavailable(trust)),
        Err(_) => Ok(false),
    }
}

/// Returns the agent id that a request claims. Nothing is verified. Use it only to count failures
/// and for the log.
#[must_use]
pub fn claimed_id(registry: &Registry, headers: &HeaderMap, form: &Form) -> Option<String> {
    let by_header = || {
        let ids = client_secret_basic::decode(headers.get(AUTHORIZATION)?).ok()?.into_iter().filter_map(|pair| pair.id);
        // A header may mean two ids. The id that exists was meant.
        ids.reduce(|first, other| if registry.agent(&first).is_some() { first } else { other })
    };
    let by_assertion = || {
        let token = UnverifiedToken::parse(form.get(parameter::CLIENT_ASSERTION)?).ok()?;
        token.claims().string("sub").ok().flatten().map(str::to_owned)
    };
    form.get(parameter::CLIENT_ID).map(str::to_owned).or_else(by_header).or_else(by_assertion)
}

/// The number of attempts that a request with failed credentials counts as: one, or one for each argon2 computation that its secret cost.
/// A Basic header may mean two secrets, and an agent may have two hashes.
fn attempts(registry: &Registry, headers: &HeaderMap, form: &Form) -> usize {
    // A certificate costs nothing to compare, so that it need not be known here.
    match presented(None, headers, form) {
        Ok(Presented::Basic(header)) => {
            client_secret_basic::decode(header).map_or(1, |presented| client_secret::cost(registry, &presented))
        }
        Ok(Presented::Post(secret)) => {
            client_secret::cost(registry, &[client_secret::Presented { id: None, secret: secret.into() }])
        }
        Ok(Presented::Assertion(_) | Presented::Svid(_) | Presented::Certificate(..) | Presented::ActorToken(..))
        | Err(_) => 1,
    }
}

/// The one method that a request uses.
enum Presented<'a> {
    Basic(&'a HeaderValue),
    Post(&'a str),
    Assertion(&'a str),
    Svid(&'a str),
    /// The `client_id` of a request with a certificate and no other credential.
    Certificate(&'a str, &'a ClientCertificate),
    ActorToken(&'a str, TokenType),
}

fn presented<'a>(
    certificate: Option<&'a ClientCertificate>,
    headers: &'a HeaderMap,
    form: &'a Form,
) -> Result<Presented<'a>, AuthenticationError> {
    let mut authorization = headers.get_all(AUTHORIZATION).iter();
    let authorization = [authorization.next(), authorization.next()];
    let secret = form.get(parameter::CLIENT_SECRET);
    let assertion = (form.get(parameter::CLIENT_ASSERTION), form.get(parameter::CLIENT_ASSERTION_TYPE));
    match (authorization, secret, assertion) {
        ([None, _], None, (None, None)) => match (certificate, form.get(parameter::CLIENT_ID)) {
            (Some(certificate), Some(id)) => Ok(Presented::Certificate(id, certificate)),
            (_, _) => by_itself(form),
        },
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

/// Returns the workload token in `actor_token`, which is the credential of a request without client
/// authentication.
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
        let identified = workload::identify(context, assertion, Slot::ClientAssertion).await;
        let workload = identified.map_err(AuthenticationError::assertion)?;
        return Ok(AuthenticatedAgent::by_workload(workload, Method::WorkloadAssertion));
    }
    // The issuer is no agent. The token may be a workload's, but no entry names its issuer.
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
    let identified = workload::identify(context, token, declared_slot(token_type)).await;
    let workload = identified.map_err(AuthenticationError::actor_token)?;
    Ok(AuthenticatedAgent::by_workload(workload, Method::WorkloadActorToken))
}
