//! What a message may ask for, and what a recipient needs to see before it does that.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use sts_protocol::{Scope, ScopeToken};

/// What a message asks of its recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Capability {
    /// To tell something.
    Read,
    /// To ask others on the caller's behalf.
    Delegate,
    /// To run a tool.
    ToolCall,
    /// To begin or change a workflow.
    WorkflowCommand,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Delegate, Self::ToolCall, Self::WorkflowCommand];

    /// The name in an envelope.
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

/// The text names no capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a capability")]
pub struct UnknownCapability;

impl FromStr for Capability {
    type Err = UnknownCapability;

    fn from_str(text: &str) -> Result<Self, UnknownCapability> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == text).ok_or(UnknownCapability)
    }
}

/// What a recipient needs to see before it does what a capability asks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Needs {
    scopes: Scope,
    approval: bool,
}

impl Needs {
    /// All of these scopes, delegated.
    #[must_use]
    pub fn scopes(scopes: impl IntoIterator<Item = ScopeToken>) -> Self {
        Self { scopes: scopes.into_iter().collect(), approval: false }
    }

    /// And that somebody has approved the very operation: see [`super::Approvals`].
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

/// What each capability needs. One that is not in here is refused.
pub(super) type Policy = BTreeMap<Capability, Needs>;
