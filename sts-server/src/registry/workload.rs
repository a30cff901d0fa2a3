//! Workload identities: subjects of outside issuers that authenticate as our agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sts_jose::{ClaimSelector, Claims};
use utoipa::ToSchema;

/// A workload identity: a subject of an outside issuer that authenticates as one of our agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The issuer of its tokens. Until the issuer is registered, its tokens are refused.
    pub issuer: String,
    /// The subject of its tokens. For a class, it ends with `*`, which stands for the last segment
    /// or the end of it.
    pub subject: String,
    /// The `aud` that its tokens must contain. If absent, our issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Further claims, by name or by JSON Pointer, with the exact values that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub claims: BTreeMap<ClaimSelector, Value>,
}

impl Workload {
    /// Returns the subject before its trailing `*`, or `None` for an exact subject.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        self.subject.strip_suffix('*')
    }

    /// Returns the part of `subject` that the `*` stands for.
    #[must_use]
    pub fn matched<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(self.pattern()?).filter(|matched| is_matched(matched))
    }

    /// Returns the first of [`Self::claims`] that the token does not have with the required value.
    #[must_use]
    pub fn lacks(&self, claims: &Claims) -> Option<&ClaimSelector> {
        self.claims.iter().find(|(selector, value)| selector.value(claims) != Some(value)).map(|(selector, _)| selector)
    }
}

/// True if a `*` may stand for this text: part of one segment, of characters that an id may have.
pub(super) fn is_matched(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'*'))
}
