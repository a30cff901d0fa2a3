//! Workload tokens: tokens of outside issuers that identify our agents.
//!
//! A workload token is used again until it is rotated, so it has no single-use rule. Its `aud` must
//! be our issuer, or the audience of the workload entry.

use std::sync::Arc;

use sts_jose::{ClaimError, Claims, ParseError, Slot, UnverifiedToken};
use thiserror::Error;

use super::ClientContext;
use crate::keys::{ChainError, JtiError, TrustError};
use crate::record::{Standing, cut};
use crate::registry::{Agent, Registry};
use crate::storage::RevocationKind;

/// The workload token does not identify an agent.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// The token is not a JWT.
    #[error("the workload token does not parse")]
    Parse(#[source] ParseError),
    /// The token is not trusted.
    #[error("the workload token is not trusted")]
    Trust(#[source] TrustError),
    /// A claim is malformed.
    #[error("a claim of the workload token is malformed")]
    Claim(#[from] ClaimError),
    /// The `jti` of the token is not a valid name.
    #[error("jti of the workload token is not accepted")]
    Jti(#[from] JtiError),
    /// `typ` belongs to another kind of token.
    #[error("typ of the workload token is that of another kind of token")]
    Typ,
    /// The certificate is one of an authority, and not one of a workload.
    #[error("the certificate may sign others, so it is not that of a workload")]
    NotAnSvid,
    /// No authority of the trust domain has signed the certificate, or it is not valid now.
    #[error("the certificate is not trusted")]
    Certificate(#[source] webpki::Error),
    /// The token is bound to a key, which is not supported.
    #[error("the workload token is bound to a key (cnf), which is not honoured")]
    Bound,
    /// The token is a delegated token.
    #[error("the workload token has an act claim")]
    Delegated,
    /// No workload entry names its issuer.
    #[error("no workload entry names the issuer of this token")]
    UnknownIssuer,
    /// No workload entry of its issuer names its subject.
    #[error("no workload entry of its issuer names the sub of this token")]
    UnknownSubject,
    /// The agent that the token identifies is disabled.
    #[error("the agent of the workload token is disabled")]
    DisabledAgent,
    /// A claim that the workload entry requires is absent, or has another value.
    #[error("the claim {0:?} of the workload token does not have the value that the workload entry requires")]
    Claims(String),
    /// The token is addressed to others.
    #[error("the workload token is addressed to {found}, and must be addressed to {expected:?}")]
    Audience {
        /// The audience in the token.
        found: String,
        /// The audience that the workload entry requires.
        expected: String,
    },
    /// The token, its workload or its agent is revoked or on hold.
    #[error("the workload token is covered by the revocation of {}", .0.of_a_token())]
    Revoked(RevocationKind),
}

impl From<ChainError> for WorkloadError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Trust(error) => Self::Trust(error),
            ChainError::Certificate(error) => Self::Certificate(error),
        }
    }
}

/// The agent that a workload token identifies.
#[derive(Debug)]
pub struct IdentifiedWorkload {
    /// The agent. It is neither disabled nor on hold.
    pub agent: Arc<Agent>,
    /// The standing of the token, which is not revoked in the snapshot.
    pub standing: Standing,
}

/// Returns the agent that a workload token identifies, sent in this slot.
///
/// # Errors
/// [`WorkloadError`]. A `Trust` error that is an outage must be answered as an outage.
pub async fn identify(
    context: &ClientContext<'_>,
    token: &str,
    slot: Slot,
) -> Result<IdentifiedWorkload, WorkloadError> {
    let token = UnverifiedToken::parse_within(context.max_token_bytes, token).map_err(WorkloadError::Parse)?;
    let typ = token.header().typ.as_deref();
    let named = context.registry.issuer_of(token.claims());
    if !named.map_or(slot, |named| named.issuer.slot(slot)).accepts(typ) {
        return Err(WorkloadError::Typ);
    }
    // This check comes before any fetch of keys. Otherwise a stranger could use up the forced
    // refetch of an issuer that has no workloads.
    if !names_workload_issuer(context.registry, token.claims()) {
        return Err(WorkloadError::UnknownIssuer);
    }
    let believed = context.trusted.believe(context.registry, token, context.now).await;
    let believed = believed.map_err(WorkloadError::Trust)?;
    let claims = believed.token.claims();
    if claims.get("cnf").is_some() {
        return Err(WorkloadError::Bound);
    }
    if claims.get("act").is_some() {
        return Err(WorkloadError::Delegated);
    }
    let sub = believed.issuer.issuer.subject(claims)?.ok_or(WorkloadError::UnknownSubject)?;
    let found = context.registry.workload(&believed.issuer.issuer.issuer, &sub).ok_or(WorkloadError::UnknownSubject)?;
    let agent = &found.agent;
    let entry = found.entry().ok_or(WorkloadError::UnknownSubject)?;
    if agent.disabled {
        return Err(WorkloadError::DisabledAgent);
    }
    if let Some(selector) = entry.lacks(claims) {
        return Err(WorkloadError::Claims(selector.to_string()));
    }
    let expected = entry.audience.as_deref().unwrap_or(context.issuer);
    let audience = claims.audience()?;
    if !audience.contains(&expected) {
        let found = cut(&format!("{audience:?}")).into_owned();
        return Err(WorkloadError::Audience { found, expected: expected.to_owned() });
    }
    let standing = Standing::of_outside(believed.reference()?, &sub, vec![agent.id.clone()], believed.times.iat);
    match context.revocations.refuse(&standing) {
        Some(kind) => Err(WorkloadError::Revoked(kind)),
        None => Ok(IdentifiedWorkload { agent: Arc::clone(agent), standing }),
    }
}

/// Returns true if a workload entry names the issuer of the token. Verifies nothing.
pub(crate) fn names_workload_issuer(registry: &Registry, claims: &Claims) -> bool {
    let iss = claims.string("iss").ok().flatten();
    iss.is_some_and(|iss| registry.is_workload_issuer(iss))
        || registry.issuer_of(claims).is_ok_and(|named| registry.is_workload_issuer(&named.issuer.issuer))
}
