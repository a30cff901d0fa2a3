//! The elements of `authorization_details` (RFC 9396), for permissions finer than scopes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

/// The maximum length of a requested `authorization_details`, in bytes.
pub const MAX_DETAILS_BYTES: usize = 4 * 1024;
/// The maximum number of elements, of values of a member, and of limits.
pub const MAX_DETAILS: usize = 32;
/// The maximum length of a text in an element, in characters.
const MAX_TEXT_CHARS: usize = 256;
/// The greatest limit. Every JSON reader holds integers up to this one exactly (RFC 8259 §6).
const MAX_LIMIT: f64 = 9_007_199_254_740_991.0;

/// A permission for actions of one type, within limits (RFC 9396 §2).
///
/// An absent member does not restrict. Members other than these are refused.
///
/// ```
/// use sts_protocol::AuthorizationDetail;
///
/// let wire = r#"{"type":"mcp_tool","actions":["reserve"],"limits":{"quantity":10}}"#;
/// let detail: AuthorizationDetail = serde_json::from_str(wire)?;
/// assert!(detail.actions.as_ref().is_some_and(|actions| actions.contains("reserve")));
/// assert_eq!(serde_json::to_string(&detail)?, wire);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationDetail {
    /// The type, which gives the other members their meaning.
    #[serde(rename = "type")]
    pub detail_type: DetailText,
    /// The places where the permission is valid, such as URIs of servers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locations: Option<DetailValues>,
    /// The permitted actions, such as names of tools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actions: Option<DetailValues>,
    /// The kinds of data that the permission covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub datatypes: Option<DetailValues>,
    /// The one resource that the permission covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identifier: Option<DetailText>,
    /// The greatest values of named quantities.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<DetailText, DetailLimit>,
}

/// A text of 1 to 256 characters without control characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DetailText(String);

/// One or more different texts, in the order of their sender. An array without values is refused,
/// because readers disagree whether it permits nothing or everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<DetailText>", into = "Vec<DetailText>")]
pub struct DetailValues(Vec<DetailText>);

/// A number from 0 to 2^53 - 1, which need not be an integer.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "serde_json::Number", into = "serde_json::Number")]
pub struct DetailLimit(f64);

/// A member of an element is malformed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DetailError {
    /// A text is empty, too long, or has control characters.
    #[error("a text is empty, longer than {MAX_TEXT_CHARS} characters, or has control characters")]
    Text,
    /// An array has no value, a repeated value, or too many.
    #[error("an array needs 1 to {MAX_DETAILS} different values")]
    Values,
    /// A limit is negative or too large.
    #[error("a limit must be a number from 0 to 2^53 - 1")]
    Limit,
}

/// The `authorization_details` are not an array of 1 to [`MAX_DETAILS`] well-formed elements.
#[derive(Debug, Error)]
pub enum DetailsError {
    /// The value is not an array, has no element, or has too many.
    #[error("not an array of 1 to {MAX_DETAILS} elements")]
    Array,
    /// Two elements are equal.
    #[error("an element is repeated")]
    Repeated,
    /// An element has more than [`MAX_DETAILS`] limits.
    #[error("an element has more than {MAX_DETAILS} limits")]
    Limits,
    /// An element is malformed.
    #[error("an element is malformed")]
    Element(#[source] serde_json::Error),
}

impl AuthorizationDetail {
    /// Reads an array of elements. No JSON object in `details` may have had a repeated member.
    ///
    /// # Errors
    /// [`DetailsError`] for the first fault.
    pub fn array(details: Value) -> Result<Vec<Self>, DetailsError> {
        let Value::Array(elements) = details else { return Err(DetailsError::Array) };
        if elements.is_empty() || elements.len() > MAX_DETAILS {
            return Err(DetailsError::Array);
        }
        let mut read: Vec<Self> = Vec::with_capacity(elements.len());
        for element in elements {
            let element: Self = serde_json::from_value(element).map_err(DetailsError::Element)?;
            if element.limits.len() > MAX_DETAILS {
                return Err(DetailsError::Limits);
            }
            if read.contains(&element) {
                return Err(DetailsError::Repeated);
            }
            read.push(element);
        }
        Ok(read)
    }

    /// Returns true if it permits nothing that `outer` does not. A member that `outer` has and this one
    /// lacks would widen it.
    ///
    /// ```
    /// use sts_protocol::AuthorizationDetail;
    ///
    /// let read = |wire: &str| serde_json::from_str::<AuthorizationDetail>(wire);
    /// let outer = read(r#"{"type":"mcp_tool","limits":{"quantity":10}}"#)?;
    /// assert!(read(r#"{"type":"mcp_tool","actions":["reserve"],"limits":{"quantity":5}}"#)?.is_within(&outer));
    /// assert!(!read(r#"{"type":"mcp_tool","actions":["reserve"]}"#)?.is_within(&outer));
    /// # Ok::<(), serde_json::Error>(())
    /// ```
    #[must_use]
    pub fn is_within(&self, outer: &Self) -> bool {
        self.narrows_members_of(outer) && self.has_limits(outer, |own, limit| own.is_some_and(|own| own <= limit))
    }

    /// Returns true if it permits nothing that `outer` does not, once it has the limits that it lacks and
    /// `outer` has.
    #[must_use]
    pub fn is_within_once_limited(&self, outer: &Self) -> bool {
        self.narrows_members_of(outer) && self.has_limits(outer, |own, limit| own.is_none_or(|own| own <= limit))
    }

    fn narrows_members_of(&self, outer: &Self) -> bool {
        let Self { detail_type, locations, actions, datatypes, identifier, limits: _ } = outer;
        self.detail_type == *detail_type
            && is_subset(self.locations.as_ref(), locations.as_ref())
            && is_subset(self.actions.as_ref(), actions.as_ref())
            && is_subset(self.datatypes.as_ref(), datatypes.as_ref())
            && identifier.as_ref().is_none_or(|identifier| self.identifier.as_ref() == Some(identifier))
    }

    fn has_limits(&self, outer: &Self, is_kept: impl Fn(Option<&DetailLimit>, &DetailLimit) -> bool) -> bool {
        outer.limits.iter().all(|(name, limit)| is_kept(self.limits.get(name), limit))
    }
}

fn is_subset(inner: Option<&DetailValues>, outer: Option<&DetailValues>) -> bool {
    outer.is_none_or(|outer| inner.is_some_and(|inner| inner.is_subset(outer)))
}

impl DetailText {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl DetailValues {
    /// Returns true if the text is one of the values.
    #[must_use]
    pub fn contains(&self, text: &str) -> bool {
        self.0.iter().any(|value| value.as_str() == text)
    }

    /// Returns true if every value is one of `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        self.0.iter().all(|value| other.contains(value.as_str()))
    }

    /// Returns the values, in their order.
    pub fn iter(&self) -> impl Iterator<Item = &DetailText> {
        self.0.iter()
    }
}

impl DetailLimit {
    /// Returns the number.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        self.0
    }
}

impl TryFrom<String> for DetailText {
    type Error = DetailError;

    fn try_from(text: String) -> Result<Self, DetailError> {
        let is_long = text.len() > MAX_TEXT_CHARS && text.chars().nth(MAX_TEXT_CHARS).is_some();
        if text.is_empty() || is_long || text.chars().any(char::is_control) {
            return Err(DetailError::Text);
        }
        Ok(Self(text))
    }
}

impl From<DetailText> for String {
    fn from(text: DetailText) -> Self {
        text.0
    }
}

impl TryFrom<Vec<DetailText>> for DetailValues {
    type Error = DetailError;

    fn try_from(values: Vec<DetailText>) -> Result<Self, DetailError> {
        let distinct: BTreeSet<&DetailText> = values.iter().collect();
        if values.is_empty() || values.len() > MAX_DETAILS || distinct.len() < values.len() {
            return Err(DetailError::Values);
        }
        Ok(Self(values))
    }
}

impl From<DetailValues> for Vec<DetailText> {
    fn from(values: DetailValues) -> Self {
        values.0
    }
}

impl TryFrom<serde_json::Number> for DetailLimit {
    type Error = DetailError;

    fn try_from(number: serde_json::Number) -> Result<Self, DetailError> {
        let limit = number.as_f64().filter(|limit| (0.0..=MAX_LIMIT).contains(limit)).ok_or(DetailError::Limit)?;
        // Zero has one text, without a sign.
        Ok(Self(limit.abs()))
    }
}

impl From<DetailLimit> for serde_json::Number {
    /// Writes an integer without a fraction, so that equal limits have one text.
    fn from(DetailLimit(limit): DetailLimit) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "an integer below 2^53, which was checked")]
        #[expect(clippy::cast_sign_loss, reason = "limits are not negative")]
        let integer = (limit.fract() == 0.0).then_some(limit as u64);
        integer.map_or_else(|| Self::from_f64(limit).unwrap_or_else(|| Self::from(0_u64)), Self::from)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_array_of_well_formed_elements_reads_back() {
        let wire = json!([
            {
                "type": "mcp_tool", "locations": ["https://shop.example/"], "actions": ["reserve", "cancel"],
                "datatypes": ["order"], "identifier": "o-1", "limits": { "amount": 99.5, "quantity": 10 },
            },
            { "type": "mcp_tool" },
        ]);
        let details = AuthorizationDetail::array(wire.clone()).unwrap();
        assert_eq!(serde_json::to_value(details).unwrap(), wire);
        let equal = AuthorizationDetail::array(json!([{ "type": "t", "limits": { "n": 1e2 } }])).unwrap();
        assert_eq!(serde_json::to_string(&equal).unwrap(), r#"[{"type":"t","limits":{"n":100}}]"#);
    }

    #[test]
    fn an_element_is_within_one_that_is_wider_in_every_member() {
        let whole = json!({
            "type": "t", "locations": ["a", "b"], "actions": ["x", "y"], "datatypes": ["d"], "identifier": "i",
            "limits": { "n": 10 },
        });
        let detail = |wire: Value| serde_json::from_value::<AuthorizationDetail>(wire).unwrap();
        let with = |member: &str, value: Value| {
            let mut changed = whole.clone();
            match value {
                Value::Null => changed.as_object_mut().unwrap().remove(member),
                value => changed.as_object_mut().unwrap().insert(member.to_owned(), value),
            };
            detail(changed)
        };
        let outer = detail(whole.clone());
        for (member, value, is_within, once_limited) in [
            ("type", json!("t"), true, true),
            ("type", json!("u"), false, false),
            ("locations", json!(["a"]), true, true),
            ("locations", json!(["c"]), false, false),
            ("locations", Value::Null, false, false),
            ("actions", json!(["y"]), true, true),
            ("actions", json!(["x", "z"]), false, false),
            ("actions", Value::Null, false, false),
            ("datatypes", Value::Null, false, false),
            ("identifier", json!("j"), false, false),
            ("identifier", Value::Null, false, false),
            ("limits", json!({ "n": 9, "m": 1 }), true, true),
            ("limits", json!({ "n": 11 }), false, false),
            ("limits", json!({ "m": 1 }), false, true),
            ("limits", Value::Null, false, true),
        ] {
            let inner = with(member, value.clone());
            let found = (inner.is_within(&outer), inner.is_within_once_limited(&outer));
            assert_eq!(found, (is_within, once_limited), "{member} {value}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        let of_limit = |limit: Value| json!([{ "type": "t", "limits": { "n": limit } }]);
        let many = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>();
        let limits: serde_json::Map<String, Value> = many(33).into_iter().map(|name| (name, json!(1))).collect();
        for wire in [
            json!({}),
            json!(null),
            json!("[]"),
            json!([]),
            json!([[]]),
            json!(["mcp_tool"]),
            json!([{}]),
            json!([{ "type": null }]),
            json!([{ "type": 1 }]),
            json!([{ "type": "" }]),
            json!([{ "type": "a\n" }]),
            json!([{ "type": "x".repeat(257) }]),
            json!([{ "type": "t", "privileges": ["admin"] }]),
            json!([{ "type": "t", "Actions": ["a"] }]),
            json!([{ "type": "t", "actions": [] }]),
            json!([{ "type": "t", "actions": "a" }]),
            json!([{ "type": "t", "actions": ["a", "a"] }]),
            json!([{ "type": "t", "actions": [["a"]] }]),
            json!([{ "type": "t", "actions": [1] }]),
            json!([{ "type": "t", "actions": many(33) }]),
            json!([{ "type": "t", "identifier": ["a"] }]),
            json!([{ "type": "t", "limits": [1] }]),
            json!([{ "type": "t", "limits": limits }]),
            json!([{ "type": "t" }, { "type": "t" }]),
            of_limit(json!("10")),
            of_limit(json!(true)),
            of_limit(json!(null)),
            of_limit(json!(-1)),
            of_limit(json!(1e16)),
            of_limit(json!({ "n": 1 })),
            of_limit(json!([1])),
        ] {
            assert!(AuthorizationDetail::array(wire.clone()).is_err(), "{wire}");
        }
    }
}
