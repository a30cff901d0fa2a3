//! An approval as it is shown.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_protocol::AuthorizationDetail;
use utoipa::ToSchema;

use super::Approval;

/// An approval as persons see it: everything that is bound, and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SeenApproval {
    /// The name of the approval.
    pub id: String,
    /// The state: `pending`, `granted`, `denied`, `withdrawn`, `expired` or `ended`.
    pub state: Cow<'static, str>,
    /// The person who decides: `user` or `operator`.
    pub by: Cow<'static, str>,
    /// The user, as minted tokens name it.
    pub sub: String,
    /// The issuer that first named the user.
    pub subject_issuer: String,
    /// The tenant of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The agent that asked.
    pub client_id: String,
    /// The actors of the chain, the agent that asked first.
    pub actors: Vec<String>,
    /// The agent that the token is for.
    pub target: String,
    /// The scope of the token.
    pub scope: String,
    /// The authorization details of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The delegation whose rule asks for the approval.
    pub delegation: String,
    /// The time for which the approval is remembered once granted.
    pub remember: String,
    /// The time of the request.
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// The end of the approval, pending or remembered.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// The party that decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The time of the last decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub decided_at: Option<Timestamp>,
}

impl SeenApproval {
    /// Returns the approval as it is at `now`.
    #[must_use]
    pub fn of(approval: &Approval, now: Timestamp) -> Self {
        let (row, content) = (approval.row(), approval.content());
        Self {
            id: row.id.clone(),
            state: approval.state_at(now).as_str().into(),
            by: content.by.as_str().into(),
            sub: content.sub.clone(),
            subject_issuer: content.sub_id.iss.clone(),
            tenant_id: content.tenant_id.as_ref().map(ToString::to_string),
            client_id: content.client_id.clone(),
            actors: content.act.actors().map(|actor| actor.sub.to_owned()).collect(),
            target: content.target.clone(),
            scope: content.scope.to_string(),
            authorization_details: content.authorization_details.clone(),
            delegation: content.delegation.clone(),
            remember: content.remember.to_string(),
            requested_at: row.requested_at,
            expires_at: row.expires_at,
            decided_by: content.decided_by.clone(),
            decided_at: content.decided_at,
        }
    }
}
