//! A required approval as an elicitation by URL (MCP 2025-11-25).

use ::rmcp::model::{ErrorCode, ErrorData};
use serde_json::{Value, json};

use crate::call::RequiredApproval;

/// The code of an error that asks the client to send its user to a page first.
pub const URL_ELICITATION_REQUIRED: ErrorCode = ErrorCode(-32042);

/// Returns the error with which a tool answers that a person must approve its own call first. The MCP client
/// shows the page to its user, and repeats the tool call afterwards. Send it only to a client that has the
/// capability `elicitation.url`.
///
/// ```
/// use rmcp::ErrorData;
/// use sts_client::Error;
/// use sts_client::integrations::rmcp::url_elicitation;
///
/// /// The answer of a tool whose call to another agent was not sent.
/// fn answer(error: &Error) -> ErrorData {
///     match error {
///         Error::ApprovalRequired(required) => url_elicitation(required),
///         _ => ErrorData::internal_error("the call was not sent", None),
///     }
/// }
/// ```
#[must_use]
pub fn url_elicitation(required: &RequiredApproval) -> ErrorData {
    let elicitation = json!({
        "mode": "url",
        "elicitationId": required.approval_id,
        "url": required.interaction_uri.as_str(),
        "message": "A person must approve the call first.",
    });
    let data = json!({ "elicitations": [elicitation] });
    ErrorData::new(URL_ELICITATION_REQUIRED, "a person must approve the call first", Some(data))
}

/// Returns the approval that an MCP server requires by such an error; `None` for any other error, and for
/// several pages.
///
/// The server chose the page: show its host to the user, and let the user decide whether to open it.
///
/// ```
/// use rmcp::ServiceError;
/// use sts_client::integrations::rmcp::elicited_approval;
/// use sts_client::url::Url;
///
/// fn page(error: &ServiceError) -> Option<Url> {
///     let ServiceError::McpError(error) = error else { return None };
///     Some(elicited_approval(error)?.interaction_uri)
/// }
/// ```
#[must_use]
pub fn elicited_approval(error: &ErrorData) -> Option<RequiredApproval> {
    if error.code != URL_ELICITATION_REQUIRED {
        return None;
    }
    let [elicitation] = error.data.as_ref()?.get("elicitations")?.as_array()?.as_slice() else { return None };
    let text = |member: &str| elicitation.get(member).and_then(Value::as_str);
    if text("mode") != Some("url") {
        return None;
    }
    RequiredApproval::new(text("elicitationId")?, text("url")?, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn required() -> RequiredApproval {
        RequiredApproval::new("a-1", "https://sts.example.com/approvals/a-1", None).unwrap()
    }

    #[test]
    fn an_approval_survives_the_way_through_an_mcp_error() {
        assert_eq!(elicited_approval(&url_elicitation(&required())), Some(required()));
    }

    #[test]
    fn another_error_is_no_approval() {
        let valid = url_elicitation(&required());
        let with = |change: fn(&mut Value)| {
            let mut error = valid.clone();
            change(&mut error.data.as_mut().unwrap()["elicitations"]);
            error
        };
        let other = ErrorData { code: ErrorCode::INVALID_PARAMS, ..valid.clone() };
        let rows = [
            ("another code", other),
            ("no data", ErrorData { data: None, ..valid.clone() }),
            ("a form", with(|list| list[0]["mode"] = json!("form"))),
            ("no page", with(|list| list[0]["url"] = json!("javascript:alert(1)"))),
            ("no id", with(|list| list[0]["elicitationId"] = json!(""))),
            ("none", with(|list| *list = json!([]))),
            ("two", with(|list| *list = json!([list[0], list[0]]))),
        ];
        for (label, error) in rows {
            assert_eq!(elicited_approval(&error), None, "{label}");
        }
    }
}
