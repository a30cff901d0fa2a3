//! The kinds of credential of an outbound call.

/// The kind of credential that a call carries.
///
/// ```
/// use sts_client::propagate::Credential;
///
/// /// True if the target sees the user, and not this agent alone.
/// fn names_the_user(credential: Credential) -> bool {
///     matches!(credential, Credential::Exchanged | Credential::PassThrough)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Credential {
    /// A token that the STS issued for this hop. It names the user and the actor.
    Exchanged,
    /// The agent's own token.
    ServiceAccount,
    /// The agent's own token, in place of an exchanged token while the STS is unreachable.
    Fallback,
    /// The user's own token.
    PassThrough,
}

impl Credential {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Exchanged => "exchanged",
            Self::ServiceAccount => "service_account",
            Self::Fallback => "fallback",
            Self::PassThrough => "pass_through",
        }
    }
}
