//! The outcomes of the rules, other than a refusal.

use std::sync::Arc;

use jiff::Timestamp;

use super::{PolicyError, Ruling};
use crate::approval::{Approval, ApprovalContent, Approvals, KnownApproval};
use crate::ttl::Ttl;

/// The outcome of the rules for a request that they do not refuse.
#[derive(Debug)]
pub enum Judgement<T> {
    /// The token may be issued.
    Allowed(T),
    /// A person must approve the token first.
    ApprovalRequired(Box<RequiredApproval>),
}

/// An approval that a token needs, and that has not been granted. No permit can be made from it.
#[derive(Debug)]
pub struct RequiredApproval {
    /// The ruling that the token would be minted from.
    pub ruling: Ruling,
    /// The content that the person approves.
    pub content: ApprovalContent,
    /// The time for which the request waits for a decision.
    pub wait: Ttl,
    /// The pending approval of an equal request.
    pub pending: Option<Arc<Approval>>,
}

impl<T> Judgement<T> {
    /// Applies `allow` to what is allowed.
    pub(super) fn map<U>(self, allow: impl FnOnce(T) -> U) -> Judgement<U> {
        match self {
            Self::Allowed(allowed) => Judgement::Allowed(allow(allowed)),
            Self::ApprovalRequired(required) => Judgement::ApprovalRequired(required),
        }
    }
}

/// Returns the judgement on a token that the other rules allow.
///
/// # Errors
/// [`PolicyError::ApprovalDenied`].
pub(super) fn approve(
    mut ruling: Ruling,
    approvals: &Approvals,
    now: Timestamp,
) -> Result<Judgement<Ruling>, PolicyError> {
    let Some(rule) = ruling.delegation.approval.as_ref() else { return Ok(Judgement::Allowed(ruling)) };
    if !rule.covers(&ruling.scope, &ruling.authorization_details) {
        return Ok(Judgement::Allowed(ruling));
    }
    let (by, wait) = (rule.by, rule.wait);
    let Some(content) = content(&ruling) else { return Err(PolicyError::ApprovalWithoutUser(ruling.client_id)) };
    let pending = match approvals.find(&content.key(), now) {
        KnownApproval::Granted(approval) => {
            ruling.approval = Some(approval.row().id.clone());
            return Ok(Judgement::Allowed(ruling));
        }
        KnownApproval::Denied => return Err(PolicyError::ApprovalDenied(by)),
        KnownApproval::Pending(approval) => Some(approval),
        KnownApproval::None => None,
    };
    Ok(Judgement::ApprovalRequired(Box::new(RequiredApproval { ruling, content, wait, pending })))
}

/// Returns what is to be approved. Returns `None` for a token without a user.
fn content(ruling: &Ruling) -> Option<ApprovalContent> {
    let rule = ruling.delegation.approval.as_ref()?;
    Some(ApprovalContent {
        sub_id: ruling.principal.clone()?,
        sub: ruling.sub.clone(),
        tenant_id: ruling.tenant.clone(),
        act: ruling.act.clone()?,
        client_id: ruling.client_id.clone(),
        target: ruling.target.id.clone(),
        scope: ruling.scope.clone(),
        authorization_details: ruling.authorization_details.clone(),
        delegation: ruling.delegation.id.clone(),
        by: rule.by,
        remember: rule.remember,
        correlation_id: None,
        decided_by: None,
        decided_at: None,
    })
}
