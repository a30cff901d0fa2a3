//! The explanation of a request: the same steps, without minting and without a record.

use std::borrow::Cow;

use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_jose::Slot;
use sts_protocol::{AuthorizationDetail, Confirmation, Form, TokenType, parameter};
use utoipa::ToSchema;

use super::actor::check_actor_token;
use super::comparison::{Expectations, TokenComparison};
use super::describe::actors;
use super::lineage::check_lineage;
use super::{ExchangeRequest, Grant, Refusal, TokenRequest};
use crate::client_auth::{self, AuthenticatedAgent, AuthenticationError};
use crate::declared_slot::declared_slot;
use crate::mint;
use crate::policy::{self, Chain, Judgement, ParentBinding, RequiredApproval, Ruling, Subject};
use crate::service::{Snapshot, Sts, View};
use crate::verify::{self, SubjectError};

/// The value of `subject_token` for a supposed subject.
pub const SUPPOSED: &str = "supposed";

/// The suppositions that replace the proofs of a request.
#[derive(Debug)]
pub struct Supposition<'a> {
    /// The agent that makes the request.
    pub actor: Asker<'a>,
    /// The supposed subject, or the reason why such a token would be refused. If absent, the
    /// request's `subject_token` is verified as usual.
    pub subject: Option<Result<Subject, SubjectError>>,
    /// The keys that the agent proves to hold.
    pub proven: Confirmation,
}

/// The agent that makes the request.
#[derive(Debug, Clone, Copy)]
pub enum Asker<'a> {
    /// The agent with this id, without authentication.
    Supposed(&'a str),
    /// The agent that the credentials in the body authenticate. They are verified but not spent.
    Authenticated,
}

/// The steps of a request, up to the step that refused it.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Explanation {
    /// The completed steps, in order.
    pub steps: Vec<StepReport>,
    /// The tokens of the request, each compared with its expected values.
    pub tokens: Vec<TokenComparison>,
    /// The outcome of the request.
    pub outcome: Explained,
}

/// The decision of a step.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct StepReport {
    /// The name of the step.
    pub step: Cow<'static, str>,
    /// The decision in words.
    pub decision: String,
}

/// The outcome of a request.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Outcome)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Explained {
    /// A token with this content would be issued.
    Allowed {
        /// The delegation that allows the token: `actor->target`, with `#2` and so on for further
        /// delegations of the pair.
        delegation: String,
        /// The `sub` claim.
        sub: String,
        /// The `aud` claim.
        audience: String,
        /// The `scope` claim.
        scope: String,
        /// The `authorization_details` claim.
        #[schema(value_type = Vec<Object>)]
        authorization_details: Vec<AuthorizationDetail>,
        /// The `roles` claim.
        roles: Vec<String>,
        /// The `tenant_id` claim.
        tenant_id: Option<String>,
        /// The actors, the current actor first.
        actors: Vec<String>,
        /// The keys that the token is bound to: `dpop`, `certificate`.
        bound_to: Vec<Cow<'static, str>>,
        /// The `exp` claim.
        #[schema(value_type = String, format = DateTime)]
        expires_at: Timestamp,
    },
    /// The credentials authenticate an agent. The request contained nothing else.
    Authenticated {
        /// The id of the agent.
        client_id: String,
        /// The method of authentication.
        method: Cow<'static, str>,
    },
    /// A person must approve the token first.
    ApprovalRequired {
        /// The delegation whose rule asks for the approval.
        delegation: String,
        /// The person who decides: `user` or `operator`.
        by: Cow<'static, str>,
        /// The pending approval of an equal request.
        approval: Option<String>,
        /// The user, as minted tokens name it.
        sub: String,
        /// The agent that the token would be for.
        target: String,
        /// The `scope` claim.
        scope: String,
        /// The `authorization_details` claim.
        #[schema(value_type = Vec<Object>)]
        authorization_details: Vec<AuthorizationDetail>,
        /// The `tenant_id` claim.
        tenant_id: Option<String>,
    },
    /// The request would be refused.
    Refused {
        /// The OAuth error code.
        error: Cow<'static, str>,
        /// The stable name of the rule.
        reason: Cow<'static, str>,
        /// The cause in words.
        detail: String,
    },
}

#[derive(Default)]
struct Steps(Vec<StepReport>);

impl Steps {
    fn add(&mut self, step: &'static str, decision: String) {
        self.0.push(StepReport { step: step.into(), decision });
    }
}

/// Runs the steps of a request with this body and these headers. May fetch key sets of outside
/// issuers. Writes nothing, and spends no single-use value.
pub async fn explain(sts: &Sts, body: &[u8], headers: &HeaderMap, supposition: Supposition<'_>) -> Explanation {
    let view = sts.view();
    let mut steps = Steps::default();
    let asker = supposition.actor;
    let decided = explain_steps(&view, body, headers, supposition, &mut steps).await;
    let outcome = match decided {
        Ok(Judgement::Allowed(ruling)) => allowed(&ruling, sts.issuer()),
        Ok(Judgement::ApprovalRequired(required)) => approval_required(*required),
        Err(refusal) => refused(refusal),
    };
    Explanation { steps: steps.0, tokens: compare_tokens(&view, body, asker), outcome }
}

/// Runs client authentication alone, with the credentials in the body.
pub async fn explain_authentication(sts: &Sts, body: &[u8]) -> Explanation {
    let view = sts.view();
    let mut steps = Steps::default();
    let outcome = match explain_client(&view, body, Asker::Authenticated, &mut steps).await {
        Ok((_, client)) => {
            Explained::Authenticated { client_id: client.agent().id.clone(), method: client.method().as_str().into() }
        }
        Err(refusal) => refused(refusal),
    };
    let tokens = compare_tokens(&view, body, Asker::Authenticated);
    Explanation { steps: steps.0, tokens, outcome }
}

/// Runs steps 1 and 2.
async fn explain_client(
    view: &View<'_>,
    body: &[u8],
    asker: Asker<'_>,
    steps: &mut Steps,
) -> Result<(Form, AuthenticatedAgent), Refusal> {
    let form = Form::parse(body)?;
    steps.add("form", "the body is a well-formed form".to_owned());
    let Snapshot { registry, revocations, .. } = &*view.snapshot;
    let client = match asker {
        Asker::Supposed(id) => client_auth::suppose(registry, revocations, id).map_err(AuthenticationError::Failed)?,
        Asker::Authenticated => {
            client_auth::check_credentials(&view.client_context(), &HeaderMap::new(), &form).await?
        }
    };
    let id = &client.agent().id;
    steps.add(
        "client authentication",
        match asker {
            Asker::Supposed(_) => format!("supposed to be {id:?}"),
            Asker::Authenticated => format!("{id:?}, by {}", client.method().as_str()),
        },
    );
    Ok((form, client))
}

/// Compares the tokens of the request with their expected values.
fn compare_tokens(view: &View<'_>, body: &[u8], asker: Asker<'_>) -> Vec<TokenComparison> {
    let Ok(form) = Form::parse(body) else { return Vec::new() };
    let Snapshot { registry, ring, trusted, .. } = &*view.snapshot;
    let expected = Expectations { registry, ring, trusted, issuer: view.sts.issuer(), now: view.now };
    let claimed = || client_auth::claimed_id(registry, &HeaderMap::new(), &form);
    let presenter = match asker {
        Asker::Supposed(id) => registry.acting(id),
        Asker::Authenticated => claimed().and_then(|id| registry.acting(&id)),
    };
    let declared = |parameter| form.get(parameter).and_then(TokenType::from_identifier);
    let mut tokens = Vec::new();
    if let Some(token) = form.get(parameter::CLIENT_ASSERTION) {
        tokens.push(expected.assertion(token, Slot::ClientAssertion));
    }
    if let Some(token) = form.get(parameter::SUBJECT_TOKEN).filter(|token| *token != SUPPOSED) {
        tokens.push(expected.subject(token, declared(parameter::SUBJECT_TOKEN_TYPE), presenter.as_deref()));
    }
    if let Some(token) = form.get(parameter::ACTOR_TOKEN) {
        let declared = declared(parameter::ACTOR_TOKEN_TYPE).unwrap_or(TokenType::Jwt);
        tokens.push(expected.workload(parameter::ACTOR_TOKEN, token, declared_slot(declared)));
    }
    tokens
}

async fn explain_steps(
    view: &View<'_>,
    body: &[u8],
    headers: &HeaderMap,
    supposition: Supposition<'_>,
    steps: &mut Steps,
) -> Result<Judgement<Ruling>, Refusal> {
    let (form, client) = explain_client(view, body, supposition.actor, steps).await?;
    let mut client = client.supposed_to_hold(supposition.proven);
    let request = TokenRequest::read(&form, headers, &view.snapshot.registry, client.agent())?;
    let scope = request.scope.as_ref().map_or_else(|| "all that is allowed".to_owned(), ToString::to_string);
    steps.add("request", format!("target {:?}, scope {scope}", request.target.id));
    let ruling = match &request.grant {
        Grant::TokenExchange(exchange) => {
            let subject = explain_subject(view, exchange, &client, supposition.subject).await?;
            steps.add("subject", describe_subject(&subject));
            check_actor_token(view, exchange, &mut client).await?;
            let limit = view.sts.limits.chain_depth;
            let chain = policy::extend(&subject, client.agent(), view.sts.issuer(), limit)?;
            steps.add("actor and chain", describe_chain(&chain));
            policy::judge(&request.question(view, &client, &chain), &subject)?
        }
        Grant::ClientCredentials => {
            Judgement::Allowed(policy::judge_service_account(&request.service_account_question(view, &client))?)
        }
    };
    match &ruling {
        Judgement::Allowed(ruling) => {
            let approval = ruling.approval.as_ref().map(|id| format!(", with the approval {id}")).unwrap_or_default();
            steps.add("policy", format!("allowed by the delegation {}{approval}", ruling.delegation.id));
            mint::check(&view.mint_context(), ruling)?;
        }
        Judgement::ApprovalRequired(required) => {
            let (delegation, by) = (&required.content.delegation, required.content.by.as_str());
            steps.add("policy", format!("the delegation {delegation} demands an approval by the {by}"));
        }
    }
    Ok(ruling)
}

async fn explain_subject(
    view: &View<'_>,
    exchange: &ExchangeRequest<'_>,
    client: &AuthenticatedAgent,
    supposed: Option<Result<Subject, SubjectError>>,
) -> Result<Subject, Refusal> {
    match supposed {
        Some(supposed) => {
            let subject = supposed?;
            verify::check_standing(&view.verify_context(), &subject, client.agent())?;
            Ok(subject)
        }
        None => {
            let (token, declared) = (exchange.subject_token, exchange.subject_token_type);
            let mut verified = verify::subject(&view.verify_context(), token, declared, client.agent()).await?;
            check_lineage(view, &mut verified.standing).await?;
            Ok(verified.subject.subject().clone())
        }
    }
}

fn refused(refusal: Refusal) -> Explained {
    let (error, reason) = (refusal.kind().code().as_str(), refusal.reason());
    Explained::Refused { error: error.into(), reason: reason.into(), detail: refusal.detail() }
}

fn allowed(ruling: &Ruling, our_issuer: &str) -> Explained {
    Explained::Allowed {
        delegation: ruling.delegation.id.clone(),
        sub: ruling.sub.clone(),
        audience: ruling.target.minted_audience().to_owned(),
        scope: ruling.scope.to_string(),
        authorization_details: ruling.authorization_details.clone(),
        roles: ruling.roles.clone(),
        tenant_id: ruling.tenant.as_ref().map(ToString::to_string),
        actors: actors(ruling.act.as_ref(), our_issuer),
        bound_to: bound_to(ruling.cnf.as_ref()),
        expires_at: ruling.expires_at,
    }
}

fn approval_required(required: RequiredApproval) -> Explained {
    let RequiredApproval { content, pending, .. } = required;
    Explained::ApprovalRequired {
        delegation: content.delegation,
        by: content.by.as_str().into(),
        approval: pending.map(|approval| approval.row().id.clone()),
        sub: content.sub,
        target: content.target,
        scope: content.scope.to_string(),
        authorization_details: content.authorization_details,
        tenant_id: content.tenant_id.map(|tenant| tenant.to_string()),
    }
}

fn bound_to(cnf: Option<&Confirmation>) -> Vec<Cow<'static, str>> {
    let dpop = cnf.is_some_and(|cnf| cnf.jkt.is_some()).then_some("dpop");
    let certificate = cnf.is_some_and(|cnf| cnf.x5t_s256.is_some()).then_some("certificate");
    dpop.into_iter().chain(certificate).map(Cow::from).collect()
}

fn describe_subject(subject: &Subject) -> String {
    let tenant = subject.tenant.as_ref().map_or_else(|| "no tenant".to_owned(), |tenant| format!("tenant {tenant}"));
    let scope = match &subject.scope {
        policy::HeldScope::OfDelegation => "all plain scopes of the delegation".to_owned(),
        policy::HeldScope::Scope(scope) => format!("scope {scope}"),
    };
    let binding = match subject.binding {
        ParentBinding::Bound => ", bound to a key",
        ParentBinding::Bearer => "",
    };
    format!("{:?} of {:?}, {tenant}, holds {scope}{binding}", subject.sub, subject.principal.iss)
}

fn describe_chain(chain: &Chain) -> String {
    let actors: Vec<&str> = chain.act().actors().map(|actor| actor.sub).collect();
    format!("acting now first: {}", actors.join(", "))
}
