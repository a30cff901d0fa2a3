//! Registry entries and events as the pages show them.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::BASE;
use crate::record::{Event, cut, event_of};
use crate::registry::{DelegatedScope, Delegation, Tenants};
use crate::storage::StoredAuditRow;

/// A delegation.
#[derive(Debug)]
pub(super) struct RuleRow {
    pub(super) id: String,
    pub(super) actor: String,
    pub(super) actor_href: String,
    pub(super) target: String,
    pub(super) target_href: String,
    pub(super) scopes: String,
    pub(super) tenants: String,
    pub(super) is_disabled: bool,
}

/// An event in a list.
#[derive(Debug)]
pub(super) struct EventRow {
    pub(super) href: String,
    pub(super) at: String,
    pub(super) word: String,
    pub(super) is_refusal: bool,
    pub(super) object: String,
    pub(super) sub: String,
    /// The chain, the current actor first.
    pub(super) chain: String,
    pub(super) reason: String,
    pub(super) detail: String,
    /// The path of the transaction.
    pub(super) chain_href: Option<String>,
}

impl RuleRow {
    pub(super) fn of(rule: &Delegation) -> Self {
        Self {
            id: rule.id.clone(),
            actor: rule.actor.clone(),
            actor_href: href("agents", &rule.actor),
            target: rule.target.clone(),
            target_href: href("agents", &rule.target),
            scopes: scopes(rule),
            tenants: tenants(&rule.tenants),
            is_disabled: rule.disabled,
        }
    }
}

impl EventRow {
    pub(super) fn of(row: &StoredAuditRow) -> Self {
        let href = format!("{BASE}/events/{}", row.id);
        match event_of(&row.row) {
            Some(event) => Self::of_event(href, &event),
            None => Self {
                href,
                at: String::new(),
                word: "malformed".to_owned(),
                is_refusal: true,
                object: cut(&row.row.writer).into_owned(),
                sub: String::new(),
                chain: String::new(),
                reason: String::new(),
                detail: "The row was edited in the database: sts-server audit verify".to_owned(),
                chain_href: None,
            },
        }
    }

    fn of_event(href: String, event: &Event) -> Self {
        Self {
            href,
            at: at(event),
            word: event.event.word().to_owned(),
            is_refusal: event.reason.is_some(),
            object: event.object().unwrap_or_default(),
            sub: event.sub.clone().unwrap_or_default(),
            chain: event.actors.join(" < "),
            reason: event.reason.clone().unwrap_or_default(),
            detail: event.detail.clone().unwrap_or_default(),
            chain_href: event.txn.as_deref().map(|txn| self::href("chains", txn)),
        }
    }
}

/// Returns the time of an event, to the millisecond.
pub(super) fn at(event: &Event) -> String {
    event.at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// Returns the path of an object of the console.
pub(super) fn href(kind: &str, id: &str) -> String {
    format!("{BASE}/{kind}/{}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

/// Returns a path with the pairs of a query that have a value.
pub(super) fn path_with(path: &str, pairs: &[(&str, &str)]) -> String {
    let pairs = pairs.iter().filter(|(_, value)| !value.is_empty());
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Returns the scopes of a delegation.
pub(super) fn scopes(rule: &Delegation) -> String {
    let scope = |scope: &DelegatedScope| match scope {
        DelegatedScope::Plain(scope) => scope.to_string(),
        DelegatedScope::Derived(derived) => derived.scope.to_string(),
    };
    rule.scopes.iter().map(scope).collect::<Vec<_>>().join(" ")
}

/// Returns the tenants of an entry.
pub(super) fn tenants(tenants: &Tenants) -> String {
    match tenants {
        Tenants::Any => "any".to_owned(),
        Tenants::Only(only) => only.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}
