//! Random registries, valid by construction.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use proptest::collection::vec;
use proptest::option::weighted as maybe;
use proptest::prelude::*;
use proptest::sample::select;
use sts_jose::Algorithm;
use sts_tests::model::{Agent, Credential, Delegation, ISSUER_KEYS, Issuer, Model, ScopeSource, TenantSource};

/// The tenants of the world.
pub(super) const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
/// The scopes of the world.
pub(super) const SCOPES: [&str; 6] = ["stock:read", "stock:write", "bin:read", "bin:move", "price:read", "Stock:read"];
/// The roles of the world.
pub(super) const ROLES: [&str; 3] = ["clerk", "buyer", "manager"];

const ISSUERS: RangeInclusive<usize> = 2..=4;
const AGENTS: RangeInclusive<usize> = 3..=8;

/// A registry with the limits of its server.
pub(super) fn model() -> impl Strategy<Value = Model> {
    (ISSUERS, AGENTS).prop_flat_map(|(issuers, agents)| {
        let issuers: Vec<_> = (0..issuers).map(issuer).collect();
        let count = issuers.len();
        let agents: Vec<_> = (0..agents).map(|index| agent(index, agents, count)).collect();
        let pairs = agents.len() * agents.len();
        let limits =
            (prop_oneof![3 => Just(8_usize), 1 => 1..=7_usize], prop_oneof![3 => Just(900_i64), 1 => 60..900_i64]);
        (limits, issuers, agents, vec(maybe(0.45, pair(count)), pairs)).prop_map(assemble)
    })
}

type Parts = ((usize, i64), Vec<Issuer>, Vec<Agent>, Vec<Option<Pair>>);

fn assemble(((chain_depth, max_ttl), issuers, mut agents, pairs): Parts) -> Model {
    let names: Vec<Vec<String>> =
        agents.iter().map(|agent| [&agent.audience[..], std::slice::from_ref(&agent.id)].concat()).collect();
    for agent in &mut agents {
        if let Some((index, name)) = agent.default_target.as_ref().and_then(|target| target.split_once('/')) {
            let (index, name): (usize, usize) = (index.parse().unwrap(), name.parse().unwrap());
            let target = &names[index % names.len()];
            agent.default_target = Some(target[name % target.len()].clone());
        }
    }
    let count = agents.len();
    let mut delegations = Vec::new();
    for (index, pair) in pairs.into_iter().enumerate() {
        let (actor, target) = (index / count, index % count);
        let Some(pair) = pair.filter(|_| agents[actor].credential != Credential::None) else { continue };
        delegations.extend(pair.delegations(actor, target, issuers.len()));
    }
    Model { chain_depth, max_ttl, issuers, agents, delegations }
}

fn issuer(index: usize) -> impl Strategy<Value = Issuer> {
    let tenant = prop_oneof![
        4 => select(vec!["org_id", "https://claims.example/tenant"]).prop_map(|claim| TenantSource::Claim(claim.to_owned())),
        2 => select(TENANTS.to_vec()).prop_map(|tenant| TenantSource::Fixed(tenant.to_owned())),
        1 => Just(TenantSource::None),
    ];
    let scopes = prop_oneof![
        1 => Just(ScopeSource::Delegation),
        1 => select(vec!["scope", "scp"]).prop_map(|claim| ScopeSource::Claim(claim.to_owned())),
    ];
    let audience_claim = prop_oneof![4 => Just("aud"), 1 => Just("azp")];
    let prefix = select(vec![String::new(), String::new(), format!("corp-{index}|")]);
    let age = prop_oneof![3 => Just(86_400_i64), 1 => 300..4000_i64];
    let rest = (audience_claim, prefix, age, likely_not(0.04));
    (tenant, tenants(0.12), scopes, rest).prop_map(move |(tenant, tenants, scopes, rest)| {
        let (audience_claim, prefix, max_token_age, disabled) = rest;
        Issuer {
            name: format!("https://idp-{index}.example"),
            key: index % ISSUER_KEYS,
            tenants: within(tenants, &tenant),
            tenant,
            scopes,
            audience_claim: audience_claim.to_owned(),
            subject_prefix: prefix,
            max_token_age,
            disabled,
        }
    })
}

/// The tenants of an issuer hold its fixed tenant, or `check` complains.
fn within(tenants: Option<BTreeSet<String>>, source: &TenantSource) -> Option<BTreeSet<String>> {
    let mut tenants = tenants?;
    if let TenantSource::Fixed(tenant) = source {
        tenants.insert(tenant.clone());
    }
    Some(tenants)
}

fn agent(index: usize, agents: usize, issuers: usize) -> impl Strategy<Value = Agent> {
    let id = format!("agent-{index}");
    let uri = format!("https://{id}.example/");
    let audiences = vec![
        vec![id.clone()],
        vec![format!("audience-{index}")],
        vec![format!("audience-{index}"), uri.clone()],
        vec![uri, id.clone()],
    ];
    let credential = prop_oneof![
        7 => Just(Credential::Secret),
        1 => Just(Credential::Key),
        1 => Just(Credential::Certificate),
        // The last issuer names workloads, and users only of the delegations that list it.
        2 => Just(Credential::Workload(issuers - 1)),
        1 => Just(Credential::None),
    ];
    let default_target = maybe(0.5, (0..agents, 0..4_usize).prop_map(|(agent, name)| format!("{agent}/{name}")));
    let algorithm = prop_oneof![8 => Just(Algorithm::Es256), 1 => Just(Algorithm::EdDsa), 1 => Just(Algorithm::Rs256)];
    let binding_keys = prop_oneof![
        12 => Just(Vec::new()),
        1 => Just(vec!["dpop_bound_access_tokens"]),
        1 => Just(vec!["dpop_bound_access_tokens_required"]),
        1 => Just(vec!["dpop_bound_access_tokens", "dpop_bound_access_tokens_required"]),
        1 => Just(vec!["tls_client_certificate_bound_access_tokens"]),
        1 => Just(vec!["dpop_bound_access_tokens", "tls_client_certificate_bound_access_tokens"]),
        2 => Just(vec!["bearer_only"]),
    ];
    let token = (prop_oneof![Just(300), 30..1200_i64], algorithm, binding_keys, likely_not(0.04));
    let accepts = vec(select(vec!["web-app", "mobile-app"]), 0..2);
    (select(audiences), accepts, tenants(0.12), subset(&TENANTS, 0.3), (credential, default_target, token)).prop_map(
        move |(audience, accepts, tenants, forward_tenants, (credential, default_target, token))| Agent {
            id: id.clone(),
            audience,
            accepts: accepts.into_iter().map(str::to_owned).collect(),
            forward_tenants: match &tenants {
                Some(tenants) => &forward_tenants & tenants,
                None => forward_tenants,
            },
            tenants,
            default_target,
            token_ttl: token.0,
            signing_alg: token.1,
            credential,
            binding_keys: token.2,
            disabled: token.3,
        },
    )
}

/// What one agent may do with another.
#[derive(Debug, Clone)]
struct Pair {
    whole: Terms,
    split: Split,
    other: Terms,
}

/// The terms of a delegation, without the subjects that it covers.
#[derive(Debug, Clone)]
struct Terms {
    plain: BTreeSet<String>,
    derived: Vec<(String, BTreeSet<String>)>,
    roles: BTreeSet<String>,
    max_ttl: Option<i64>,
    service_account: bool,
    reentrant: bool,
    disabled: bool,
}

/// Which subjects the delegations of a pair cover.
#[derive(Debug, Clone)]
enum Split {
    /// One delegation, for these.
    Whole(Option<BTreeSet<usize>>, Option<BTreeSet<String>>),
    /// Two, whose tenants are apart.
    Tenants,
    /// Two, whose issuers are apart.
    Issuers,
}

impl Pair {
    fn delegations(self, actor: usize, target: usize, issuers: usize) -> Vec<Delegation> {
        let delegation = |terms: Terms, issuers, tenants| Delegation {
            actor,
            target,
            plain: terms.plain,
            derived: terms.derived,
            issuers,
            tenants,
            roles: terms.roles,
            max_ttl: terms.max_ttl,
            service_account: terms.service_account,
            // An agent that calls itself must be.
            reentrant: terms.reentrant || actor == target,
            disabled: terms.disabled,
        };
        let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
        match self.split {
            Split::Whole(issuers, tenants) => vec![delegation(self.whole, issuers, tenants)],
            Split::Tenants => vec![
                delegation(self.whole, None, names(&TENANTS[..1])),
                delegation(self.other, None, names(&TENANTS[1..])),
            ],
            Split::Issuers => vec![
                delegation(self.whole, Some(BTreeSet::from([0])), None),
                delegation(self.other, Some((1..issuers).collect()), None),
            ],
        }
    }
}

fn pair(issuers: usize) -> impl Strategy<Value = Pair> {
    let some_issuers = vec(0..issuers, 1..=issuers).prop_map(|indices| indices.into_iter().collect());
    let split = prop_oneof![
        8 => (maybe(0.12, some_issuers), tenants(0.12)).prop_map(|(issuers, tenants)| Split::Whole(issuers, tenants)),
        1 => Just(Split::Tenants),
        1 => Just(Split::Issuers),
    ];
    (terms(), split, terms()).prop_map(|(whole, split, other)| Pair { whole, split, other })
}

/// How a delegation treats a scope.
#[derive(Debug, Clone)]
enum Treatment {
    Absent,
    Plain,
    Derived(BTreeSet<String>),
}

fn terms() -> impl Strategy<Value = Terms> {
    let treatment = prop_oneof![
        2 => Just(Treatment::Absent),
        6 => Just(Treatment::Plain),
        1 => vec(select(SCOPES.to_vec()), 1..3).prop_map(|from| Treatment::Derived(owned(from))),
    ];
    let max_ttl = maybe(0.3, 20..1200_i64);
    let flags = (likely_not(0.3), likely_not(0.5), likely_not(0.04));
    (vec(treatment, SCOPES.len()), subset(&ROLES, 0.6), max_ttl, flags).prop_map(
        |(treatments, roles, max_ttl, flags)| {
            let mut terms = Terms {
                plain: BTreeSet::new(),
                derived: Vec::new(),
                roles,
                max_ttl,
                service_account: flags.0,
                reentrant: flags.1,
                disabled: flags.2,
            };
            for (scope, treatment) in SCOPES.into_iter().zip(treatments) {
                match treatment {
                    Treatment::Absent => {}
                    Treatment::Plain => drop(terms.plain.insert(scope.to_owned())),
                    Treatment::Derived(from) => terms.derived.push((scope.to_owned(), from)),
                }
            }
            if terms.plain.is_empty() && terms.derived.is_empty() {
                terms.plain.insert(SCOPES[0].to_owned());
            }
            terms
        },
    )
}

/// All tenants, or with this probability some of them.
fn tenants(probability: f64) -> impl Strategy<Value = Option<BTreeSet<String>>> {
    maybe(probability, vec(select(TENANTS.to_vec()), 1..=TENANTS.len()).prop_map(owned))
}

/// Each of `all` with this probability.
pub(super) fn subset(all: &'static [&'static str], probability: f64) -> impl Strategy<Value = BTreeSet<String>> {
    vec(prop::bool::weighted(probability), all.len()).prop_map(|chosen| {
        let chosen = all.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        chosen.map(|(name, _)| (*name).to_owned()).collect()
    })
}

fn owned(names: Vec<&str>) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

/// True with this small probability.
fn likely_not(probability: f64) -> impl Strategy<Value = bool> {
    prop::bool::weighted(probability)
}
