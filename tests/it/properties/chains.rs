//! The invariants of every issued token, and its parent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::{Value, json};
use sts_tests::model::{Agent, Delegation, Issuer, Model, OUR_ISSUER, ScopeSource, TenantSource};

use super::claims::{actors, thumbprint, words};
use super::for_every_exchange;
use super::journeys::Scenario;
use super::oracle::entitled;
use super::travel::Exchange;

/// What the chains of a property must at least have reached, or it has shown little.
const MIN_TOKENS: usize = 80;
const MIN_DEPTH: usize = 4;

/// A token that was issued for another.
struct Link<'a> {
    model: &'a Model,
    exchange: &'a Exchange,
    parent: &'a Value,
    child: &'a Value,
}

/// Tries a claim about every token that was issued for another.
fn for_every_link(claim: impl Fn(&Link<'_>) -> TestCaseResult) {
    let (tokens, depth) = (AtomicUsize::new(0), AtomicUsize::new(0));
    for_every_exchange(|scenario, exchange| {
        let Some(link) = Link::of(scenario, exchange) else { return Ok(()) };
        tokens.fetch_add(1, Ordering::Relaxed);
        depth.fetch_max(actors(&link.child["act"]).len(), Ordering::Relaxed);
        claim(&link)
    });
    let (tokens, depth) = (tokens.into_inner(), depth.into_inner());
    assert!(
        tokens >= MIN_TOKENS && depth >= MIN_DEPTH,
        "{tokens} tokens, chains of {depth}: the journeys lead nowhere"
    );
}

impl<'a> Link<'a> {
    fn of(scenario: &'a Scenario, exchange: &'a Exchange) -> Option<Self> {
        let child = &exchange.issued.as_ref()?.claims;
        let parent = &exchange.sent.subject.as_ref()?.claims;
        Some(Self { model: &scenario.model, exchange, parent, child })
    }

    /// The parent is of an outside issuer: this one.
    fn outside(&self) -> Option<&'a Issuer> {
        self.model.issuers.iter().find(|issuer| self.parent["iss"] == issuer.name)
    }

    /// All delegations that can have allowed it.
    fn delegations(&self) -> impl Iterator<Item = &'a Delegation> {
        let (model, child) = (self.model, self.child);
        let issuer = model.issuers.iter().position(|issuer| child["sub_id"]["iss"] == issuer.name);
        model.delegations.iter().filter(move |delegation| {
            let tenant = child["tenant_id"].as_str();
            child["act"]["sub"] == model.agents[delegation.actor].id
                && child["aud"] == model.agents[delegation.target].audience[0]
                && !delegation.disabled
                && issuer.is_some_and(|issuer| delegation.issuers.as_ref().is_none_or(|some| some.contains(&issuer)))
                && delegation.tenants.as_ref().is_none_or(|some| tenant.is_some_and(|tenant| some.contains(tenant)))
        })
    }
}

#[test]
fn i2_child_scope_and_roles_are_entitled_by_parent_and_delegation() {
    for_every_link(|link| {
        let claim = match link.outside().map(|issuer| &issuer.scopes) {
            Some(ScopeSource::Delegation) => None,
            Some(ScopeSource::Claim(claim)) => Some(claim.as_str()),
            None => Some("scope"),
        };
        let held = claim.map(|claim| words(&link.parent[claim]).expect("a scope"));
        let delegations: Vec<&Delegation> = link.delegations().collect();
        prop_assert_eq!(delegations.len(), 1, "one delegation covers a subject");
        let entitled = entitled(delegations[0], held.as_ref());
        let scope = words(&link.child["scope"]).expect("a scope");
        prop_assert!(!scope.is_empty() && scope.is_subset(&entitled), "{:?} is not within {:?}", scope, entitled);
        let asked = link.exchange.sent.get("scope").map(|asked| words(&json!(asked)).expect("a scope"));
        prop_assert_eq!(&scope, asked.as_ref().unwrap_or(&entitled), "what was asked for, or all");

        let held = words(&link.parent["roles"]).unwrap_or_default();
        let roles = words(&link.child["roles"]).unwrap_or_default();
        prop_assert_eq!(&roles, &(&held & &delegations[0].roles));
        Ok(())
    });
}

#[test]
fn i3_child_dies_no_later_than_parent() {
    for_every_link(|link| {
        let (child, parent) = (link.child["exp"].as_f64(), link.parent["exp"].as_f64());
        prop_assert!(child <= parent, "{:?} after {:?}", child, parent);
        let now = link.exchange.at.as_second();
        prop_assert_eq!(link.child["iat"].as_i64(), Some(now));
        let lifetime = link.child["exp"].as_i64().map(|exp| exp - now);
        prop_assert!(lifetime.is_some_and(|lifetime| (1..=link.model.max_ttl).contains(&lifetime)), "{:?}", lifetime);
        Ok(())
    });
}

#[test]
fn i4_child_tenant_is_the_parents() {
    for_every_link(|link| {
        let tenant = match link.outside().map(|issuer| &issuer.tenant) {
            None => link.parent["tenant_id"].clone(),
            Some(TenantSource::None) => Value::Null,
            Some(TenantSource::Fixed(tenant)) => json!(tenant),
            Some(TenantSource::Claim(claim)) => match &link.parent[claim.as_str()] {
                Value::Array(tenants) => tenants[0].clone(),
                Value::Number(tenant) => json!(tenant.to_string()),
                tenant => tenant.clone(),
            },
        };
        prop_assert_eq!(&link.child["tenant_id"], &tenant);
        Ok(())
    });
}

#[test]
fn i5_child_principal_is_the_parents() {
    for_every_link(|link| {
        let (sub, sub_id) = match link.outside() {
            None => (link.parent["sub"].clone(), link.parent["sub_id"].clone()),
            Some(issuer) => {
                let sub = link.parent["sub"].as_str().unwrap_or_default();
                let sub_id = json!({ "format": "iss_sub", "iss": issuer.name, "sub": sub });
                (json!(format!("{}{sub}", issuer.subject_prefix)), sub_id)
            }
        };
        prop_assert_eq!(&link.child["sub"], &sub);
        prop_assert_eq!(&link.child["sub_id"], &sub_id);
        Ok(())
    });
}

#[test]
fn i6_child_chain_is_the_parents_with_the_caller_in_front() {
    for_every_link(|link| {
        let mut act = json!({ "sub": link.child["client_id"], "iss": OUR_ISSUER });
        if let Some(prior) = link.parent.get("act") {
            act["act"] = prior.clone();
        }
        prop_assert_eq!(&link.child["act"], &act);
        prop_assert!(actors(&act).len() <= link.model.chain_depth);
        Ok(())
    });
}

#[test]
fn i9_child_of_a_bound_parent_is_bound_to_its_own_agents_key_or_its_target_takes_bearer_tokens_alone() {
    let rebound = AtomicUsize::new(0);
    let kinds = [AtomicUsize::new(0), AtomicUsize::new(0)];
    for_every_link(|link| {
        let target = link.model.agents.iter().find(|agent| link.child["aud"] == agent.audience[0]).expect("a target");
        let client = link.model.agents.iter().position(|agent| link.child["client_id"] == agent.id).expect("an agent");
        match link.child.get("cnf") {
            Some(cnf) => {
                prop_assert!(!target.says("bearer_only"));
                let own = [
                    ("jkt", Agent::proof_key(client).kid().to_owned()),
                    ("x5t#S256", thumbprint(&Agent::certificate(client))),
                ];
                let own: BTreeMap<&str, String> = own.into();
                let members = cnf.as_object().expect("an object");
                prop_assert!(!members.is_empty());
                for (name, value) in members {
                    prop_assert_eq!(value.as_str(), own.get(name.as_str()).map(String::as_str));
                    kinds[usize::from(name != "jkt")].fetch_add(1, Ordering::Relaxed);
                }
            }
            None => prop_assert!(link.parent.get("cnf").is_none() || target.says("bearer_only")),
        }
        if link.parent.get("cnf").is_some() && link.child.get("cnf").is_some() {
            rebound.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    let kinds = kinds.map(AtomicUsize::into_inner);
    assert!(kinds.iter().all(|count| *count >= MIN_TOKENS / 8), "{kinds:?} tokens of keys and of certificates");
    let rebound = rebound.into_inner();
    assert!(rebound >= MIN_TOKENS / 4, "{rebound} tokens of bound parents: the journeys lead nowhere");
}
