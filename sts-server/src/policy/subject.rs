//! The facts that the rules read from a subject token.

use jiff::Timestamp;
use serde_json::Value;
use sts_jose::VerifiedToken;
use sts_protocol::{Act, Scope, SubjectId, Tenant};

use super::{HeldDetails, ParentBinding};
use crate::storage::TokenReference;

/// A subject, as its token describes it.
///
/// Plain data: `explain` may suppose a subject and pass it to [`crate::policy::judge`]. Only a
/// [`VerifiedSubject`] leads to a [`crate::policy::Permit`].
#[derive(Debug, Clone)]
pub struct Subject {
    /// The token itself, which becomes the parent of the minted token.
    pub token: TokenReference,
    /// The subject, as minted tokens name it.
    pub sub: String,
    /// The subject, as the issuer that first named it does.
    pub principal: SubjectId,
    /// The scope that the token holds.
    pub scope: HeldScope,
    /// The authorization details that the token entitles to.
    pub details: HeldDetails,
    /// The roles that the token holds.
    pub roles: Vec<String>,
    /// The tenant of the subject.
    pub tenant: Option<Tenant>,
    /// The agents that have acted so far.
    pub act: Option<Act>,
    /// The only actor that the token allows, if it names an actor.
    pub may_act: Option<MayAct>,
    /// The `iat` claim.
    pub issued_at: Option<Timestamp>,
    /// The `exp` claim.
    pub expires_at: Timestamp,
    /// The transaction; `None` at a first hop.
    pub txn: Option<String>,
    /// The binding of the token to a key (`cnf`).
    pub binding: ParentBinding,
    /// The authentication of the user.
    pub authentication: Authentication,
}

/// The scope that a subject token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldScope {
    /// All plain scopes of the delegation that applies.
    OfDelegation,
    /// Exactly this scope.
    Scope(Scope),
}

/// A `may_act` claim (RFC 8693 §4.4). Members other than these two are informative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayAct {
    /// The namespace of `sub`, if given.
    pub iss: Option<String>,
    /// The party that may act.
    pub sub: String,
}

/// The authentication of the user, as the first subject token states it (RFC 9068 §2.2.1). Copied
/// into minted tokens, never evaluated.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authentication {
    /// The `auth_time` claim.
    pub auth_time: Option<Value>,
    /// The `acr` claim.
    pub acr: Option<Value>,
    /// The `amr` claim.
    pub amr: Option<Value>,
}

/// A subject whose token was verified: signature, issuer, kind, time, audience, revocation.
///
/// Its construction needs a [`VerifiedToken`], which only a signature check creates. Only `verify`
/// constructs it; the architecture test enforces that.
#[derive(Debug)]
pub struct VerifiedSubject(Subject);

impl VerifiedSubject {
    /// Wraps the subject that `verify` read from the verified `token`.
    #[must_use]
    pub fn new(_token: &VerifiedToken, subject: Subject) -> Self {
        Self(subject)
    }

    /// Returns the subject that the token describes.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0
    }
}
