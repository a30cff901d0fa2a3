//! Registry entries and events as the pages show them.

use jiff::{SignedDuration, Timestamp};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::BASE;
use crate::admin::{LastUse, Uses};
use crate::record::{Event, cut, event_of};
use crate::registry::{Agent, DelegatedScope, Delegation, Registry, Tenants};
use crate::storage::StoredAuditRow;

/// A delegation.
#[derive(Debug)]
pub(super) struct RuleRow {
    pub(super) actor: String,
    pub(super) actor_href: String,
    pub(super) target: String,
    pub(super) target_href: String,
    pub(super) scopes: String,
    pub(super) tenants: String,
    /// The approval that a token needs; empty without one.
    pub(super) approval: String,
    /// The key that a token is bound to.
    pub(super) binding: &'static str,
    /// True if each token is bound to a key.
    pub(super) is_bound: bool,
    pub(super) is_disabled: bool,
    pub(super) expires_at: String,
    /// The time since the last use; empty where it was not looked up.
    pub(super) last_use: String,
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
    /// Returns a delegation with its last use.
    pub(super) fn used(rule: &Delegation, registry: &Registry, uses: &Uses, now: Timestamp) -> Self {
        Self { last_use: last_use(uses.last(std::iter::once(rule)), now), ..Self::of(rule, registry) }
    }

    pub(super) fn of(rule: &Delegation, registry: &Registry) -> Self {
        let (binding, is_bound) = binding(rule, registry);
        Self {
            actor: rule.actor.clone(),
            actor_href: href("agents", &rule.actor),
            target: rule.target.clone(),
            target_href: href("agents", &rule.target),
            scopes: scopes(rule),
            tenants: tenants(&rule.tenants),
            approval: approval(rule),
            binding,
            is_bound,
            is_disabled: rule.disabled,
            expires_at: rule.expires_at.map(to_the_minute).unwrap_or_default(),
            last_use: String::new(),
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

/// Returns the approval that tokens of a delegation need.
fn approval(rule: &Delegation) -> String {
    let Some(approval) = &rule.approval else { return String::new() };
    let scopes = approval.scopes.iter().map(ToString::to_string);
    let what: Vec<String> = scopes.chain(approval.actions.iter().map(|action| action.as_str().to_owned())).collect();
    format!("{}: {}", approval.by.as_str(), what.join(" "))
}

/// Returns the key that tokens of a delegation are bound to, and whether each is.
fn binding(rule: &Delegation, registry: &Registry) -> (&'static str, bool) {
    let [actor, target] = [&rule.actor, &rule.target].map(|id| registry.agent(id));
    let actor = |is: fn(&Agent) -> bool| actor.is_some_and(|actor| is(actor));
    let target = |is: fn(&Agent) -> bool| target.is_some_and(|target| is(target));
    if target(|target| target.bearer_only) {
        return ("bearer token", false);
    }
    let dpop =
        target(|target| target.dpop_bound_access_tokens_required) || actor(|actor| actor.dpop_bound_access_tokens);
    match (dpop, actor(|actor| actor.tls_client_certificate_bound_access_tokens)) {
        (true, true) => ("DPoP key and client certificate", true),
        (true, false) => ("DPoP key", true),
        (false, true) => ("client certificate", true),
        (false, false) => ("if a key is proved", false),
    }
}

/// Returns the time since the last use.
pub(super) fn last_use(last: LastUse, now: Timestamp) -> String {
    match last {
        LastUse::At(at) => format!("{} ago", age(now, at)),
        LastUse::Never => "never".to_owned(),
        LastUse::Uncounted => "not counted yet".to_owned(),
    }
}

/// Returns a span of time by its greatest unit.
pub(super) fn age(now: Timestamp, since: Timestamp) -> String {
    let seconds = now.duration_since(since).max(SignedDuration::ZERO).as_secs();
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Returns a time, to the minute.
pub(super) fn to_the_minute(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%MZ").to_string()
}

/// Returns the tenants of an entry.
pub(super) fn tenants(tenants: &Tenants) -> String {
    match tenants {
        Tenants::Any => "any".to_owned(),
        Tenants::Only(only) => only.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_that_is_not_counted_is_not_shown_as_never() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        for (last, words) in [
            (Uses::default().last(std::iter::empty()), "not counted yet"),
            (LastUse::Never, "never"),
            (LastUse::At(at(0)), "2 h ago"),
        ] {
            assert_eq!(last_use(last, at(7200)), words);
        }
    }
}
