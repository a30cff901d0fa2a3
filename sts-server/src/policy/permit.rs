//! What the rules yield.

use std::sync::Arc;

use jiff::Timestamp;
use sts_protocol::{Act, Scope, SubjectId, Tenant};

use super::Authentication;
use crate::registry::{Agent, Delegation};
use crate::storage::TokenReference;

/// What the rules would allow: everything that a token of this decision says, save its own name. Plain data.
#[derive(Debug, Clone)]
pub struct Ruling {
    /// `sub`.
    pub sub: String,
    /// `sub_id`; none for a service account.
    pub principal: Option<SubjectId>,
    /// The agent that asked: `client_id`.
    pub client_id: String,
    /// The agent that the token is for.
    pub target: Arc<Agent>,
    /// The delegation that allowed it.
    pub delegation: Arc<Delegation>,
    /// `act`; none for a service account.
    pub act: Option<Act>,
    /// `scope`: never empty.
    pub scope: Scope,
    /// `roles`.
    pub roles: Vec<String>,
    /// The roles of the subject token that the delegation does not pass.
    pub dropped_roles: Vec<String>,
    /// `tenant_id`.
    pub tenant: Option<Tenant>,
    /// `tenant_ids` of a service account.
    pub tenants: Option<Vec<Tenant>>,
    /// `exp`: a whole second, later than now.
    pub expires_at: Timestamp,
    /// `txn` of the subject token; none at a first hop.
    pub txn: Option<String>,
    /// The subject token; none for a service account.
    pub parent: Option<TokenReference>,
    /// `auth_time`, `acr`, `amr`.
    pub authentication: Authentication,
}

/// Leave to mint exactly one token. Only the rules make one, and only for an authenticated agent and a verified subject.
#[derive(Debug)]
pub struct Permit(Ruling);

impl Permit {
    pub(super) fn new(ruling: Ruling) -> Self {
        Self(ruling)
    }

    /// What the token shall say.
    #[must_use]
    pub fn ruling(&self) -> &Ruling {
        &self.0
    }

    /// What the token shall say; the permission is used up.
    #[must_use]
    pub fn into_ruling(self) -> Ruling {
        self.0
    }
}
