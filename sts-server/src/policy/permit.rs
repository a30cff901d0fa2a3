//! The results of the rules.

use std::sync::Arc;

use jiff::Timestamp;
use sts_protocol::{Act, AuthorizationDetail, Confirmation, Scope, SubjectId, Tenant};

use super::Authentication;
use crate::registry::{Agent, Delegation};
use crate::storage::TokenReference;

/// The token that the rules allow: all its claims except `jti`, as plain data.
#[derive(Debug, Clone)]
pub struct Ruling {
    /// The `sub` claim.
    pub sub: String,
    /// The `sub_id` claim; `None` for a service account.
    pub principal: Option<SubjectId>,
    /// The agent that made the request: `client_id`.
    pub client_id: String,
    /// The agent that receives the token.
    pub target: Arc<Agent>,
    /// The delegation that allows the token.
    pub delegation: Arc<Delegation>,
    /// The `act` claim; `None` for a service account.
    pub act: Option<Act>,
    /// The `scope` claim, never empty.
    pub scope: Scope,
    /// The `authorization_details` claim.
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The `roles` claim.
    pub roles: Vec<String>,
    /// The roles of the subject token that the delegation does not pass.
    pub dropped_roles: Vec<String>,
    /// The `tenant_id` claim.
    pub tenant: Option<Tenant>,
    /// The `tenant_ids` claim of a service account.
    pub tenants: Option<Vec<Tenant>>,
    /// The `cnf` claim: the keys that the token is bound to.
    pub cnf: Option<Confirmation>,
    /// The approval that allows the token, if it needs one.
    pub approval: Option<String>,
    /// The `exp` claim: a whole second, later than now.
    pub expires_at: Timestamp,
    /// The `txn` claim of the subject token; `None` at a first hop.
    pub txn: Option<String>,
    /// The subject token; `None` for a service account.
    pub parent: Option<TokenReference>,
    /// The `auth_time`, `acr` and `amr` claims.
    pub authentication: Authentication,
}

/// The permission to mint exactly one token. Only the rules create a permit, and only for an
/// authenticated agent and a verified subject.
#[derive(Debug)]
pub struct Permit(Ruling);

impl Permit {
    pub(super) fn new(ruling: Ruling) -> Self {
        Self(ruling)
    }

    /// Returns the content of the token.
    #[must_use]
    pub fn ruling(&self) -> &Ruling {
        &self.0
    }

    /// Returns the content of the token and consumes the permit.
    #[must_use]
    pub fn into_ruling(self) -> Ruling {
        self.0
    }
}
