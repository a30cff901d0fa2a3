//! An action that a token must permit by its authorization details (RFC 9396).

use std::collections::BTreeMap;

use sts_protocol::{AuthorizationDetail, DetailValues};

/// The type of details whose actions are tools. Without `actions` such a detail permits every tool.
pub(super) const MCP_TOOL: &str = "mcp_tool";

/// The longest name that the log shows, in characters.
const MAX_SHOWN_CHARS: usize = 64;

/// An action of a handler, with the values that the token may limit, for
/// [`Caller::require_action`](crate::Caller::require_action).
///
/// One authorization detail of the token must permit all of it: it names the action, and has no limit,
/// location, datatype or identifier that the handler does not name. So a limit that an operator adds
/// is never passed over by a handler that does not know it.
///
/// ```
/// use serde_json::json;
/// use sts_client::{Caller, RequiredAction};
///
/// # #[cfg(feature = "test-util")] {
/// let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": 50 } }]);
/// let caller = Caller::for_test().claim("authorization_details", details).build();
/// assert!(caller.require_action(RequiredAction::new("refund").limit("amount", 49.90)).is_ok());
/// assert!(caller.require_action(RequiredAction::new("refund").limit("amount", 50.01)).is_err());
/// assert!(caller.require_action("refund").is_err(), "the amount is limited, and not named");
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct RequiredAction {
    action: String,
    limits: BTreeMap<String, f64>,
    location: Option<String>,
    datatypes: Vec<String>,
    identifier: Option<String>,
}

impl RequiredAction {
    /// Makes an action by its name, such as the name of a tool.
    pub fn new(action: impl Into<String>) -> Self {
        Self { action: action.into(), limits: BTreeMap::new(), location: None, datatypes: Vec::new(), identifier: None }
    }

    /// Names a quantity of the action. It must be from 0 to the limit of that name, if the token has one.
    #[must_use]
    pub fn limit(mut self, name: impl Into<String>, value: impl Into<f64>) -> Self {
        self.limits.insert(name.into(), value.into());
        self
    }

    /// Names the place of the action, such as the URI of this server. The `aud` of the token is a place of
    /// every action.
    ///
    /// ```
    /// # use sts_client::{Caller, RequiredAction, inbound::Refusal};
    /// fn check(caller: &Caller) -> Result<(), Refusal> {
    ///     caller.require_action(RequiredAction::new("refund").at("https://shop.example/eu"))
    /// }
    /// ```
    #[must_use]
    pub fn at(mut self, location: impl Into<String>) -> Self {
        self.location = Some(location.into());
        self
    }

    /// Adds a kind of data that the action uses.
    ///
    /// ```
    /// # use sts_client::{Caller, RequiredAction, inbound::Refusal};
    /// fn check(caller: &Caller) -> Result<(), Refusal> {
    ///     caller.require_action(RequiredAction::new("export").datatype("orders").datatype("customers"))
    /// }
    /// ```
    #[must_use]
    pub fn datatype(mut self, datatype: impl Into<String>) -> Self {
        self.datatypes.push(datatype.into());
        self
    }

    /// Names the resource of the action.
    ///
    /// ```
    /// # use sts_client::{Caller, RequiredAction, inbound::Refusal};
    /// fn check(caller: &Caller, order: &str) -> Result<(), Refusal> {
    ///     caller.require_action(RequiredAction::new("cancel").identifier(order))
    /// }
    /// ```
    #[must_use]
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = Some(identifier.into());
        self
    }

    /// Returns the start of the name, for the log. A caller may have chosen it.
    pub(crate) fn shown(&self) -> String {
        self.action.chars().take(MAX_SHOWN_CHARS).collect()
    }

    /// Returns true if a detail names the action. It may limit it.
    pub(crate) fn is_named_by(&self, detail: &AuthorizationDetail) -> bool {
        match &detail.actions {
            Some(actions) => actions.contains(&self.action),
            None => detail.detail_type.as_str() == MCP_TOOL,
        }
    }

    /// Returns true if a detail of a token with this `aud` permits the whole action.
    pub(crate) fn is_permitted_by(&self, detail: &AuthorizationDetail, aud: &[&str]) -> bool {
        let AuthorizationDetail { detail_type: _, locations, actions: _, datatypes, identifier, limits } = detail;
        let is_here = |locations: &DetailValues| {
            aud.iter().copied().chain(self.location.as_deref()).any(|place| locations.contains(place))
        };
        let has_datatypes = |permitted: &DetailValues| {
            !self.datatypes.is_empty() && self.datatypes.iter().all(|datatype| permitted.contains(datatype))
        };
        self.is_named_by(detail)
            && locations.as_ref().is_none_or(is_here)
            && datatypes.as_ref().is_none_or(has_datatypes)
            && identifier.as_ref().is_none_or(|permitted| self.identifier.as_deref() == Some(permitted.as_str()))
            && limits.iter().all(|(name, limit)| {
                self.limits.get(name.as_str()).is_some_and(|value| (0.0..=limit.as_f64()).contains(value))
            })
    }
}

impl From<&str> for RequiredAction {
    fn from(action: &str) -> Self {
        Self::new(action)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn detail(wire: Value) -> AuthorizationDetail {
        serde_json::from_value(wire).unwrap()
    }

    #[test]
    fn an_action_is_permitted_by_one_detail_that_names_all_of_it() {
        let refund = || RequiredAction::new("refund");
        let rows = [
            (refund(), json!({ "type": "mcp_tool", "actions": ["lookup", "refund"] }), true),
            (refund(), json!({ "type": "payment", "actions": ["refund"] }), true),
            (refund(), json!({ "type": "mcp_tool" }), true),
            (refund(), json!({ "type": "report" }), false),
            (refund(), json!({ "type": "mcp_tool", "actions": ["Refund"] }), false),
            (refund(), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), false),
            (refund().limit("amount", 50), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), true),
            (refund().limit("amount", 0), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), true),
            (refund().limit("amount", 50), json!({ "type": "mcp_tool" }), true),
            (refund().limit("amount", 50.01), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), false),
            (refund().limit("amount", -1), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), false),
            (refund().limit("amount", f64::NAN), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), false),
            (refund().limit("Amount", 1), json!({ "type": "mcp_tool", "limits": { "amount": 50 } }), false),
            (refund(), json!({ "type": "mcp_tool", "locations": ["shop"] }), true),
            (refund(), json!({ "type": "mcp_tool", "locations": ["https://shop.example/"] }), false),
            (
                refund().at("https://shop.example/"),
                json!({ "type": "mcp_tool", "locations": ["https://shop.example/"] }),
                true,
            ),
            (
                refund().at("https://other.example/"),
                json!({ "type": "mcp_tool", "locations": ["https://shop.example/"] }),
                false,
            ),
            (refund(), json!({ "type": "mcp_tool", "identifier": "o-1" }), false),
            (refund().identifier("o-1"), json!({ "type": "mcp_tool", "identifier": "o-1" }), true),
            (refund().identifier("o-2"), json!({ "type": "mcp_tool", "identifier": "o-1" }), false),
            (refund(), json!({ "type": "mcp_tool", "datatypes": ["order"] }), false),
            (refund().datatype("order"), json!({ "type": "mcp_tool", "datatypes": ["order", "invoice"] }), true),
            (refund().datatype("order").datatype("card"), json!({ "type": "mcp_tool", "datatypes": ["order"] }), false),
        ];
        for (action, wire, expected) in rows {
            assert_eq!(action.is_permitted_by(&detail(wire.clone()), &["shop"]), expected, "{action:?} {wire}");
        }
    }
}
