//! The invariants of chains, checked over everything that a database says was issued.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;
use sts_protocol::{AuthorizationDetail, Scope};
use sts_server::keys::{self, MasterKey};
use sts_server::record::{self, AuditFault, Event, EventKind};
use sts_server::storage::{AuditFilter, EntryKind, Store};

/// How many rows are read at once.
const PAGE: u32 = 1000;
/// How many breaches are shown.
const SHOWN: usize = 5;

/// What the audit log says of the tokens that were issued.
#[derive(Debug)]
pub struct Issued {
    events: BTreeMap<String, Event>,
    /// The place of each token in the log.
    places: BTreeMap<String, i64>,
    /// The decisions on each approval, with their places in the log.
    decisions: BTreeMap<String, Vec<(i64, Event)>>,
}

impl Issued {
    /// The event of a token.
    #[must_use]
    pub fn get(&self, jti: &str) -> Option<&Event> {
        self.events.get(jti)
    }

    /// All tokens, by `jti`.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &Event)> {
        self.events.iter()
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}

/// Checks I1 to I6, I9 and I10 over all tokens of the audit log, and the log itself. `issuer` is that of the servers. Scopes and roles are
/// compared with the delegations that the database holds now; of a delegation that it does not hold any more, they are not.
///
/// # Errors
/// The first breaches, one line each, or why the database cannot be read.
pub async fn check_invariants(store: &dyn Store, master: &MasterKey, issuer: &str) -> anyhow::Result<Issued> {
    check(store, master, issuer, |_fault| false).await
}

/// The same after an asynchronous failover, which may have lost rows of the audit log.
///
/// # Errors
/// As [`check_invariants`].
pub async fn check_invariants_after_loss(
    store: &dyn Store,
    master: &MasterKey,
    issuer: &str,
) -> anyhow::Result<Issued> {
    check(store, master, issuer, |fault| matches!(fault, AuditFault::Missing { .. })).await
}

async fn check(
    store: &dyn Store,
    master: &MasterKey,
    issuer: &str,
    is_accepted: fn(&AuditFault) -> bool,
) -> anyhow::Result<Issued> {
    let mut breaches = Vec::new();
    let issued = issued(store, &mut breaches).await?;
    let delegations = bodies(store, EntryKind::Delegation).await?;
    let agents = bodies(store, EntryKind::Agent).await?;
    for (jti, event) in &issued.events {
        let check = Check { issuer, issued: &issued, delegations: &delegations, agents: &agents, child: event };
        breaches.extend(check.breaches().into_iter().map(|breach| format!("{jti}: {breach}: {event:?}")));
        breaches.extend(row_differs(store, jti, event).await?.map(|breach| format!("{jti}: {breach}: {event:?}")));
    }
    let keys = keys::audit_keys(master, &store.audit_keys().await?)?;
    let report = record::verify(store, &keys, &[]).await?;
    breaches.extend(
        report.faults.iter().filter(|fault| !is_accepted(fault)).map(|fault| format!("the audit log: {fault:?}")),
    );
    let count = breaches.len();
    breaches.truncate(SHOWN);
    anyhow::ensure!(count == 0, "{count} breaches, of which\n{}", breaches.join("\n"));
    Ok(issued)
}

async fn issued(store: &dyn Store, breaches: &mut Vec<String>) -> anyhow::Result<Issued> {
    let mut issued = Issued { events: BTreeMap::new(), places: BTreeMap::new(), decisions: BTreeMap::new() };
    let mut filter = AuditFilter::default();
    loop {
        let rows = store.audit(&filter, PAGE).await?.rows;
        let Some(last) = rows.last() else { return Ok(issued) };
        filter.after_id = Some(last.id);
        for row in &rows {
            let event: Event = serde_json::from_str(&row.row.body)?;
            if is_decision(event.event) {
                let approval = event.approval.clone().context("a decision on no approval")?;
                issued.decisions.entry(approval).or_default().push((row.id, event));
                continue;
            }
            if event.event != EventKind::TokenIssued {
                continue;
            }
            let jti = event.jti.clone().context("an issued token without jti")?;
            issued.places.insert(jti.clone(), row.id);
            if issued.events.insert(jti.clone(), event).is_some() {
                breaches.push(format!("{jti}: issued twice"));
            }
        }
    }
}

/// Returns true if an event is a decision on an approval.
fn is_decision(kind: EventKind) -> bool {
    [EventKind::ApprovalGranted, EventKind::ApprovalDenied, EventKind::ApprovalWithdrawn].contains(&kind)
}

/// The entries of a kind, as they are stored.
async fn bodies(store: &dyn Store, kind: EntryKind) -> anyhow::Result<Vec<Value>> {
    let rows = store.entries().await?.all();
    let bodies = rows.iter().filter(|row| row.kind == kind);
    bodies.map(|row| Ok(serde_json::from_str(&row.body)?)).collect()
}

/// The token's own row, unless it has been purged, says the same as its event.
async fn row_differs(store: &dyn Store, jti: &str, event: &Event) -> anyhow::Result<Option<&'static str>> {
    let Some(row) = store.token(jti).await? else { return Ok(None) };
    let parent = row.parent.as_ref().map(|parent| (parent.iss.clone(), parent.jti.clone()));
    let same = parent == event.parent_iss.clone().zip(event.parent_jti.clone())
        && Some(&row.client_id) == event.client_id.as_ref()
        && Some(&row.txn) == event.txn.as_ref()
        // It is kept a while longer than the token lives.
        && event.exp.is_some_and(|exp| exp <= row.expires_at.as_second());
    Ok((!same).then_some("I1: the row of the token is another than its event"))
}

struct Check<'a> {
    issuer: &'a str,
    issued: &'a Issued,
    delegations: &'a [Value],
    agents: &'a [Value],
    child: &'a Event,
}

impl Check<'_> {
    fn breaches(&self) -> Vec<&'static str> {
        let Self { child, .. } = self;
        let mut breaches = Vec::new();
        let mut must = |holds: bool, breach: &'static str| {
            if !holds {
                breaches.push(breach);
            }
        };
        must(child.client_id.is_some() && child.exp.is_some() && child.txn.is_some(), "I1: the event is not whole");
        let Some(parent_jti) = &child.parent_jti else {
            must(child.actors.is_empty() && child.sub == child.client_id, "I6: a service account that names others");
            return breaches;
        };
        must(child.exp <= child.parent_exp, "I3: it outlives its parent");
        must(child.actors.first() == child.client_id.as_ref(), "I6: the caller is not the current actor");
        let parent = self.issued.get(parent_jti).filter(|_| child.parent_iss.as_deref() == Some(self.issuer));
        must(parent.is_some() || child.parent_iss.as_deref() != Some(self.issuer), "I1: its parent was never issued");
        let may_end = || {
            let mut targets = self.agents.iter().filter(|agent| child.target.as_deref() == agent["id"].as_str());
            targets.any(|target| target["bearer_only"] == true)
        };
        must(!child.parent_bound || child.cnf.is_some() || may_end(), "I9: a bearer token of a bound parent");
        must(self.is_entitled(parent), "I2: scope or roles are beyond what it is entitled to");
        must(self.is_within(parent), "I2: authorization details are beyond what it is entitled to");
        must(self.is_approved(), "I10: no standing approval covers it");
        let Some(parent) = parent else { return breaches };
        must(parent.exp == child.parent_exp, "I3: its parent's end is another");
        must(child.parent_bound == parent.cnf.is_some(), "I9: its parent's binding is another");
        must(child.tenant_id == parent.tenant_id, "I4: the tenant is another");
        must((&child.subject_issuer, &child.sub) == (&parent.subject_issuer, &parent.sub), "I5: the user is another");
        must(child.actors.get(1..) == Some(&parent.actors), "I6: the actors before it are others");
        must(child.txn == parent.txn, "the transaction is another");
        breaches
    }

    /// Whether the delegation, and a parent of ours, entitle the child to its scope and roles.
    fn is_entitled(&self, parent: Option<&Event>) -> bool {
        let mut known = self.delegations.iter().filter(|delegation| self.covers(delegation)).peekable();
        if known.peek().is_none() {
            return true;
        }
        let (scope, roles) = (words(self.child.scope.as_ref()), &self.child.roles);
        known.any(|delegation| {
            let held = parent.map(|parent| words(parent.scope.as_ref()));
            let entitled = entitled(delegation, held.as_ref());
            let passes = |role: &String| {
                strings(&delegation["roles"]).contains(role) && parent.is_none_or(|parent| parent.roles.contains(role))
            };
            !scope.is_empty() && scope.is_subset(&entitled) && roles.iter().all(passes)
        })
    }

    /// Whether the delegation, and a parent of ours, cover each authorization detail of the child.
    fn is_within(&self, parent: Option<&Event>) -> bool {
        let covers = |details: &[Value], inner: &Value| details.iter().any(|outer| is_detail_within(inner, outer));
        let parents = parent.map(|parent| details(&parent.authorization_details));
        let known: Vec<&Value> = self.delegations.iter().filter(|delegation| self.covers(delegation)).collect();
        details(&self.child.authorization_details).iter().all(|inner| {
            let of =
                |delegation: &&Value| covers(delegation["details"].as_array().map_or(&[][..], Vec::as_slice), inner);
            parents.as_ref().is_none_or(|parents| covers(parents, inner)) && (known.is_empty() || known.iter().any(of))
        })
    }

    /// Returns true if the token needs no approval, or was issued after the grant of exactly what it holds, while the grant was remembered,
    /// and before it was withdrawn.
    fn is_approved(&self) -> bool {
        let Self { child, issued, .. } = self;
        let Some(approval) = &child.approval else {
            let rules = self.delegations.iter().filter(|delegation| self.covers(delegation)).map(|it| &it["approval"]);
            return !rules.into_iter().any(|rule| needs_approval(rule, child));
        };
        let at = child.jti.as_ref().and_then(|jti| issued.places.get(jti)).copied().unwrap_or(i64::MIN);
        let decisions = issued.decisions.get(approval).map_or(&[][..], Vec::as_slice);
        let before = |kind: EventKind| decisions.iter().find(|(place, event)| event.event == kind && *place < at);
        let is_closed =
            [EventKind::ApprovalDenied, EventKind::ApprovalWithdrawn].into_iter().any(|kind| before(kind).is_some());
        let same = |event: &Event| {
            let bound = |event: &Event| {
                let (user, scope) = ((event.subject_issuer.clone(), event.sub.clone()), words(event.scope.as_ref()));
                (user, event.tenant_id.clone(), event.actors.clone(), event.target.clone(), scope)
            };
            let details = |event: &Event| {
                let mut details = details(&event.authorization_details);
                details.sort_by_key(Value::to_string);
                details
            };
            bound(event) == bound(child) && details(event) == details(child)
        };
        !is_closed
            && before(EventKind::ApprovalGranted).is_some_and(|(_, granted)| same(granted) && lasts(granted, child))
    }

    fn covers(&self, delegation: &Value) -> bool {
        let text = |name: &str| delegation[name].as_str().unwrap_or_default();
        let tenants = strings(&delegation["tenants"]);
        let tenant = self.child.tenant_id.as_ref().map(ToString::to_string);
        let issuers = delegation.get("issuers").map(strings);
        self.child.delegation.as_deref() == Some(&format!("{}->{}", text("actor"), text("target")))
            && (tenants.contains("*") || tenant.is_some_and(|tenant| tenants.contains(&tenant)))
            && issuers.is_none_or(|some| self.child.subject_issuer.as_ref().is_some_and(|issuer| some.contains(issuer)))
    }
}

/// Returns true if a grant was still remembered when the token was issued.
fn lasts(granted: &Event, token: &Event) -> bool {
    let until = granted.detail.as_deref().and_then(|detail| detail.split("remembered until ").nth(1)?.parse().ok());
    until.is_some_and(|until: Timestamp| token.at < until)
}

/// Returns true if the rule of a delegation asks for an approval of a token.
fn needs_approval(rule: &Value, token: &Event) -> bool {
    let actions = strings(&rule["actions"]);
    let permits =
        |detail: &Value| detail.get("actions").is_none_or(|permitted| !strings(permitted).is_disjoint(&actions));
    !strings(&rule["scopes"]).is_disjoint(&words(token.scope.as_ref()))
        || (!actions.is_empty() && details(&token.authorization_details).iter().any(permits))
}

/// What a delegation lets a holder of `held` have; of what is not known, all.
fn entitled(delegation: &Value, held: Option<&BTreeSet<String>>) -> BTreeSet<String> {
    let holds = |scope: &str| held.is_none_or(|held| held.contains(scope));
    let scopes = delegation["scopes"].as_array().into_iter().flatten();
    let entitled = scopes.filter_map(|scope| match scope {
        Value::String(plain) => holds(plain).then(|| plain.clone()),
        derived => {
            let from = strings(&derived["from"]);
            from.iter().any(|scope| holds(scope)).then(|| derived["scope"].as_str().unwrap_or_default().to_owned())
        }
    });
    entitled.collect()
}

fn details(details: &[AuthorizationDetail]) -> Vec<Value> {
    details.iter().map(|detail| serde_json::to_value(detail).expect("JSON")).collect()
}

/// Whether an authorization detail permits nothing that another does not. All its limits are there.
fn is_detail_within(inner: &Value, outer: &Value) -> bool {
    let outer = outer.as_object().expect("an object");
    outer.iter().all(|(name, outer)| match (name.as_str(), &inner[name]) {
        ("limits", limits) => {
            let limits_of = outer.as_object().into_iter().flatten();
            limits_of
                .map(|(name, most)| (&limits[name], most))
                .all(|(limit, most)| limit.as_f64() <= most.as_f64() && limit.is_number())
        }
        ("locations" | "actions" | "datatypes", Value::Null) => false,
        ("locations" | "actions" | "datatypes", inner) => strings(inner).is_subset(&strings(outer)),
        (_, inner) => inner == outer,
    })
}

fn strings(value: &Value) -> BTreeSet<String> {
    value.as_array().into_iter().flatten().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn words(scope: Option<&Scope>) -> BTreeSet<String> {
    scope.into_iter().flat_map(Scope::iter).map(ToString::to_string).collect()
}
