//! The approval that the STS requires before it issues a token.

use serde_json::{Map, Value};
use url::Url;

/// The maximum length of an approval's id, in bytes.
const MAX_ID_BYTES: usize = 128;

/// The maximum length of the page's URL, in bytes.
const MAX_URI_BYTES: usize = 2_048;

/// The approval that the STS requires before it issues a token: a person decides on the page, and then
/// the same call passes.
///
/// ```
/// use sts_client::Error;
///
/// /// The text that an agent shows to its user.
/// fn told(error: &Error) -> Option<String> {
///     let Error::ApprovalRequired(required) = error else { return None };
///     Some(format!("Please decide at {}", required.interaction_uri))
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequiredApproval {
    /// The id of the approval. Equal calls share one.
    pub approval_id: String,
    /// The page on which the person decides.
    pub interaction_uri: Url,
    /// The person who decides, if the STS names one.
    pub approver: Option<Approver>,
}

/// The person who decides on an approval.
///
/// ```
/// use sts_client::Approver;
///
/// assert_eq!(Approver::User.as_str(), "user");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Approver {
    /// The user on whose behalf the agent acts.
    User,
    /// An operator of the STS.
    Operator,
}

impl Approver {
    /// Returns the name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Operator => "operator",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [Self::User, Self::Operator].into_iter().find(|approver| approver.as_str() == name)
    }
}

impl RequiredApproval {
    /// Returns the approval; `None` if the id or the URL cannot be used. The page is an http(s) URL
    /// without user, password and fragment, because agents show it to persons.
    pub(crate) fn new(approval_id: &str, interaction_uri: &str, approver: Option<&str>) -> Option<Self> {
        let is_id =
            (1..=MAX_ID_BYTES).contains(&approval_id.len()) && approval_id.bytes().all(|b| b.is_ascii_graphic());
        if !is_id {
            return None;
        }
        let interaction_uri = page(interaction_uri)?;
        let approver = approver.and_then(Approver::from_name);
        Some(Self { approval_id: approval_id.to_owned(), interaction_uri, approver })
    }

    /// Reads the members of an `interaction_required` answer.
    pub(crate) fn from_answer(body: &Map<String, Value>) -> Option<Self> {
        let text = |member: &str| body.get(member).and_then(Value::as_str);
        Self::new(text("approval_id")?, text("interaction_uri")?, text("approver"))
    }
}

/// Returns the URL of a page for persons; `None` if it is not one.
pub(crate) fn page(uri: &str) -> Option<Url> {
    let url = Url::parse(uri).ok().filter(|_| uri.len() <= MAX_URI_BYTES)?;
    let is_page = matches!(url.scheme(), "http" | "https")
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none();
    is_page.then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_to_a_person_is_no_approval() {
        let page = "https://sts.example.com/approvals/a-1";
        assert!(RequiredApproval::new("a-1", page, Some("user")).is_some());
        let long = "x".repeat(2_049);
        for (id, uri) in [
            ("", page),
            ("a 1", page),
            ("a\n1", page),
            (long.as_str(), page),
            ("a-1", ""),
            ("a-1", "/approvals/a-1"),
            ("a-1", "javascript:alert(1)"),
            ("a-1", "data:text/html,x"),
            ("a-1", "https://bank.example@evil.example/"),
            ("a-1", "https://u:p@sts.example.com/"),
            ("a-1", "https://sts.example.com/#x"),
            ("a-1", &format!("https://sts.example.com/{long}")),
        ] {
            assert!(RequiredApproval::new(id, uri, None).is_none(), "{id:?} {uri:?}");
        }
    }

    #[test]
    fn an_unknown_approver_is_none() {
        let required = RequiredApproval::new("a-1", "https://sts.example.com/", Some("a robot")).unwrap();
        assert_eq!(required.approver, None);
    }
}
