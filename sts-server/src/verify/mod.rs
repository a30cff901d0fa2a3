//! The verification of subject tokens.
//!
//! What lives here: the checks of a token of this service (`own`) and of an outside issuer
//! (`outside`), and the shared checks: kind, address, values and revocations. Also the checks of an
//! operator's access token (`operator`), and of a user who decides on an approval (`approver`). What must never: the limits of a delegation, which
//! `policy` reads. Another kind of subject token is a file here and an arm of [`subject`].

mod approver;
mod error;
mod operator;
mod outside;
mod own;
mod suppose;
mod values;

use jiff::Timestamp;
use sts_jose::UnverifiedToken;
use sts_protocol::{SubjectId, TokenType};

pub use approver::{ApproverError, VerifiedApprover, approver};
pub use error::SubjectError;
pub use operator::{OperatorContext, OperatorError, VerifiedOperator, operator};
pub use own::{OwnToken, check_parties, own_standing, own_token};
pub use suppose::{SupposedSubject, suppose};

use crate::keys::{KeyRing, TrustedKeys};
use crate::policy::{Subject, VerifiedSubject};
use crate::record::{Revocations, Standing};
use crate::registry::{Agent, Registry};

/// The inputs of the verification.
#[derive(Debug, Clone, Copy)]
pub struct VerifyContext<'a> {
    /// The registry with issuers, agents and delegations.
    pub registry: &'a Registry,
    /// The keys of outside issuers.
    pub trusted: &'a TrustedKeys,
    /// The signing keys of this service.
    pub ring: &'a KeyRing,
    /// The revocations in force.
    pub revocations: &'a Revocations,
    /// The issuer identifier of this service.
    pub issuer: &'a str,
    /// The maximum length of a token, in bytes.
    pub max_token_bytes: usize,
    /// The present time, for the checks of times.
    pub now: Timestamp,
}

/// A verified subject, and what a revocation of it could name.
#[derive(Debug)]
pub struct UnrevokedSubject {
    /// The subject.
    pub subject: VerifiedSubject,
    /// Its standing, when the presenter presents its token.
    pub standing: Standing,
}

/// Verifies the subject token that `presenter`, which has authenticated, sends as `declared`.
///
/// # Errors
/// [`SubjectError`]: the token is invalid, the presenter may not use it, or it cannot be checked
/// now.
pub async fn subject(
    context: &VerifyContext<'_>,
    token: &str,
    declared: TokenType,
    presenter: &Agent,
) -> Result<UnrevokedSubject, SubjectError> {
    let token = UnverifiedToken::parse_within(context.max_token_bytes, token).map_err(SubjectError::Parse)?;
    let iss = token.claims().string("iss")?;
    let subject = if iss == Some(context.issuer) {
        own::subject(context, token, declared, presenter)?
    } else {
        outside::subject(context, token, declared, presenter).await?
    };
    let standing = check_standing(context, subject.subject(), presenter)?;
    Ok(UnrevokedSubject { subject, standing })
}

/// Checks that a subject is not the name of an agent, and is not revoked for a token presented by
/// `presenter`.
///
/// # Errors
/// [`SubjectError`]: `SubIsAnAgent` or `Revoked`.
pub fn check_standing(
    context: &VerifyContext<'_>,
    subject: &Subject,
    presenter: &Agent,
) -> Result<Standing, SubjectError> {
    if is_an_agent(context.registry, subject) {
        return Err(SubjectError::SubIsAnAgent);
    }
    let standing = standing(context.issuer, subject, presenter);
    let revocations = context.revocations;
    if !revocations.is_empty()
        && let Some(kind) = revocations.refuse(&standing)
    {
        return Err(SubjectError::Revoked(kind));
    }
    Ok(standing)
}

/// Returns true if a subject has the id of an agent, or is the workload that an agent authenticates
/// as.
fn is_an_agent(registry: &Registry, subject: &Subject) -> bool {
    let SubjectId { iss, sub, .. } = &subject.principal;
    registry.acting(&subject.sub).is_some()
        || (registry.is_workload_issuer(iss) && registry.workload(iss, sub).is_some())
}

/// Returns the properties of a subject token that a revocation can match, when `presenter` presents
/// it.
fn standing(our_issuer: &str, subject: &Subject, presenter: &Agent) -> Standing {
    let mut agents = Standing::agents_of(subject.act.as_ref(), our_issuer);
    agents.push(presenter.id.clone());
    Standing {
        token: subject.token.clone(),
        lineage: None,
        txn: subject.txn.clone(),
        principal: Some((subject.principal.iss.clone(), subject.principal.sub.clone())),
        sub: subject.sub.clone(),
        agents,
        tenants: subject.tenant.iter().map(ToString::to_string).collect(),
        issued_at: subject.issued_at,
    }
}
