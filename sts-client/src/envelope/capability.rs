//! The capabilities that a message may request, and their requirements.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::DeserializeOwned;
use sts_protocol::{Scope, ScopeToken};

use super::approved_action::ApprovedAction;
use crate::call::RequiredAction;

/// The capability that a message requests from its recipient.
///
/// ```
/// use sts_client::envelope::Capability;
///
/// assert_eq!("tool_call".parse(), Ok(Capability::ToolCall));
/// assert!("sudo".parse::<Capability>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// The recipient returns information.
    Read,
    /// The recipient calls other agents on the caller's behalf.
    Delegate,
    /// The recipient runs a tool.
    ToolCall,
    /// The recipient starts or changes a workflow.
    WorkflowCommand,
}

impl Capability {
    /// All capabilities.
    pub const ALL: [Self; 4] = [Self::Read, Self::Delegate, Self::ToolCall, Self::WorkflowCommand];

    /// Returns the name in an envelope.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Delegate => "delegate",
            Self::ToolCall => "tool_call",
            Self::WorkflowCommand => "workflow_command",
        }
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The error for a text that names no capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a capability")]
pub struct UnknownCapability;

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == text).ok_or(UnknownCapability)
    }
}

/// The requirements that a recipient sets for a capability.
///
/// ```
/// use sts_client::ScopeToken;
/// use sts_client::envelope::Needs;
///
/// let needs = Needs::scopes([ScopeToken::new("refund:draft")?]).approval();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Needs {
    scopes: Scope,
    approval: Approval,
}

/// The approval that a capability requires.
#[derive(Debug, Clone, Default)]
pub(super) enum Approval {
    #[default]
    None,
    /// By the [`super::Approvals`] of the recipient.
    OfRecipient,
    /// By the STS.
    OfSts(ApprovedAction),
}

impl Needs {
    /// Requires all of these scopes, delegated.
    #[must_use]
    pub fn scopes(scopes: impl IntoIterator<Item = ScopeToken>) -> Self {
        Self { scopes: scopes.into_iter().collect(), approval: Approval::None }
    }

    /// Also requires an approval of exactly this operation by the recipient's own [`super::Approvals`].
    #[must_use]
    pub fn approval(mut self) -> Self {
        self.approval = Approval::OfRecipient;
        self
    }

    /// Also requires an approval of exactly this operation by the STS. One authorization detail of the
    /// token (RFC 9396) must name the action, and as its `identifier` the idempotency key and the payload
    /// of the message ([`Envelopes::approval_identifier`](super::Envelopes::approval_identifier)).
    /// `quantify` names the quantities of the payload, which each limit of the detail must cover
    /// ([`RequiredAction`]). The STS issues such a token after a person has approved it, if the delegation
    /// has a rule of `approval` for the action. So the registry has the rule, and no second list of
    /// approvals exists.
    ///
    /// The person sees the action, the limits and the `identifier`, but not the payload. Name each quantity
    /// that the person decides on in the limits of the delegation.
    ///
    /// Name and payload are checked before decryption, the quantities after it. All refuse with
    /// [`Reason::ApprovalRequired`](super::Reason::ApprovalRequired). So does a payload that is no `T`.
    ///
    /// ```
    /// use serde::Deserialize;
    /// use sts_client::ScopeToken;
    /// use sts_client::envelope::Needs;
    ///
    /// #[derive(Deserialize)]
    /// struct Refund { order: String, cents: u32 }
    ///
    /// // Registry: `details = [{ type = "message", actions = ["refund"], limits = { cents = 100000 } }]` and
    /// // `approval = { actions = ["refund"], by = "user" }`.
    /// let needs = Needs::scopes([ScopeToken::new("refund:draft")?])
    ///     .approved_action("refund", |action, refund: &Refund| action.limit("cents", refund.cents));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn approved_action<T: DeserializeOwned + 'static>(
        mut self,
        name: impl Into<String>,
        quantify: impl Fn(RequiredAction, &T) -> RequiredAction + Send + Sync + 'static,
    ) -> Self {
        self.approval = Approval::OfSts(ApprovedAction::new(name.into(), quantify));
        self
    }

    pub(super) fn met_by(&self, scopes: &Scope) -> bool {
        self.scopes.is_subset(scopes)
    }

    pub(super) fn required_approval(&self) -> &Approval {
        &self.approval
    }
}

/// The requirements of each capability. A capability that is not in the map is refused.
pub(super) type Policy = BTreeMap<Capability, Needs>;
