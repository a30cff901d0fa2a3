//! The capabilities that a message may request, and their requirements.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sts_protocol::{Scope, ScopeToken};

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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    scopes: Scope,
    approval: bool,
}

impl Needs {
    /// Requires all of these scopes, delegated.
    #[must_use]
    pub fn scopes(scopes: impl IntoIterator<Item = ScopeToken>) -> Self {
        Self { scopes: scopes.into_iter().collect(), approval: false }
    }

    /// Also requires an approval of exactly this operation: see [`super::Approvals`].
    #[must_use]
    pub fn approval(mut self) -> Self {
        self.approval = true;
        self
    }

    pub(super) fn met_by(&self, scopes: &Scope) -> bool {
        self.scopes.is_subset(scopes)
    }

    pub(super) fn wants_approval(&self) -> bool {
        self.approval
    }
}

/// The requirements of each capability. A capability that is not in the map is refused.
pub(super) type Policy = BTreeMap<Capability, Needs>;
