//! The authorization details of a call of one tool.

use std::collections::BTreeMap;

use sts_protocol::{AuthorizationDetail, DetailText, DetailValues};

use super::required_action::MCP_TOOL;

/// Returns the details for a call of exactly this tool: those of `details` that permit it, for it alone. Without
/// details it is the permission to call the tool. Returns `None` if no element permits the tool.
pub(crate) fn of_tool(details: &[AuthorizationDetail], tool: &str) -> Option<Vec<AuthorizationDetail>> {
    let text = |text: &str| DetailText::try_from(text.to_owned()).ok();
    let actions = DetailValues::try_from(vec![text(tool)?]).ok();
    if details.is_empty() {
        return Some(vec![AuthorizationDetail {
            detail_type: text(MCP_TOOL)?,
            locations: None,
            actions,
            datatypes: None,
            identifier: None,
            limits: BTreeMap::new(),
        }]);
    }
    let mut of_tool: Vec<AuthorizationDetail> = Vec::new();
    for detail in details.iter().filter(|detail| detail.actions.as_ref().is_none_or(|named| named.contains(tool))) {
        let narrowed = AuthorizationDetail { actions: actions.clone(), ..detail.clone() };
        if !of_tool.contains(&narrowed) {
            of_tool.push(narrowed);
        }
    }
    (!of_tool.is_empty()).then_some(of_tool)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_details_of_a_tool_name_it_alone_and_keep_the_rest() {
        let rows = [
            (json!([]), Some(json!([{ "type": "mcp_tool", "actions": ["refund"] }]))),
            (
                json!([{ "type": "mcp_tool", "locations": ["a"], "limits": { "amount": 50 } }]),
                Some(
                    json!([{ "type": "mcp_tool", "locations": ["a"], "actions": ["refund"], "limits": { "amount": 50 } }]),
                ),
            ),
            (
                json!([{ "type": "x", "actions": ["lookup", "refund"] }, { "type": "x", "actions": ["refund"] }]),
                Some(json!([{ "type": "x", "actions": ["refund"] }])),
            ),
            (json!([{ "type": "mcp_tool", "actions": ["lookup"] }]), None),
        ];
        for (details, expected) in rows {
            let read: Vec<AuthorizationDetail> = serde_json::from_value(details.clone()).unwrap();
            let of_tool: Option<Value> = of_tool(&read, "refund").map(|details| json!(details));
            assert_eq!(of_tool, expected, "{details}");
        }
        assert_eq!(of_tool(&[], ""), None);
        assert_eq!(of_tool(&[], "a\nb"), None);
    }
}
