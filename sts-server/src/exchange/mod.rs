//! The order of the steps of an exchange.
//!
//! What lives here: the order of the steps. What must never: a step itself, which has a module of
//! its own that knows no other step; and state, which is in `service`. A new endpoint that decides
//! is a file here. It authenticates with [`client_auth::authenticate`], like all others.

mod actor;
mod approval;
mod claimed;
mod commit;
mod comparison;
mod decide;
mod deferral;
mod describe;
mod explain;
mod introspect;
mod lineage;
mod refusal;
mod request;
mod revoke;

use std::net::IpAddr;

use http::HeaderMap;
use sts_protocol::{Form, TokenResponse, TokenType, parameter};

pub use approval::APPROVALS_PATH;
pub use claimed::{Claimed, claimed_client};
pub use comparison::{ComparedClaim, TokenComparison, protection, relative};
pub use decide::{ApproverCall, ApproverRefusal, decide_approval, show_approval};
pub use explain::{Asker, Explained, Explanation, SUPPOSED, StepReport, Supposition, explain, explain_authentication};
pub use introspect::introspect;
pub use refusal::{AwaitedApproval, DeferredAnswer, OUTAGE_RETRY, Refusal, RevokeError};
pub use request::{ExchangeRequest, Grant, RequestError, TokenRequest};
pub use revoke::{Revocation, revoke};

use crate::client_auth::{self, AuthenticatedAgent, ClientCertificate, ClientContext, ProofEndpoint};
use crate::mint::{self, Minted};
use crate::policy::{self, Judgement, PolicyError, RequiredApproval};
use crate::record::{Event, EventKind, SingleUse, Standing};
use crate::service::{Sts, View};
use crate::telemetry::{GrantKind, Step, Trail};
use crate::verify;
use actor::check_actor_token;
use approval::request_approval;
use commit::{issue, refuse, spend};
use deferral::Poll;
use describe::{
    describe_call, describe_client, describe_duration, describe_request, describe_ruling, describe_subject,
};
use lineage::check_lineage;

/// The maximum number of decisions on a request while registry or keys keep changing before the
/// commit.
const ATTEMPTS: usize = 4;
/// The maximum length of a `grant_type` in an audit event, in characters.
const GRANT_CHARS: usize = 64;

/// A request to an endpoint that authenticates. It has no `Debug`, because headers and body hold
/// secrets.
#[derive(Clone, Copy)]
pub struct Call<'a> {
    /// The headers of the request.
    pub headers: &'a HeaderMap,
    /// The body, whose size and content type have been checked.
    pub body: &'a [u8],
    /// The correlation id, which links the requests that belong to one user request.
    pub correlation_id: &'a str,
    /// The address that sent the request.
    pub source: IpAddr,
    /// The certificate of the client, whose chain has been verified.
    pub certificate: Option<&'a ClientCertificate>,
    /// The recorder of the duration of each step.
    pub trail: &'a Trail,
}

impl<'a> Call<'a> {
    /// Returns the context of client authentication for this request.
    fn client_context<'b>(&self, view: &'b View<'_>) -> ClientContext<'b>
    where
        'a: 'b,
    {
        ClientContext { certificate: self.certificate, ..view.client_context() }
    }
}

/// A decision, not yet recorded.
enum Decision {
    Issue(Box<Issue>),
    /// A person must approve the token first.
    RequireApproval(Box<RequiredApproval>),
    /// Another server has added the approval that a poll waits for. Read it, and decide again.
    ReadApprovals,
}

/// A decision to issue.
struct Issue {
    minted: Minted,
    standings: Vec<Standing>,
    /// The approval that the decision was made under.
    approval: Option<String>,
    /// The deferral code that the decision redeems.
    redeems: Option<SingleUse>,
    issued_token_type: TokenType,
}

/// Answers a request to the token endpoint.
///
/// # Errors
/// [`Refusal`] names the reason: a refusal, or an outage.
pub async fn token(sts: &Sts, call: &Call<'_>) -> Result<TokenResponse, Refusal> {
    let mut spent = Spent::default();
    for _ in 0..ATTEMPTS {
        if let Some(response) = attempt(sts, call, &mut spent).await? {
            return Ok(response);
        }
        // Registry or keys have changed since the decision. This request itself has spent its
        // single-use values.
        spent.of_client = true;
        sts.refresh().await?;
    }
    Err(Refusal::Outdated)
}

/// The single-use values that former attempts of the request have spent.
#[derive(Default)]
struct Spent {
    /// Those of the client: its assertion and its proof.
    of_client: bool,
    /// The deferral code, which only a decision to issue spends.
    code: bool,
    /// The poll, of those that a code has in a minute.
    poll: bool,
}

/// Makes one decision. Returns `None` if registry or keys changed before the decision was
/// committed.
async fn attempt(sts: &Sts, call: &Call<'_>, spent: &mut Spent) -> Result<Option<TokenResponse>, Refusal> {
    let view = sts.latest_view().await;
    let mut event = describe_call(EventKind::TokenIssued, call, view.now);
    let mut client = None;
    let decided = decide(&view, call, spent, &mut event, &mut client).await;
    let single_use =
        client.as_ref().filter(|_| !spent.of_client).map_or(&[][..], AuthenticatedAgent::single_use).to_vec();
    // 8. Record, and only then 9. answer.
    call.trail.enter(Step::Record);
    describe_duration(&mut event, call.trail);
    match decided {
        Ok(Decision::Issue(decided)) => {
            let redeems = decided.redeems.clone().filter(|_| !spent.code);
            spent.code |= redeems.is_some();
            let single_use = single_use.into_iter().chain(redeems).collect();
            issue(&view, call, *decided, event, single_use).await
        }
        Ok(Decision::RequireApproval(required)) => {
            let Some(client) = &client else { return Ok(None) };
            // Boxed, because this rare path would enlarge each request.
            match Box::pin(request_approval(&view, call, *required, event, (client, single_use))).await? {
                Some(refusal) => Err(refusal),
                None => Ok(None),
            }
        }
        Ok(Decision::ReadApprovals) => {
            if let Some(client) = client.as_ref().filter(|_| !single_use.is_empty()) {
                spend(&view, client).await?;
            }
            Ok(None)
        }
        // A poll that waits changes nothing, and is no event.
        Err(refusal @ (Refusal::StillPending | Refusal::PolledTooFast)) => {
            if let Some(client) = client.as_ref().filter(|_| !single_use.is_empty()) {
                spend(&view, client).await?;
            }
            Err(refusal)
        }
        // A refusal before the client is known is counted, not stored.
        Err(refusal) if client.is_none() => Err(refusal),
        Err(refusal) => Err(refuse(&view, call, refusal, event, single_use).await),
    }
}

/// Runs steps 1 to 7, up to the signed token. Writes the facts found so far into `event` and
/// `known`.
async fn decide(
    view: &View<'_>,
    call: &Call<'_>,
    spent: &mut Spent,
    event: &mut Event,
    known: &mut Option<AuthenticatedAgent>,
) -> Result<Decision, Refusal> {
    let our_issuer = view.sts.issuer();
    // 1. Form.
    let form = Form::parse(call.body)?;
    call.trail.is_of(grant_kind(form.get(parameter::GRANT_TYPE)));
    event.grant = form.get(parameter::GRANT_TYPE).map(|grant| grant.chars().take(GRANT_CHARS).collect());

    // 2. Client authentication: identifies the agent that makes the request, and the key that it proves to hold.
    call.trail.enter(Step::ClientAuth);
    let client = client_auth::authenticate(&call.client_context(view), call.source, call.headers, &form).await?;
    describe_client(event, &client);
    let client = known.insert(client);
    client.prove(&call.client_context(view), call.headers, ProofEndpoint::Token)?;

    // 3. Request: target, scope, token types.
    call.trail.enter(Step::Request);
    let poll = deferral::poll(view, &form, client)?;
    if let Some(poll) = &poll {
        if !std::mem::replace(&mut spent.poll, true) {
            deferral::count_poll(view, &form)?;
        }
        if poll.still_waits(view) {
            return Err(Refusal::StillPending);
        }
    }
    let deferred = poll.map(Poll::request).transpose()?;
    let (form, headers) =
        deferred.as_ref().map_or((&form, call.headers), |deferred| (&deferred.form, &deferred.headers));
    let request = TokenRequest::read(form, headers, &view.snapshot.registry, client.agent())?;
    describe_request(event, &request);
    let (permit, standing) = match &request.grant {
        Grant::TokenExchange(exchange) => {
            // 4. Subject: the user on whose behalf the agent acts.
            call.trail.enter(Step::Subject);
            let (token, declared) = (exchange.subject_token, exchange.subject_token_type);
            let verified = verify::subject(&view.verify_context(), token, declared, client.agent()).await?;
            let (subject, mut standing) = (verified.subject, verified.standing);
            describe_subject(event, subject.subject(), our_issuer);
            check_lineage(view, &mut standing).await?;

            // 5. Actor and chain: the client is the current actor, in front of the chain so far.
            call.trail.enter(Step::Actor);
            check_actor_token(view, exchange, client).await?;
            let chain = policy::extend(subject.subject(), client.agent(), our_issuer, view.sts.limits.chain_depth)?;

            // 6. Policy: the rules.
            call.trail.enter(Step::Policy);
            match policy::permit(&request.question(view, client, &chain), &subject)? {
                Judgement::Allowed(permit) => (permit, Some(standing)),
                Judgement::ApprovalRequired(required) => {
                    describe_ruling(event, &required.ruling, our_issuer);
                    return match (&deferred, &required.pending) {
                        (None, _) => Ok(Decision::RequireApproval(required)),
                        (Some(_), Some(_)) => Err(Refusal::StillPending),
                        (Some(poll), None) if view.snapshot.approvals.get(&poll.approval).is_none() => {
                            Ok(Decision::ReadApprovals)
                        }
                        // It was withdrawn, or has ended: a poll asks for no other.
                        (Some(_), None) => Err(PolicyError::ApprovalDenied(required.content.by).into()),
                    };
                }
            }
        }
        Grant::ClientCredentials => {
            // 6. Policy, for an agent on its own behalf.
            call.trail.enter(Step::Policy);
            (policy::permit_service_account(&request.service_account_question(view, client))?, None)
        }
    };
    describe_ruling(event, permit.ruling(), our_issuer);

    let approval = permit.ruling().approval.clone();

    // 7. Mint, only from a confirmed view.
    view.sts.confirm()?;
    call.trail.enter(Step::Mint);
    let minted = mint::mint(&view.mint_context(), permit)?;
    // A token that a revocation would cover is not issued: the clock skew that revocations allow
    // for reaches past their moment.
    let own = || verify::own_standing(minted.claims());
    let revocations = &view.snapshot.revocations;
    if !revocations.is_empty()
        && let Some(kind) = revocations.refuse(&own())
    {
        return Err(Refusal::WouldBeRevoked(kind));
    }
    let mut standings = client.standings().to_vec();
    standings.push(standing.unwrap_or_else(own));
    let issued_token_type = request.issued_token_type;
    let redeems = deferred.as_ref().map(|deferred| deferred.redeems.clone());
    Ok(Decision::Issue(Box::new(Issue { minted, standings, approval, redeems, issued_token_type })))
}

/// Returns the grant as metrics name it.
fn grant_kind(grant_type: Option<&str>) -> GrantKind {
    match grant_type {
        Some(parameter::GRANT_TOKEN_EXCHANGE | parameter::GRANT_DEFERRED) => GrantKind::TokenExchange,
        Some(parameter::GRANT_CLIENT_CREDENTIALS) => GrantKind::ClientCredentials,
        Some(_) => GrantKind::Other,
        None => GrantKind::None,
    }
}
