//! One exchange, top to bottom.
//!
//! What lives here: the order of the steps, and what requests share while they go through them. What must never: a step itself;
//! each has a module of its own, and they do not know each other. A new endpoint that decides something is a file here; it
//! authenticates with [`Sts::authenticate`], like all others.

mod attempts;
mod describe;
mod explain;
mod introspect;
mod refusal;
mod request;
mod revoke;
mod snapshot;

use std::net::IpAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use sts_jose::{Clock, Entropy};
use sts_protocol::{Form, TokenResponse, TokenType, parameter};

pub use explain::{Explanation, Outcome, StepReport, Supposition};
pub use refusal::Refusal;
pub use request::{ExchangeRequest, Grant, Request, RequestError};
pub use revoke::{Revocation, RevokeError, revocation_row};
pub use snapshot::{Snapshot, SnapshotError};

use crate::client_auth::{self, AuthenticatedAgent, AuthenticationError, Method, SecretCheck};
use crate::config::{Config, Limits};
use crate::keys::MasterKey;
use crate::mint::{self, Minted};
use crate::policy::{self, Chain, Permit, Question, ServiceAccountQuestion, VerifiedSubject};
use crate::record::{Event, EventKind, Recorder, Standing, Submission, Verdict};
use crate::storage::{OneTimeValue, StorageError, Store, TokenReference};
use crate::verify;
use attempts::Attempts;
use describe::{describe_client, describe_request, describe_ruling, describe_subject, describe_token};

/// The service: what every request reads, and the one way to commit.
#[derive(Debug)]
pub struct Sts {
    issuer: String,
    limits: Limits,
    store: Arc<dyn Store>,
    master: Arc<MasterKey>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    snapshot: ArcSwap<Snapshot>,
    recorder: Recorder,
    secrets: SecretCheck,
    attempts: Attempts,
}

/// What the service is made of.
#[derive(Debug)]
pub struct Parts {
    /// The database, migrated.
    pub store: Arc<dyn Store>,
    /// The master key.
    pub master: Arc<MasterKey>,
    /// The present.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub entropy: Arc<dyn Entropy>,
}

/// One request to an endpoint that authenticates.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// The headers.
    pub headers: &'a HeaderMap,
    /// The body, whose size and content type have been checked.
    pub body: &'a [u8],
    /// What joins this request to others of the same user request.
    pub correlation_id: &'a str,
    /// Who sent it.
    pub source: IpAddr,
}

/// A decision to issue, not yet recorded.
struct Issue {
    minted: Minted,
    standing: Option<Standing>,
    parent: Option<TokenReference>,
    issued_token_type: TokenType,
}

impl Sts {
    /// Reads the database and starts the recorder. Keys must be there already.
    ///
    /// # Errors
    /// [`SnapshotError`] when the database's content cannot be read.
    pub async fn start(config: &Config, parts: Parts) -> Result<Self, SnapshotError> {
        let snapshot = Snapshot::load(&*parts.store, &parts.master, &parts.clock).await?;
        let recorder =
            Recorder::start(Arc::clone(&parts.store), parts.master.audit().clone(), Arc::clone(&parts.entropy));
        Ok(Self {
            issuer: config.issuer.clone(),
            limits: config.limits.clone(),
            store: parts.store,
            master: parts.master,
            clock: parts.clock,
            entropy: parts.entropy,
            snapshot: ArcSwap::from_pointee(snapshot),
            recorder,
            secrets: SecretCheck::default(),
            attempts: Attempts::new(config.limits.failed_attempts_per_minute),
        })
    }

    /// Our issuer identifier.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// A name that nobody else has, for a request that brings none.
    #[must_use]
    pub fn new_name(&self) -> String {
        mint::name(self.clock.now(), &*self.entropy)
    }

    /// What requests read now.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Reads again what has changed in the database since the present snapshot. One read when nothing has.
    ///
    /// # Errors
    /// [`SnapshotError`]; the present snapshot stays.
    pub async fn refresh(&self) -> Result<(), SnapshotError> {
        let present = self.snapshot();
        if let Some(newer) = present.refreshed(&*self.store, &self.master, &self.clock).await? {
            self.snapshot.store(Arc::new(newer));
        }
        Ok(())
    }

    /// Whether tokens can be issued: the database answers and a key is active.
    ///
    /// # Errors
    /// [`StorageError`] when the database does not answer.
    pub async fn is_ready(&self) -> Result<bool, StorageError> {
        self.store.versions().await?;
        Ok(self.snapshot().ring.is_able())
    }

    /// Answers a request to the token endpoint.
    ///
    /// # Errors
    /// [`Refusal`] says what was refused, or what is out of reach.
    pub async fn token(&self, call: &Call<'_>) -> Result<TokenResponse, Refusal> {
        let snapshot = self.snapshot();
        let mut event = Event::new(EventKind::TokenIssued, self.clock.now());
        event.correlation_id = Some(call.correlation_id.to_owned());
        event.source = Some(call.source.to_string());
        let mut client = None;
        let decided = self.decide(&snapshot, call, &mut event, &mut client).await;
        let one_time = client.as_ref().and_then(AuthenticatedAgent::one_time).cloned();
        match decided {
            Ok(issue) => self.issue(&snapshot, issue, event, one_time).await,
            // Refusals before the client is known are counted, not stored.
            Err(refusal) if client.is_none() => Err(refusal),
            Err(refusal) => Err(self.refuse(&snapshot, refusal, event, one_time).await),
        }
    }

    /// Steps 1 to 7: everything up to the signed token. What is known on the way goes into `event` and `client`.
    async fn decide(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        event: &mut Event,
        known: &mut Option<AuthenticatedAgent>,
    ) -> Result<Issue, Refusal> {
        let form = Form::parse(call.body)?;
        event.grant = form.get(parameter::GRANT_TYPE).map(|grant| grant.chars().take(64).collect());
        let client = self.authenticate(snapshot, call, &form).await?;
        describe_client(event, &client);
        let client = known.insert(client);
        let request = Request::read(&form, call.headers, &snapshot.registry, client.agent())?;
        describe_request(event, &request);
        let (permit, standing) = match &request.grant {
            Grant::TokenExchange(exchange) => {
                let subject = self.verify_subject(snapshot, exchange, client).await?;
                describe_subject(event, subject.subject());
                self.check_actor_token(snapshot, exchange, client).await?;
                let standing = verify::standing(&self.issuer, subject.subject(), client.agent());
                (self.permit(snapshot, &request, client, &subject)?, Some(standing))
            }
            Grant::ClientCredentials => {
                let question = self.service_account_question(snapshot, &request, client);
                (policy::permit_service_account(&question)?, None)
            }
        };
        describe_ruling(event, permit.ruling());
        let parent = permit.ruling().parent.clone();
        let context =
            mint::Context { ring: &snapshot.ring, issuer: &self.issuer, now: event.at, entropy: &*self.entropy };
        let minted = mint::mint(&context, permit)?;
        Ok(Issue { minted, standing, parent, issued_token_type: request.issued_token_type })
    }

    /// Step 2, for every endpoint: the agent that is asking. Failures are counted against their source.
    ///
    /// # Errors
    /// [`Refusal::Client`], or [`Refusal::TooManyAttempts`] in its place.
    async fn authenticate(
        &self,
        snapshot: &Snapshot,
        call: &Call<'_>,
        form: &Form,
    ) -> Result<AuthenticatedAgent, Refusal> {
        let authorization: Vec<_> = call.headers.get_all(header::AUTHORIZATION).iter().collect();
        let context = self.client_context(snapshot);
        let failed = match client_auth::authenticate(&context, &authorization, form).await {
            Ok(client) => return Ok(client),
            Err(error) => error,
        };
        let counts = match &failed {
            AuthenticationError::Absent | AuthenticationError::Failed(_) | AuthenticationError::ActorToken(_) => true,
            AuthenticationError::SeveralMethods
            | AuthenticationError::IncompleteAssertion
            | AuthenticationError::ActorTokenType
            | AuthenticationError::ClientIdMismatch
            | AuthenticationError::Unavailable(_)
            | AuthenticationError::Overloaded => false,
        };
        let claimed = form.get(parameter::CLIENT_ID).filter(|id| snapshot.registry.agent(id).is_some());
        match self.attempts.failed(call.source, claimed).filter(|_| counts) {
            Some(retry_after) => Err(Refusal::TooManyAttempts { retry_after }),
            None => Err(Refusal::Client(failed)),
        }
    }

    fn client_context<'a>(&'a self, snapshot: &'a Snapshot) -> client_auth::Context<'a> {
        client_auth::Context {
            registry: &snapshot.registry,
            trusted: &snapshot.trusted,
            secrets: &self.secrets,
            issuer: &self.issuer,
            now: self.clock.now(),
        }
    }

    /// Step 4: on whose behalf?
    async fn verify_subject(
        &self,
        snapshot: &Snapshot,
        exchange: &ExchangeRequest<'_>,
        client: &AuthenticatedAgent,
    ) -> Result<VerifiedSubject, Refusal> {
        let context = snapshot.verify_context(&self.issuer, self.clock.now());
        let subject = verify::subject(&context, exchange.subject_token, exchange.subject_token_type, client.agent());
        Ok(subject.await?)
    }

    /// Step 5: an actor token, when sent, must be of the agent that authenticated.
    async fn check_actor_token(
        &self,
        snapshot: &Snapshot,
        exchange: &ExchangeRequest<'_>,
        client: &AuthenticatedAgent,
    ) -> Result<(), Refusal> {
        let Some((token, token_type)) = exchange.actor_token else { return Ok(()) };
        if client.method() == Method::WorkloadActorToken {
            // The actor token is what authenticated the client.
            return Ok(());
        }
        let context = self.client_context(snapshot);
        let identified = client_auth::identify_workload(&context, token, token_type.allowed_typ()).await;
        let actor = identified.map_err(Refusal::ActorToken)?;
        if actor.id == client.agent().id { Ok(()) } else { Err(Refusal::ActorTokenMismatch) }
    }

    /// Steps 5 and 6: the chain grows by the client, and the rules are asked.
    fn permit(
        &self,
        snapshot: &Snapshot,
        request: &Request<'_>,
        client: &AuthenticatedAgent,
        subject: &VerifiedSubject,
    ) -> Result<Permit, Refusal> {
        let chain = policy::extend(subject.subject(), client.agent(), &self.issuer, self.limits.chain_depth)?;
        Ok(policy::permit(&self.question(snapshot, request, client, &chain), subject)?)
    }

    fn question<'a>(
        &self,
        snapshot: &'a Snapshot,
        request: &'a Request<'_>,
        client: &'a AuthenticatedAgent,
        chain: &'a Chain,
    ) -> Question<'a> {
        Question {
            registry: &snapshot.registry,
            actor: client.agent(),
            target: &request.target,
            chain,
            scope: request.scope.as_ref(),
            tenant_header: request.tenant_header.as_ref(),
            max_ttl: self.limits.max_ttl,
            now: self.clock.now(),
        }
    }

    fn service_account_question<'a>(
        &self,
        snapshot: &'a Snapshot,
        request: &'a Request<'_>,
        client: &'a AuthenticatedAgent,
    ) -> ServiceAccountQuestion<'a> {
        ServiceAccountQuestion {
            registry: &snapshot.registry,
            actor: client.agent(),
            target: &request.target,
            scope: request.scope.as_ref(),
            tenant_header: request.tenant_header.as_ref(),
            max_ttl: self.limits.max_ttl,
            now: self.clock.now(),
        }
    }

    /// Steps 8 and 9: commit, then answer.
    async fn issue(
        &self,
        snapshot: &Snapshot,
        issue: Issue,
        mut event: Event,
        one_time: Option<OneTimeValue>,
    ) -> Result<TokenResponse, Refusal> {
        describe_token(&mut event, issue.minted.claims());
        let submission = Submission {
            known_revocations: snapshot.revocations.version(),
            one_time,
            standing: issue.standing,
            token: Some(issue.minted.row(issue.parent)),
            event: Some(event),
        };
        match self.recorder.record(submission).await? {
            Verdict::Committed => {
                let claims = issue.minted.claims();
                Ok(TokenResponse {
                    expires_in: claims.exp - claims.iat,
                    scope: claims.scope.clone(),
                    issued_token_type: issue.issued_token_type,
                    token_type: "Bearer".to_owned(),
                    access_token: issue.minted.into_token(),
                })
            }
            Verdict::Replayed => Err(Refusal::Replayed),
            Verdict::Revoked(kind) => Err(Refusal::RevokedMeanwhile(kind)),
        }
    }

    /// Records a refusal of a known client. A refusal is answered even if it cannot be recorded, and the log says so.
    async fn refuse(
        &self,
        snapshot: &Snapshot,
        refusal: Refusal,
        event: Event,
        one_time: Option<OneTimeValue>,
    ) -> Refusal {
        let correlation_id = event.correlation_id.clone().unwrap_or_default();
        let submission = Submission {
            known_revocations: snapshot.revocations.version(),
            one_time,
            standing: None,
            token: None,
            event: Some(event.refused(refusal.reason(), refusal.detail())),
        };
        match self.recorder.record(submission).await {
            Ok(Verdict::Replayed) => Refusal::Replayed,
            Ok(Verdict::Committed | Verdict::Revoked(_)) => refusal,
            Err(error) => {
                let reason = refusal.reason();
                tracing::error!(%correlation_id, reason, %error, "a refusal could not be recorded");
                refusal
            }
        }
    }

    /// Spends the one-time value of an authentication where no decision is recorded.
    ///
    /// # Errors
    /// [`Refusal::Replayed`], or [`Refusal::Record`] when the database is out of reach.
    async fn spend(&self, snapshot: &Snapshot, client: &AuthenticatedAgent) -> Result<(), Refusal> {
        let Some(one_time) = client.one_time().cloned() else { return Ok(()) };
        let submission = Submission {
            known_revocations: snapshot.revocations.version(),
            one_time: Some(one_time),
            standing: None,
            token: None,
            event: None,
        };
        match self.recorder.record(submission).await? {
            Verdict::Replayed => Err(Refusal::Replayed),
            Verdict::Committed | Verdict::Revoked(_) => Ok(()),
        }
    }
}
