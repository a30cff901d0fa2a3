//! What the rules read of a subject token.

use jiff::Timestamp;
use serde_json::Value;
use sts_jose::VerifiedToken;
use sts_protocol::{Act, Scope, SubjectId, Tenant};

use crate::storage::TokenReference;

/// A subject, as its token describes it. Plain data: `explain` may suppose one, and [`crate::policy::judge`] will say what would
/// become of it; only a [`VerifiedSubject`] leads to a [`crate::policy::Permit`].
#[derive(Debug, Clone)]
pub struct Subject {
    /// The token itself, which becomes the parent of what is minted.
    pub token: TokenReference,
    /// The subject as minted tokens name it.
    pub sub: String,
    /// The subject as the issuer that first named it does.
    pub principal: SubjectId,
    /// What the token holds.
    pub scope: HeldScope,
    /// The roles that it holds.
    pub roles: Vec<String>,
    /// Its tenant.
    pub tenant: Option<Tenant>,
    /// Who has acted so far.
    pub act: Option<Act>,
    /// Who alone may act, if the token says so.
    pub may_act: Option<MayAct>,
    /// When it was issued.
    pub issued_at: Option<Timestamp>,
    /// When it dies.
    pub expires_at: Timestamp,
    /// Its transaction; a first hop has none yet.
    pub txn: Option<String>,
    /// How the user authenticated.
    pub authentication: Authentication,
}

/// The scope that a subject token holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeldScope {
    /// All plain scopes of whichever delegation applies.
    OfDelegation,
    /// These.
    Scope(Scope),
}

/// A `may_act` claim (RFC 8693 §4.4); members other than these two are informative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MayAct {
    /// The namespace of `sub`, if given.
    pub iss: Option<String>,
    /// Who may act.
    pub sub: String,
}

/// How the user authenticated, as the first subject token says it (RFC 9068 §2.2.1); copied, never read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Authentication {
    /// `auth_time`.
    pub auth_time: Option<Value>,
    /// `acr`.
    pub acr: Option<Value>,
    /// `amr`.
    pub amr: Option<Value>,
}

/// A subject whose token was verified: signature, issuer, kind, time, address, revocation.
///
/// Making one takes a [`VerifiedToken`], which only a signature check makes. `verify` alone does so; the architecture test
/// holds it to that.
#[derive(Debug)]
pub struct VerifiedSubject(Subject);

impl VerifiedSubject {
    /// What the verified `token` says, as `verify` read it.
    #[must_use]
    pub fn new(_token: &VerifiedToken, subject: Subject) -> Self {
        Self(subject)
    }

    /// What the token says.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.0
    }
}
