//! Workload identities: subjects of outside issuers that are our agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sts_jose::{ClaimSelector, Claims};
use utoipa::ToSchema;

/// A workload identity: a subject of an outside issuer that is one of our agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// The issuer of its tokens; while it is not registered, none of them is believed.
    pub issuer: String,
    /// The subject of its tokens. Of a class it ends with `*`, which stands for the last segment or the end of it.
    pub subject: String,
    /// The `aud` that its tokens must hold; absent, our issuer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Further claims, by name or by JSON Pointer, with the exact values that they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = Option<Object>)]
    pub claims: BTreeMap<ClaimSelector, Value>,
}

impl Workload {
    /// The subject before its trailing `*`; none of an exact one.
    #[must_use]
    pub fn pattern(&self) -> Option<&str> {
        self.subject.strip_suffix('*')
    }

    /// The text that the `*` of the subject stands for in `subject`.
    #[must_use]
    pub fn matched<'s>(&self, subject: &'s str) -> Option<&'s str> {
        subject.strip_prefix(self.pattern()?).filter(|matched| is_matched(matched))
    }

    /// The first of [`Self::claims`] that a token does not have with that value.
    #[must_use]
    pub fn lacks(&self, claims: &Claims) -> Option<&ClaimSelector> {
        self.claims.iter().find(|(selector, value)| selector.value(claims) != Some(value)).map(|(selector, _)| selector)
    }
}

/// True if a `*` may stand for a text: a part of one segment, of characters that an id may have.
pub(super) fn is_matched(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'*'))
}
