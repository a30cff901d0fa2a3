//! Workload tokens: a token of an outside issuer that says which of our agents its bearer is.
//!
//! Such a token is used again until it is rotated, so it has no one-time rule; its `aud` must be our issuer, or the one that the
//! workload entry names.

use std::sync::Arc;

use sts_jose::{ClaimError, ParseError, UnverifiedToken, typ_fits};
use thiserror::Error;

use super::Context;
use crate::keys::{JtiError, TrustError};
use crate::record::{Standing, cut};
use crate::registry::Agent;
use crate::storage::RevocationKind;

/// A token does not say which agent its bearer is.
#[derive(Debug, Error)]
pub enum WorkloadError {
    /// It is no JWT.
    #[error("the workload token does not parse")]
    Parse(#[source] ParseError),
    /// It is not believed.
    #[error("the workload token is not believed")]
    Trust(#[source] TrustError),
    /// A claim is malformed.
    #[error("a claim of the workload token is malformed")]
    Claim(#[from] ClaimError),
    /// Its `jti` is no name.
    #[error("jti of the workload token is not accepted")]
    Jti(#[from] JtiError),
    /// `typ` is that of another kind of token.
    #[error("typ of the workload token is that of another kind of token")]
    Typ,
    /// It is bound to a key, which is not honoured.
    #[error("the workload token is bound to a key (cnf), which is not honoured")]
    Bound,
    /// It is itself a delegated token.
    #[error("the workload token carries act")]
    Delegated,
    /// No workload entry names its issuer.
    #[error("no workload entry names the issuer of this token")]
    UnknownIssuer,
    /// No workload entry of its issuer names its subject.
    #[error("no workload entry of its issuer names the sub of this token")]
    UnknownSubject,
    /// The agent that it names is disabled.
    #[error("the agent of the workload token is disabled")]
    DisabledAgent,
    /// It is addressed to others.
    #[error("the workload token is addressed to {found}, and must be addressed to {expected:?}")]
    Audience {
        /// The claim.
        found: String,
        /// What the workload entry wants.
        expected: String,
    },
    /// It is revoked, or its workload or agent is, or is on hold.
    #[error("the workload token is revoked, by {0:?}")]
    Revoked(RevocationKind),
}

/// The agent that the bearer of a workload token is.
#[derive(Debug)]
pub struct IdentifiedWorkload {
    /// The agent; neither disabled nor on hold.
    pub agent: Arc<Agent>,
    /// The standing of the token, which is not revoked as far as the snapshot says.
    pub standing: Standing,
}

/// The agent that the bearer of a workload token is. `allowed_typ` are the `typ` values that its slot takes.
///
/// # Errors
/// [`WorkloadError`]; a `Trust` that is an outage must be answered as one.
pub async fn identify(
    context: &Context<'_>,
    token: &str,
    allowed_typ: &[&str],
) -> Result<IdentifiedWorkload, WorkloadError> {
    let token = UnverifiedToken::parse(token).map_err(WorkloadError::Parse)?;
    if !typ_fits(token.header().typ.as_deref(), allowed_typ) {
        return Err(WorkloadError::Typ);
    }
    // Asked before any key is fetched: a stranger must not use up the one forced refetch of an issuer that no agent is a workload of.
    if !token.claims().string("iss")?.is_some_and(|iss| context.registry.is_workload_issuer(iss)) {
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
    let iss = &believed.issuer.issuer;
    let sub = claims.string("sub")?.ok_or(WorkloadError::UnknownSubject)?;
    let agent = context.registry.workload(iss, sub).ok_or(WorkloadError::UnknownSubject)?;
    if agent.disabled {
        return Err(WorkloadError::DisabledAgent);
    }
    let mut entries = agent.auth.iter().flat_map(|auth| &auth.workload);
    let entry =
        entries.find(|entry| entry.issuer == *iss && entry.subject == sub).ok_or(WorkloadError::UnknownSubject)?;
    let expected = entry.audience.as_deref().unwrap_or(context.issuer);
    let audience = claims.audience()?;
    if !audience.contains(&expected) {
        let found = cut(&format!("{audience:?}")).into_owned();
        return Err(WorkloadError::Audience { found, expected: expected.to_owned() });
    }
    let standing = Standing::of_outside(believed.reference()?, sub, vec![agent.id.clone()], believed.times.iat);
    match context.revocations.refuse(&standing) {
        Some(kind) => Err(WorkloadError::Revoked(kind)),
        None => Ok(IdentifiedWorkload { agent: Arc::clone(agent), standing }),
    }
}
