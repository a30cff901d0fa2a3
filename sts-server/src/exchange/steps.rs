//! What each step is given.

use std::net::IpAddr;

use http::header;
use sts_protocol::Form;

use super::service::View;
use super::{Call, ExchangeRequest, Refusal, Request, Sts};
use crate::client_auth::{self, AuthenticatedAgent, Method};
use crate::mint;
use crate::policy::{self, Chain, PolicyError, Question, ServiceAccountQuestion, Subject, VerifiedSubject};
use crate::record::cut;
use crate::registry::Agent;
use crate::verify;

impl Sts {
    /// Before step 1, for every endpoint: whether this source may ask once more.
    ///
    /// # Errors
    /// [`Refusal::SourceRate`].
    pub fn admit(&self, source: IpAddr) -> Result<(), Refusal> {
        match self.rates.asked_from(source) {
            Some(retry_after) => Err(Refusal::SourceRate { retry_after }),
            None => Ok(()),
        }
    }

    /// Step 2, for every endpoint: the agent that is asking. Failures are counted against their source, and requests against the agent.
    /// A source that has had its failed attempts waits for its turn before anything is compared.
    ///
    /// # Errors
    /// [`Refusal::Client`], or [`Refusal::TooManyAttempts`] in its place; [`Refusal::ClientRate`], which is counted and not stored, as
    /// whatever load alone brings about: the database is what the limit spares.
    pub(super) async fn authenticate(
        &self,
        view: &View,
        call: &Call<'_>,
        form: &Form,
    ) -> Result<AuthenticatedAgent, Refusal> {
        if let Some(retry_after) = self.attempts.wait(call.source) {
            return Err(Refusal::TooManyAttempts { retry_after });
        }
        let authorization: Vec<_> = call.headers.get_all(header::AUTHORIZATION).iter().collect();
        let context = self.client_context(view);
        let failed = match client_auth::authenticate(&context, &authorization, form).await {
            Ok(client) => {
                return match self.rates.asked_by(client.agent().entry_id()) {
                    Some(retry_after) => Err(Refusal::ClientRate { retry_after }),
                    None => Ok(client),
                };
            }
            Err(error) => error,
        };
        if !failed.is_failed_attempt() {
            return Err(Refusal::Client(failed));
        }
        let claimed = client_auth::claimed_id(context.registry, &authorization, form);
        let attempts = client_auth::attempts(context.registry, &authorization, form);
        match self.attempts.failed(call.source, claimed.as_deref(), attempts) {
            Some(retry_after) => Err(Refusal::TooManyAttempts { retry_after }),
            None => Err(Refusal::Client(failed)),
        }
    }

    /// The agent that a request claims to be of, for the log, at most 256 characters. Nothing is verified.
    #[must_use]
    pub fn claimed_client(&self, call: &Call<'_>) -> Option<String> {
        let authorization: Vec<_> = call.headers.get_all(header::AUTHORIZATION).iter().collect();
        let form = Form::parse(call.body).ok()?;
        let claimed = client_auth::claimed_id(&self.snapshot().registry, &authorization, &form)?;
        Some(cut(&claimed).into_owned())
    }

    /// Step 2: what authenticating reads.
    pub(super) fn client_context<'a>(&'a self, view: &'a View) -> client_auth::Context<'a> {
        client_auth::Context {
            registry: &view.snapshot.registry,
            trusted: &view.snapshot.trusted,
            secrets: &self.secrets,
            revocations: &view.snapshot.revocations,
            issuer: &self.issuer,
            max_token_bytes: self.limits.max_token_bytes,
            now: view.now,
        }
    }

    /// Step 4: what verifying reads.
    pub(super) fn verify_context<'a>(&'a self, view: &'a View) -> verify::Context<'a> {
        view.snapshot.verify_context(&self.issuer, self.limits.max_token_bytes, view.now)
    }

    /// Step 4: on whose behalf?
    pub(super) async fn verify_subject(
        &self,
        view: &View,
        exchange: &ExchangeRequest<'_>,
        client: &AuthenticatedAgent,
    ) -> Result<VerifiedSubject, Refusal> {
        let context = self.verify_context(view);
        let subject = verify::subject(&context, exchange.subject_token, exchange.subject_token_type, client.agent());
        Ok(subject.await?)
    }

    /// Step 5: an actor token, when sent, must be of the agent that authenticated.
    pub(super) async fn check_actor_token(
        &self,
        view: &View,
        exchange: &ExchangeRequest<'_>,
        client: &mut AuthenticatedAgent,
    ) -> Result<(), Refusal> {
        let Some((token, token_type)) = exchange.actor_token else { return Ok(()) };
        if client.method() == Method::WorkloadActorToken {
            // The actor token is what authenticated the client.
            return Ok(());
        }
        let context = self.client_context(view);
        let identified = client_auth::identify_workload(&context, token, token_type.allowed_typ()).await;
        let actor = identified.map_err(Refusal::ActorToken)?;
        if actor.agent.id != client.agent().id {
            return Err(Refusal::ActorTokenMismatch);
        }
        client.presents(actor.standing);
        Ok(())
    }

    /// Step 5: the chain grows by the client.
    pub(super) fn extend_chain(&self, subject: &Subject, client: &AuthenticatedAgent) -> Result<Chain, PolicyError> {
        policy::extend(subject, client.agent(), &self.issuer, self.limits.chain_depth)
    }

    /// Step 6: what the rules of an exchange are asked.
    ///
    /// # Errors
    /// [`PolicyError::TargetDisabled`] of a target that is on hold.
    pub(super) fn question<'a>(
        &self,
        view: &'a View,
        request: &'a Request<'_>,
        client: &'a AuthenticatedAgent,
        chain: &'a Chain,
    ) -> Result<Question<'a>, PolicyError> {
        check_not_held(view, &request.target)?;
        Ok(Question {
            registry: &view.snapshot.registry,
            actor: client.agent(),
            target: &request.target,
            chain,
            scope: request.scope.as_ref(),
            tenant_header: request.tenant_header.as_ref(),
            max_ttl: self.limits.max_ttl,
            now: view.now,
        })
    }

    /// Step 6: what the rules of a service account are asked.
    ///
    /// # Errors
    /// [`PolicyError::TargetDisabled`] of a target that is on hold.
    pub(super) fn service_account_question<'a>(
        &self,
        view: &'a View,
        request: &'a Request<'_>,
        client: &'a AuthenticatedAgent,
    ) -> Result<ServiceAccountQuestion<'a>, PolicyError> {
        check_not_held(view, &request.target)?;
        let forwarded = client.agent().forward_tenants.iter();
        Ok(ServiceAccountQuestion {
            registry: &view.snapshot.registry,
            actor: client.agent(),
            held_tenants: forwarded.filter(|tenant| view.snapshot.revocations.holds_tenant(tenant.as_str())).collect(),
            target: &request.target,
            scope: request.scope.as_ref(),
            tenant_header: request.tenant_header.as_ref(),
            max_ttl: self.limits.max_ttl,
            now: view.now,
        })
    }

    /// Step 7: what minting takes.
    pub(super) fn mint_context<'a>(&'a self, view: &'a View) -> mint::Context<'a> {
        mint::Context { ring: &view.snapshot.ring, issuer: &self.issuer, now: view.now, entropy: &*self.entropy }
    }
}

/// A target on hold is refused as a disabled one is.
fn check_not_held(view: &View, target: &Agent) -> Result<(), PolicyError> {
    if view.snapshot.revocations.holds_agent(&target.id) {
        return Err(PolicyError::TargetDisabled(target.id.clone()));
    }
    Ok(())
}
