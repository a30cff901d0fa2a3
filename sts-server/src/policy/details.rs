//! The authorization details that a delegation grants, given those that the subject holds (RFC 9396).

use sts_protocol::AuthorizationDetail;

use super::PolicyError;

/// The authorization details that a subject token entitles to.
#[derive(Debug, Clone, PartialEq)]
pub enum HeldDetails {
    /// All details of the delegation that applies.
    OfDelegation,
    /// These details, within those of the delegation.
    Details(Vec<AuthorizationDetail>),
}

/// Returns the details of a new token: each requested element, within one element of the delegation
/// and one of the subject token. Elements are never combined. A limit that the request leaves out is
/// the lowest of the elements that cover it.
///
/// # Errors
/// [`PolicyError::DetailsBeyond`] for the first element that is not covered.
pub(super) fn grant(
    held: &HeldDetails,
    delegated: &[AuthorizationDetail],
    requested: &[AuthorizationDetail],
) -> Result<Vec<AuthorizationDetail>, PolicyError> {
    let mut granted: Vec<AuthorizationDetail> = Vec::with_capacity(requested.len());
    for element in requested {
        let element = narrow(held, delegated, element)?;
        // Elements that become equal are one: a token with an element twice is no token of ours.
        if !granted.contains(&element) {
            granted.push(element);
        }
    }
    Ok(granted)
}

fn narrow(
    held: &HeldDetails,
    delegated: &[AuthorizationDetail],
    requested: &AuthorizationDetail,
) -> Result<AuthorizationDetail, PolicyError> {
    let covering = |entitling: &'_ [AuthorizationDetail]| -> Result<Vec<AuthorizationDetail>, PolicyError> {
        let covering: Vec<_> =
            entitling.iter().filter(|element| requested.is_within_once_limited(element)).cloned().collect();
        let detail_type = requested.detail_type.as_str();
        if covering.is_empty() { Err(PolicyError::DetailsBeyond(detail_type.to_owned())) } else { Ok(covering) }
    };
    let mut covers = covering(delegated)?;
    match held {
        HeldDetails::OfDelegation => {}
        HeldDetails::Details(details) => covers.extend(covering(details)?),
    }
    let mut granted = requested.clone();
    for (name, limit) in covers.iter().flat_map(|element| &element.limits) {
        if requested.limits.contains_key(name) {
            continue;
        }
        let lowest = granted.limits.entry(name.clone()).or_insert(*limit);
        if *limit < *lowest {
            *lowest = *limit;
        }
    }
    Ok(granted)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn details(elements: &Value) -> Vec<AuthorizationDetail> {
        AuthorizationDetail::array(elements.clone()).unwrap()
    }

    fn granted(held: Option<Value>, delegated: &Value, requested: &Value) -> Option<Value> {
        let held = held.map_or(HeldDetails::OfDelegation, |held| match held {
            Value::Null => HeldDetails::Details(Vec::new()),
            held => HeldDetails::Details(details(&held)),
        });
        let granted = grant(&held, &details(delegated), &details(requested)).ok()?;
        Some(serde_json::to_value(granted).unwrap())
    }

    #[test]
    fn a_request_is_narrowed_member_by_member() {
        let whole = json!([{
            "type": "mcp_tool", "locations": ["a", "b"], "actions": ["reserve", "cancel"], "datatypes": ["x", "y"],
            "identifier": "i", "limits": { "quantity": 10, "amount": 99.5 },
        }]);
        let with = |member: &str, value: Value| {
            let mut element = whole[0].clone();
            match value {
                Value::Null => element.as_object_mut().unwrap().remove(member),
                value => element.as_object_mut().unwrap().insert(member.to_owned(), value),
            };
            json!([element])
        };
        for (member, value, is_granted) in [
            ("type", json!("mcp_tool"), true),
            ("type", json!("MCP_TOOL"), false),
            ("type", json!("other"), false),
            ("locations", json!(["b", "a"]), true),
            ("locations", json!(["b"]), true),
            ("locations", json!(["b", "c"]), false),
            ("locations", Value::Null, false),
            ("actions", json!(["cancel"]), true),
            ("actions", json!(["Cancel"]), false),
            ("actions", json!(["cancel", "delete"]), false),
            ("actions", Value::Null, false),
            ("datatypes", json!(["y"]), true),
            ("datatypes", json!(["z"]), false),
            ("datatypes", Value::Null, false),
            ("identifier", json!("i"), true),
            ("identifier", json!("j"), false),
            ("identifier", Value::Null, false),
            ("limits", json!({ "quantity": 10, "amount": 99.5 }), true),
            ("limits", json!({ "quantity": 0, "amount": 1 }), true),
            ("limits", json!({ "quantity": 11, "amount": 1 }), false),
            ("limits", json!({ "quantity": 1, "amount": 99.6 }), false),
            ("limits", json!({ "quantity": 1, "amount": 1, "more": 1 }), true),
        ] {
            let requested = with(member, value);
            let expected = is_granted.then(|| requested.clone());
            assert_eq!(granted(None, &whole, &requested), expected, "of the delegation: {requested}");
            let any = json!([{ "type": requested[0]["type"] }]);
            assert_eq!(granted(Some(whole.clone()), &any, &requested), expected, "of the parent: {requested}");
        }
    }

    #[test]
    fn a_limit_left_out_is_the_lowest_of_those_that_cover_it() {
        let delegated = json!([{ "type": "t", "limits": { "n": 10, "m": 5 } }]);
        let held = || Some(json!([{ "type": "t", "limits": { "n": 7, "k": 1 } }]));
        for (requested, expected) in [
            (json!({}), json!({ "n": 7, "m": 5, "k": 1 })),
            (json!({ "n": 3 }), json!({ "n": 3, "m": 5, "k": 1 })),
            (json!({ "m": 0, "other": 4 }), json!({ "n": 7, "m": 0, "k": 1, "other": 4 })),
        ] {
            let requested = json!([{ "type": "t", "limits": requested }]);
            let expected = json!([{ "type": "t", "limits": expected }]);
            assert_eq!(granted(held(), &delegated, &requested), Some(expected), "{requested}");
        }
        let beyond = json!([{ "type": "t", "limits": { "n": 8 } }]);
        assert_eq!(granted(held(), &delegated, &beyond), None);
    }

    #[test]
    fn elements_that_become_equal_are_granted_once() {
        let delegated = json!([{ "type": "t", "limits": { "n": 10 } }]);
        let requested =
            json!([{ "type": "t" }, { "type": "t", "limits": { "n": 10 } }, { "type": "t", "limits": { "n": 1 } }]);
        let expected = json!([{ "type": "t", "limits": { "n": 10 } }, { "type": "t", "limits": { "n": 1 } }]);
        assert_eq!(granted(None, &delegated, &requested), Some(expected));
    }

    #[test]
    fn elements_are_never_combined() {
        let delegated = json!([
            { "type": "t", "actions": ["refund"], "limits": { "n": 50 } },
            { "type": "t", "actions": ["lookup"] },
        ]);
        let both = json!([{ "type": "t", "actions": ["refund", "lookup"] }]);
        assert_eq!(granted(None, &delegated, &both), None);
        let each = json!([{ "type": "t", "actions": ["lookup"] }, { "type": "t", "actions": ["refund"] }]);
        let expected = json!([{ "type": "t", "actions": ["lookup"] }, { "type": "t", "actions": ["refund"], "limits": { "n": 50 } }]);
        assert_eq!(granted(None, &delegated, &each), Some(expected));
        let one_beyond = json!([{ "type": "t", "actions": ["lookup"] }, { "type": "t", "actions": ["other"] }]);
        assert_eq!(granted(None, &delegated, &one_beyond), None);
    }

    #[test]
    fn a_token_of_ours_without_details_entitles_to_none() {
        let delegated = json!([{ "type": "t" }]);
        assert_eq!(granted(Some(Value::Null), &delegated, &delegated), None);
        assert_eq!(granted(None, &delegated, &delegated), Some(delegated.clone()));
    }
}
