//! Access tokens of users who decide on an approval. They are stricter than subject tokens: addressed
//! to this service alone, and of a user who has authenticated a short time ago.

use jiff::{SignedDuration, Timestamp};
use sts_jose::{ClaimError, ParseError, Slot, UnverifiedToken};
use sts_protocol::{SubjectId, Tenant, is_name};
use thiserror::Error;

use super::operator::is_id_token;
use super::outside::tenant;
use super::{SubjectError, VerifyContext};
use crate::keys::{JtiError, TrustError};
use crate::record::Standing;
use crate::storage::RevocationKind;

/// The longest time since the user authenticated.
const MAX_AUTH_AGE: SignedDuration = SignedDuration::from_mins(10);
/// The most by which `auth_time` may lie ahead.
const AHEAD: SignedDuration = SignedDuration::from_secs(30);

/// A user who may decide on approvals of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedApprover {
    /// The user, as the issuer names it.
    pub principal: SubjectId,
    /// The tenant of the user.
    pub tenant: Option<Tenant>,
}

/// A token that decides on no approval.
#[derive(Debug, Error)]
pub enum ApproverError {
    /// The token is not a JWT.
    #[error("not a JWT")]
    Parse(#[source] ParseError),
    /// The token is not trusted, or cannot be checked now.
    #[error("not trusted")]
    Trust(#[source] TrustError),
    /// The `typ` marks another kind of token.
    #[error("its typ is that of another kind of token")]
    Typ,
    /// Workloads name its issuer, so that it is of no user.
    #[error("its issuer is one of workloads")]
    WorkloadIssuer,
    /// The token belongs to a service account.
    #[error("of a service account")]
    ServiceAccount,
    /// The token names an actor, so that an agent holds it.
    #[error("has an actor")]
    Acted,
    /// The token is bound to a key.
    #[error("bound to a key")]
    Bound,
    /// The token is an ID token, which a client keeps, and sends to no service.
    #[error("an ID token")]
    IdToken,
    /// The token was issued to an agent, by `azp`, `client_id`, `appid` or `cid`.
    #[error("issued to an agent (azp, client_id, appid, cid)")]
    IssuedToAnAgent,
    /// The token is not addressed to this service alone.
    #[error("not addressed to this service alone")]
    NotAddressed,
    /// The `auth_time` is missing, in the future, or too old.
    #[error("its user did not authenticate within the last {} minutes (auth_time)", MAX_AUTH_AGE.as_mins())]
    AuthTime,
    /// A claim has the wrong type.
    #[error("a claim is malformed")]
    Claim(#[from] ClaimError),
    /// The subject or the tenant is missing, malformed, or that of an agent.
    #[error("its subject is not accepted")]
    Subject(#[from] SubjectError),
    /// The `jti` is not a valid name.
    #[error("its jti is not accepted")]
    Jti(#[from] JtiError),
    /// The token, its user or its tenant is revoked.
    #[error("revoked, by {0:?}")]
    Revoked(RevocationKind),
}

impl ApproverError {
    /// Returns true if the token may be valid but cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        if let Self::Trust(trust) = self { trust.is_outage() } else { false }
    }
}

/// Verifies the token of a user who decides: issuer, signature, kind, times, address, the time of
/// the authentication, and revocations.
///
/// # Errors
/// [`ApproverError`]; an error that [is an outage](ApproverError::is_outage) proves nothing about
/// the token.
pub async fn approver(context: &VerifyContext<'_>, token: &str) -> Result<VerifiedApprover, ApproverError> {
    let token = UnverifiedToken::parse_within(context.max_token_bytes, token).map_err(ApproverError::Parse)?;
    let believed = context.trusted.believe(context.registry, token, context.now).await.map_err(ApproverError::Trust)?;
    let issuer = &believed.issuer.issuer;
    if !issuer.slot(Slot::AccessToken).accepts(believed.token.header().typ.as_deref()) {
        return Err(ApproverError::Typ);
    }
    let claims = believed.token.claims();
    if !context.registry.is_user_issuer(&issuer.issuer) {
        return Err(ApproverError::WorkloadIssuer);
    }
    for (claim, error) in
        [("act", ApproverError::Acted), ("tenant_ids", ApproverError::ServiceAccount), ("cnf", ApproverError::Bound)]
    {
        if claims.get(claim).is_some() {
            return Err(error);
        }
    }
    if is_id_token(claims) {
        return Err(ApproverError::IdToken);
    }
    // `azp` of OpenID Connect, `client_id` of RFC 9068, `appid` of Microsoft Entra ID, `cid` of Okta.
    for party in ["azp", "client_id", "appid", "cid"] {
        if claims.string(party)?.is_some_and(|client| context.registry.acting(client).is_some()) {
            return Err(ApproverError::IssuedToAnAgent);
        }
    }
    if claims.audience()? != [context.issuer] {
        return Err(ApproverError::NotAddressed);
    }
    check_auth_time(claims.numeric_date("auth_time")?, context.now)?;
    let sub =
        issuer.subject(claims).map_err(SubjectError::from)?.filter(|sub| is_name(sub)).ok_or(SubjectError::Sub)?;
    let minted = format!("{}{sub}", issuer.subject_prefix);
    let is_agent = context.registry.acting(&minted).is_some() || context.registry.acting(&sub).is_some();
    if is_agent || context.registry.workload(&issuer.issuer, &sub).is_some() {
        return Err(SubjectError::SubIsAnAgent.into());
    }
    let principal = SubjectId { iss: believed.issuer.iss().to_owned(), sub: sub.into_owned() };
    let tenant = tenant(issuer, claims)?;
    let standing = Standing {
        principal: Some((principal.iss.clone(), principal.sub.clone())),
        tenants: tenant.iter().map(ToString::to_string).collect(),
        ..Standing::of_outside(believed.reference()?, &minted, Vec::new(), believed.times.iat)
    };
    match context.revocations.refuse(&standing) {
        Some(kind) => Err(ApproverError::Revoked(kind)),
        None => Ok(VerifiedApprover { principal, tenant }),
    }
}

fn check_auth_time(auth_time: Option<Timestamp>, now: Timestamp) -> Result<(), ApproverError> {
    let age = now.duration_since(auth_time.ok_or(ApproverError::AuthTime)?);
    if (-AHEAD..=MAX_AUTH_AGE).contains(&age) { Ok(()) } else { Err(ApproverError::AuthTime) }
}
