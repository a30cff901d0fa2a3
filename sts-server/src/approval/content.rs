//! The content of an approval: what is shown to the person who decides, and what is bound.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sts_jose::{canonical_json, sha256_hex};
use sts_protocol::{Act, AuthorizationDetail, Scope, SubjectId, Tenant};

use crate::record::Event;
use crate::registry::{Decider, class_of};
use crate::storage::{ApprovalRow, ApprovalState};
use crate::ttl::Ttl;

/// The token that an approval is about, and what became of the approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApprovalContent {
    /// The user, by issuer and subject.
    pub sub_id: SubjectId,
    /// The user, as minted tokens name it.
    pub sub: String,
    /// The tenant of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<Tenant>,
    /// The chain of actors, the agent that asked in front.
    pub act: Act,
    /// The agent that asked.
    pub client_id: String,
    /// The agent that the token is for.
    pub target: String,
    /// The scope of the token.
    pub scope: Scope,
    /// The authorization details of the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The delegation whose rule asks for the approval.
    pub delegation: String,
    /// The person who decides.
    pub by: Decider,
    /// The time for which the approval is remembered once granted.
    pub remember: Ttl,
    /// The correlation id of the first request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The party that decided: an operator, or the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_by: Option<String>,
    /// The time of the last decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided_at: Option<Timestamp>,
}

impl ApprovalContent {
    /// Returns the digest of what is bound: the user, the chain, the target, the scope, the details
    /// and the tenant. The order of elements and of their values makes no difference.
    #[must_use]
    pub fn digest(&self) -> String {
        let details = json!(self.authorization_details);
        let bound = json!({
            "sub_id": self.sub_id,
            "act": self.act,
            "target": self.target,
            "scope": self.scope,
            "authorization_details": sorted(details),
            "tenant_id": self.tenant_id,
        });
        sha256_hex(canonical_json(&bound).as_bytes())
    }

    /// Returns the name under which approvals are looked up: the digest, and who decides.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.by.as_str(), self.digest())
    }

    /// Returns the agents of this service whose revocation ends the approval: those of the chain,
    /// the target, and the classes of all of them.
    #[must_use]
    pub fn agents(&self, our_issuer: &str) -> Vec<String> {
        let ours = self.act.actors().filter(|actor| actor.iss == Some(our_issuer)).map(|actor| actor.sub);
        let named: Vec<&str> = ours.chain([self.client_id.as_str(), &self.target]).collect();
        let classes = named.iter().filter_map(|id| class_of(id));
        let mut agents: Vec<String> = named.iter().map(|id| (*id).to_owned()).chain(classes).collect();
        agents.sort();
        agents.dedup();
        agents
    }

    /// Returns the row of a new approval.
    #[must_use]
    pub fn pending(&self, id: &str, our_issuer: &str, now: Timestamp, expires_at: Timestamp) -> ApprovalRow {
        ApprovalRow {
            id: id.to_owned(),
            digest: self.key(),
            state: ApprovalState::Pending,
            principal_iss: self.sub_id.iss.clone(),
            principal_sub: self.sub_id.sub.clone(),
            sub: self.sub.clone(),
            tenant_id: self.tenant_id.as_ref().map(ToString::to_string),
            agents: self.agents(our_issuer),
            requested_at: now,
            expires_at,
            version: 0,
            body: self.to_body(),
        }
    }

    /// Returns the content as a row stores it.
    pub(super) fn to_body(&self) -> String {
        json!(self).to_string()
    }

    /// Writes the content into the event of a decision.
    pub fn describe(&self, id: &str, event: &mut Event, our_issuer: &str) {
        let name = |actor: sts_protocol::Actor<'_>| match actor.iss {
            Some(iss) if iss == our_issuer => actor.sub.to_owned(),
            Some(iss) => format!("{} of {iss}", actor.sub),
            None => format!("{} of an unnamed issuer", actor.sub),
        };
        event.approval = Some(id.to_owned());
        event.client_id = Some(self.client_id.clone());
        event.subject_issuer = Some(self.sub_id.iss.clone());
        event.sub = Some(self.sub.clone());
        event.actors = self.act.actors().map(name).collect();
        event.target = Some(self.target.clone());
        event.scope = Some(self.scope.clone());
        event.authorization_details.clone_from(&self.authorization_details);
        event.tenant_id.clone_from(&self.tenant_id);
        event.delegation = Some(self.delegation.clone());
        if event.correlation_id.is_none() {
            event.correlation_id.clone_from(&self.correlation_id);
        }
    }
}

/// Returns a value whose arrays are sorted, at every level.
fn sorted(value: Value) -> Value {
    match value {
        Value::Array(elements) => {
            let mut elements: Vec<Value> = elements.into_iter().map(sorted).collect();
            elements.sort_by_cached_key(canonical_json);
            Value::Array(elements)
        }
        Value::Object(members) => members.into_iter().map(|(name, value)| (name, sorted(value))).collect(),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_)) => scalar,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::approval) fn content(changes: &Value) -> ApprovalContent {
        let mut content = json!({
            "sub_id": { "format": "iss_sub", "iss": "https://idp", "sub": "alice" },
            "sub": "alice",
            "tenant_id": "acme",
            "act": { "sub": "coordinator", "iss": "https://sts" },
            "client_id": "coordinator",
            "target": "shop",
            "scope": "refund:pay",
            "authorization_details": [
                { "type": "t", "actions": ["a", "b"], "limits": { "n": 1 } }, { "type": "t", "actions": ["c"] },
            ],
            "delegation": "coordinator->shop",
            "by": "user",
            "remember": "15m",
        });
        content.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        serde_json::from_value(content).unwrap()
    }

    #[test]
    fn the_digest_is_of_exactly_what_is_bound() {
        let digest = |changes: Value| content(&changes).digest();
        let same = digest(json!({}));
        let reordered = json!([
            { "type": "t", "actions": ["c"] }, { "limits": { "n": 1.0 }, "actions": ["b", "a"], "type": "t" },
        ]);
        for changes in [
            json!({ "authorization_details": reordered }),
            json!({ "delegation": "coordinator->shop#2" }),
            json!({ "correlation_id": "c", "decided_by": "x", "remember": "1m", "by": "operator" }),
        ] {
            assert_eq!(digest(changes.clone()), same, "{changes}");
        }
        for changes in [
            json!({ "sub_id": { "format": "iss_sub", "iss": "https://idp", "sub": "bob" } }),
            json!({ "sub_id": { "format": "iss_sub", "iss": "https://other", "sub": "alice" } }),
            json!({ "act": { "sub": "other", "iss": "https://sts" } }),
            json!({ "act": { "sub": "coordinator", "iss": "https://sts", "act": { "sub": "x" } } }),
            json!({ "target": "other" }),
            json!({ "scope": "refund:pay stock:read" }),
            json!({ "tenant_id": "globex" }),
            json!({ "tenant_id": null }),
            json!({ "authorization_details": [] }),
            json!({ "authorization_details": [{ "type": "t", "actions": ["a", "b"], "limits": { "n": 2 } }] }),
        ] {
            assert_ne!(digest(changes.clone()), same, "{changes}");
        }
    }
}
