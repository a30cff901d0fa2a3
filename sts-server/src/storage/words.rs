//! The words that stand for enums, in the database and wherever one of them is shown.
//!
//! A new variant needs a word that no variant ever had: rows outlive versions of this service.

use super::{ApprovalState, EntryKind, KeyState, Origin, RevocationKind, StorageError};

impl EntryKind {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::Issuer, Self::Agent, Self::Delegation];

    /// The word for it, in the column `kind` of `entries` and elsewhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Agent => "agent",
            Self::Delegation => "delegation",
        }
    }

    pub(super) fn of_word(word: &str) -> Result<Self, StorageError> {
        known(&Self::ALL, Self::as_str, word).ok_or_else(|| unknown("entries", "kind", word))
    }
}

impl Origin {
    /// All origins.
    pub const ALL: [Self; 2] = [Self::File, Self::Api];

    /// The word for it, in the column `origin` of `entries` and elsewhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Api => "api",
        }
    }

    pub(super) fn of_word(word: &str) -> Result<Self, StorageError> {
        known(&Self::ALL, Self::as_str, word).ok_or_else(|| unknown("entries", "origin", word))
    }
}

impl KeyState {
    /// All states.
    pub const ALL: [Self; 3] = [Self::Next, Self::Active, Self::Retired];

    /// The word for it, in the column `state` of `signing_keys` and elsewhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Active => "active",
            Self::Retired => "retired",
        }
    }

    pub(super) fn of_word(word: &str) -> Result<Self, StorageError> {
        known(&Self::ALL, Self::as_str, word).ok_or_else(|| unknown("signing_keys", "state", word))
    }
}

impl RevocationKind {
    /// All kinds.
    pub const ALL: [Self; 6] =
        [Self::Token, Self::TokenAlone, Self::Transaction, Self::Subject, Self::Agent, Self::Tenant];

    /// The word for it, in the column `kind` of `revocations` and elsewhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::TokenAlone => "token_alone",
            Self::Transaction => "transaction",
            Self::Subject => "subject",
            Self::Agent => "agent",
            Self::Tenant => "tenant",
        }
    }

    /// Returns what a revocation of this kind names, in words about a token that it covers.
    #[must_use]
    pub fn of_a_token(self) -> &'static str {
        match self {
            Self::Token => "this token, or of one that it came from",
            Self::TokenAlone => "this token",
            Self::Transaction => "its transaction",
            Self::Subject => "its user",
            Self::Agent => "one of its agents",
            Self::Tenant => "its tenant",
        }
    }

    pub(super) fn of_word(word: &str) -> Result<Self, StorageError> {
        known(&Self::ALL, Self::as_str, word).ok_or_else(|| unknown("revocations", "kind", word))
    }
}

impl ApprovalState {
    /// All states.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Granted, Self::Denied, Self::Withdrawn, Self::Expired, Self::Ended];

    /// The word for it, in the column `state` of `approvals` and elsewhere.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Granted => "granted",
            Self::Denied => "denied",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
            Self::Ended => "ended",
        }
    }

    pub(super) fn of_word(word: &str) -> Result<Self, StorageError> {
        known(&Self::ALL, Self::as_str, word).ok_or_else(|| unknown("approvals", "state", word))
    }
}

fn known<T: Copy>(all: &[T], as_str: fn(T) -> &'static str, word: &str) -> Option<T> {
    all.iter().copied().find(|value| as_str(*value) == word)
}

fn unknown(table: &'static str, column: &str, word: &str) -> StorageError {
    StorageError::Malformed { table, reason: format!("unknown {column} {word:?}") }
}
