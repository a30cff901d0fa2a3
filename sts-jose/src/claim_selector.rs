//! Claim selectors: the places of a token where an issuer puts tenant, roles, subject, scope and
//! audience.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::Value;

use crate::claims::{ClaimError, Claims};

/// The longest selector, in bytes.
const MAX_SELECTOR_BYTES: usize = 512;

/// The type that a selected value must have, in the words of an error.
const TEXTS: &str = "a string or an array of strings, none of them empty";

/// A place in a token: the literal name of a claim, or a JSON Pointer (RFC 6901) if it starts with
/// `/`. A pointer whose last step is `*` selects the member names of an object.
///
/// ```
/// use sts_jose::ClaimSelector;
///
/// for text in ["org_id", "https://acme.example/roles", "/realm_access/roles", "/organization/*"] {
///     assert_eq!(text.parse::<ClaimSelector>()?.to_string(), text);
/// }
/// # Ok::<(), sts_jose::SelectorSyntaxError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClaimSelector {
    text: String,
    place: Place,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// The claim of this literal name.
    Claim,
    /// The value at the end of these steps.
    Value(Vec<String>),
    /// The names of the members of the object at the end of these steps.
    Names(Vec<String>),
}

/// One or more selectors. The first that yields a value wins.
///
/// ```
/// use sts_jose::{ClaimSelectors, Claims};
///
/// let tenant: ClaimSelectors = serde_json::from_str(r#"["org_id", "/organization/*"]"#)?;
/// let claims = serde_json::from_str(r#"{ "organization": { "acme": { "id": "42" } } }"#)?;
/// assert_eq!(tenant.one(&Claims::new(claims)).unwrap().as_deref(), Some("acme"));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimSelectors(Vec<ClaimSelector>);

/// A selected value: a text, or an array of strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selected<'a> {
    /// A single text.
    One(Cow<'a, str>),
    /// A non-empty array of strings.
    Many(&'a [Value]),
}

/// The text is not a claim selector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SelectorSyntaxError {
    /// Empty, longer than 512 bytes, or with control characters.
    #[error("a selector is 1 to 512 bytes without control characters")]
    Text,
    /// A `~` without a following `0` or `1`.
    #[error("in a pointer '~' is written ~0 and '/' inside of a name ~1")]
    Escape,
    /// A `*` before the last step, or as the only step.
    #[error("'*' is the last step of a pointer and follows the name of a claim, as in /organization/*")]
    Star,
    /// An array without selectors.
    #[error("at least one selector is needed")]
    None,
}

impl ClaimSelector {
    /// Returns a selector for the claim of this literal name, even if it starts with `/`.
    #[must_use]
    pub fn claim(name: &str) -> Self {
        let text = if name.starts_with('/') {
            format!("/{}", name.replace('~', "~0").replace('/', "~1"))
        } else {
            name.to_owned()
        };
        let place = if name.starts_with('/') { Place::Value(vec![name.to_owned()]) } else { Place::Claim };
        Self { text, place }
    }

    /// Returns the selected value without conversion. Returns `None` if the value is absent or
    /// `null`, or if the selector selects names.
    #[must_use]
    pub fn value<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        match &self.place {
            Place::Claim => claims.get(&self.text),
            Place::Value(steps) => follow(steps, claims),
            Place::Names(_) => None,
        }
        .filter(|value| !value.is_null())
    }

    /// Returns the selected text or texts.
    fn select<'a>(&self, claims: &'a Claims) -> Result<Option<Selected<'a>>, ClaimError> {
        let Place::Names(steps) = &self.place else {
            return self.value(claims).map_or(Ok(None), |value| self.read(value));
        };
        let mut names = names(steps, claims);
        match (names.next(), names.next()) {
            (None, _) => Ok(None),
            (Some(name), None) => Ok(Some(Selected::One(Cow::Borrowed(name)))),
            (Some(_), Some(_)) => Err(self.several()),
        }
    }

    /// Reads a value as text. An empty text or array counts as absent.
    fn read<'a>(&self, value: &'a Value) -> Result<Option<Selected<'a>>, ClaimError> {
        let is_text = |item: &Value| item.as_str().is_some_and(|text| !text.is_empty());
        match value {
            Value::String(text) => Ok((!text.is_empty()).then_some(Selected::One(Cow::Borrowed(text)))),
            Value::Array(items) if items.iter().all(is_text) => {
                Ok((!items.is_empty()).then_some(Selected::Many(items)))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
                Err(ClaimError::WrongType { name: self.text.clone(), expected: TEXTS })
            }
        }
    }

    /// Returns the names in a value, including the `name` of objects. Elements of other shapes are
    /// skipped.
    fn names_in<'a>(&self, claims: &'a Claims) -> Vec<Cow<'a, str>> {
        if let Place::Names(steps) = &self.place {
            return names(steps, claims).map(Cow::Borrowed).collect();
        }
        match self.value(claims) {
            Some(Value::Array(items)) => items.iter().filter_map(name_of).collect(),
            Some(value) => name_of(value).into_iter().collect(),
            None => Vec::new(),
        }
    }

    fn several(&self) -> ClaimError {
        ClaimError::NotOneValue { name: self.text.clone() }
    }
}

impl ClaimSelectors {
    /// Returns the selectors: at least one.
    #[must_use]
    pub fn as_slice(&self) -> &[ClaimSelector] {
        &self.0
    }

    /// Returns true if this is a single selector with the literal claim name `name`.
    #[must_use]
    pub fn is_claim(&self, name: &str) -> bool {
        matches!(self.0.as_slice(), [only] if only.text == name)
    }

    /// Returns the texts of the first selector that yields any.
    ///
    /// # Errors
    /// [`ClaimError::NotOneValue`] if a `*` matches several members. [`ClaimError::WrongType`] if
    /// no selector yields a value, and one of them selects a value of another type.
    pub fn texts<'a>(&self, claims: &'a Claims) -> Result<Option<Selected<'a>>, ClaimError> {
        self.first(|selector| selector.select(claims))
    }

    /// Returns the text of the first selector that yields one. An array of one string and an
    /// integer are accepted.
    ///
    /// # Errors
    /// As for [`Self::texts`], and [`ClaimError::NotOneValue`] for an array of several strings.
    pub fn one<'a>(&self, claims: &'a Claims) -> Result<Option<Cow<'a, str>>, ClaimError> {
        let integer = |value: &Value| match value {
            Value::Number(number) if number.is_i64() || number.is_u64() => Some(number.to_string()),
            _ => None,
        };
        self.first(|selector| match selector.select(claims) {
            Err(error) => match selector.value(claims).and_then(integer) {
                Some(text) => Ok(Some(Cow::Owned(text))),
                None => Err(error),
            },
            Ok(None) => Ok(None),
            Ok(Some(Selected::One(text))) => Ok(Some(text)),
            Ok(Some(Selected::Many([Value::String(text)]))) => Ok(Some(Cow::Borrowed(text.as_str()))),
            Ok(Some(Selected::Many(_))) => Err(selector.several()),
        })
    }

    /// The subject. The claim `sub` itself is a string (RFC 7519 §4.1.2).
    ///
    /// # Errors
    /// As for [`Self::one`].
    pub fn subject<'a>(&self, claims: &'a Claims) -> Result<Option<Cow<'a, str>>, ClaimError> {
        if self.is_claim("sub") {
            return Ok(claims.string("sub")?.map(Cow::Borrowed));
        }
        self.one(claims)
    }

    /// True if a token with these claims is addressed to an audience that `is_own` knows. In the claim `aud` itself no value is empty.
    ///
    /// # Errors
    /// As for [`Self::texts`], or for [`Claims::audience`].
    pub fn address(&self, claims: &Claims, is_own: impl Fn(&str) -> bool) -> Result<bool, ClaimError> {
        if self.is_claim("aud") {
            return Ok(claims.audience()?.into_iter().any(is_own));
        }
        Ok(self.texts(claims)?.iter().flat_map(Selected::iter).any(is_own))
    }

    /// The names that the first selector yields which yields any: of roles, say. Elements may also be objects with a `name`. Values of
    /// other shapes hold no names and are no error.
    #[must_use]
    pub fn names<'a>(&self, claims: &'a Claims) -> Vec<Cow<'a, str>> {
        self.0.iter().map(|selector| selector.names_in(claims)).find(|names| !names.is_empty()).unwrap_or_default()
    }

    fn first<T>(
        &self,
        select: impl Fn(&ClaimSelector) -> Result<Option<T>, ClaimError>,
    ) -> Result<Option<T>, ClaimError> {
        let mut wrong_type = None;
        for selector in &self.0 {
            match select(selector) {
                Ok(None) => {}
                Err(error @ ClaimError::WrongType { .. }) => {
                    wrong_type.get_or_insert(error);
                }
                found => return found,
            }
        }
        wrong_type.map_or(Ok(None), Err)
    }
}

impl Selected<'_> {
    /// Returns an iterator over the texts.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::One(text) => (Some(text.as_ref()), [].as_slice()),
            Self::Many(items) => (None, *items),
        };
        one.into_iter().chain(many.iter().filter_map(Value::as_str))
    }

    /// Returns the words of a list such as a scope. A text is split at white space; an array yields
    /// its elements. Blank elements are skipped.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        let (one, many) = match self {
            Self::One(text) => (text.as_ref(), [].as_slice()),
            Self::Many(items) => ("", *items),
        };
        let elements = many.iter().filter_map(Value::as_str).map(str::trim_ascii).filter(|word| !word.is_empty());
        one.split_ascii_whitespace().chain(elements)
    }
}

/// Returns the value at the end of the steps.
fn follow<'a>(steps: &[String], claims: &'a Claims) -> Option<&'a Value> {
    let (first, others) = steps.split_first()?;
    others.iter().try_fold(claims.get(first)?, |value, step| match value {
        Value::Object(members) => members.get(step),
        Value::Array(items) => items.get(index(step)?),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    })
}

/// Parses an array index (RFC 6901 §4): digits without leading zeros.
fn index(step: &str) -> Option<usize> {
    let is_index = step == "0" || (!step.starts_with('0') && step.bytes().all(|byte| byte.is_ascii_digit()));
    step.parse().ok().filter(|_| is_index)
}

/// Returns the member names of the object at the end of the steps. Other values have none.
fn names<'a>(steps: &[String], claims: &'a Claims) -> impl Iterator<Item = &'a str> {
    follow(steps, claims).and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str())
}

fn name_of(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(name) => Some(Cow::Borrowed(name.as_str())),
        Value::Number(number) if number.is_i64() || number.is_u64() => Some(Cow::Owned(number.to_string())),
        Value::Object(members) => members.get("name").and_then(Value::as_str).map(Cow::Borrowed),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => None,
    }
    .filter(|name| !name.is_empty())
}

fn unescape(step: &str) -> Result<String, SelectorSyntaxError> {
    let mut parts = step.split('~');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (escaped, others) = match (part.strip_prefix('0'), part.strip_prefix('1')) {
            (Some(others), _) => ('~', others),
            (None, Some(others)) => ('/', others),
            (None, None) => return Err(SelectorSyntaxError::Escape),
        };
        name.push(escaped);
        name.push_str(others);
    }
    Ok(name)
}

impl FromStr for ClaimSelector {
    type Err = SelectorSyntaxError;

    fn from_str(text: &str) -> Result<Self, SelectorSyntaxError> {
        if text.is_empty() || text.len() > MAX_SELECTOR_BYTES || text.chars().any(char::is_control) {
            return Err(SelectorSyntaxError::Text);
        }
        let of = |place| Self { text: text.to_owned(), place };
        let Some(pointer) = text.strip_prefix('/') else { return Ok(of(Place::Claim)) };
        let (steps, takes_names) = match pointer.strip_suffix("/*") {
            Some(steps) => (steps, true),
            None => (pointer, false),
        };
        if steps.split('/').any(|step| step == "*") {
            return Err(SelectorSyntaxError::Star);
        }
        let steps = steps.split('/').map(unescape).collect::<Result<Vec<_>, _>>()?;
        Ok(of(if takes_names { Place::Names(steps) } else { Place::Value(steps) }))
    }
}

impl fmt::Display for ClaimSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for ClaimSelectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, selector) in self.0.iter().enumerate() {
            let separator = if index > 0 { ", " } else { "" };
            write!(f, "{separator}{selector}")?;
        }
        Ok(())
    }
}

impl From<ClaimSelector> for ClaimSelectors {
    fn from(selector: ClaimSelector) -> Self {
        Self(vec![selector])
    }
}

impl TryFrom<Vec<ClaimSelector>> for ClaimSelectors {
    type Error = SelectorSyntaxError;

    fn try_from(selectors: Vec<ClaimSelector>) -> Result<Self, SelectorSyntaxError> {
        if selectors.is_empty() { Err(SelectorSyntaxError::None) } else { Ok(Self(selectors)) }
    }
}

impl Serialize for ClaimSelector {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for ClaimSelector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for ClaimSelectors {
    /// Writes one selector as a string, and several as an array.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [only] => only.serialize(serializer),
            several => several.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for ClaimSelectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMore;

        impl<'de> de::Visitor<'de> for OneOrMore {
            type Value = ClaimSelectors;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a claim selector or an array of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ClaimSelectors, E> {
                text.parse::<ClaimSelector>().map(ClaimSelectors::from).map_err(E::custom)
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<ClaimSelectors, A::Error> {
                let mut selectors = Vec::new();
                while let Some(selector) = items.next_element()? {
                    selectors.push(selector);
                }
                ClaimSelectors::try_from(selectors).map_err(de::Error::custom)
            }
        }

        deserializer.deserialize_any(OneOrMore)
    }
}
