//! The comparison of a token with the expectations of the registry, for `explain`.
//!
//! This module decides nothing. It reads a token despite all its faults, and no step of a request
//! uses it.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::{ClaimSelector, ClaimSelectors, Claims, KeySet, Protection, ReadableToken, Slot, Typ, VerificationKey};
use sts_protocol::TokenType;
use utoipa::ToSchema;

use crate::client_auth::{TOKEN_PATH, names_workload_issuer};
use crate::declared_slot::declared_slot;
use crate::document::nearest;
use crate::keys::{KeyRing, TrustedKeys};
use crate::record::cut;
use crate::registry::{Agent, AssertionAudience, Issuer, IssuerNameError, Registry, WorkloadAgent};

/// The maximum number of known names that a row lists.
const MAX_NAMES: usize = 5;
/// The maximum time by which `iat` and `nbf` may be in the future, in seconds.
const SKEW_SECONDS: i64 = 30;

/// A comparison of one token of a request, claim by claim.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenComparison {
    /// The parameter that contained the token.
    pub parameter: Cow<'static, str>,
    /// The protection of the token, in words.
    pub protection: Cow<'static, str>,
    /// The claims that decide if the token is accepted.
    pub claims: Vec<ComparedClaim>,
}

/// A comparison of one claim with its expected value.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct ComparedClaim {
    /// The name of the claim, or of the header member.
    pub claim: String,
    /// The value in the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_says: Option<String>,
    /// The value that the registry, or this service, expects.
    pub registry_expects: String,
    /// True if the two match.
    pub fits: bool,
    /// The known name that was probably meant, because it is similar to the value in the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
}

/// The state that tokens are compared with.
pub(super) struct Expectations<'a> {
    pub(super) registry: &'a Registry,
    pub(super) ring: &'a KeyRing,
    pub(super) trusted: &'a TrustedKeys,
    pub(super) issuer: &'a str,
    pub(super) now: Timestamp,
}

struct Rows<'a> {
    header: &'a Map<String, Value>,
    claims: &'a Claims,
    rows: Vec<ComparedClaim>,
}

/// Returns a time difference in words.
#[must_use]
pub fn relative(seconds: i64) -> String {
    let distance = seconds.unsigned_abs();
    let (minutes, rest) = (distance / 60, distance % 60);
    let words = if minutes == 0 { format!("{rest} s") } else { format!("{minutes} min {rest} s") };
    if seconds < 0 { format!("{words} ago") } else { format!("in {words}") }
}

/// Returns the description of a token's protection.
#[must_use]
pub fn protection(token: &ReadableToken) -> &'static str {
    match token.protection() {
        Protection::Signed => "signed",
        Protection::Symmetric => "signed with a shared secret: no public key verifies it",
        Protection::None => "not signed: refused everywhere",
        Protection::Encrypted => "encrypted: its claims cannot be read here",
    }
}

impl Expectations<'_> {
    /// Returns the cached keys of the issuer or agent that a token names. The steps before the
    /// comparison have fetched them, within the limits on fetches.
    fn keys_of(&self, token: &str) -> KeySet {
        let read = ReadableToken::read(token);
        let Some(claims) = read.as_ref().and_then(ReadableToken::claims) else { return KeySet::empty() };
        let iss = claims.get("iss").and_then(Value::as_str);
        if iss == Some(self.issuer) {
            return KeySet::parse(self.ring.jwks().to_string().as_bytes()).unwrap_or_default();
        }
        match self.registry.issuer_of(&Claims::new(claims.clone())) {
            Ok(named) => self.trusted.keys_of_issuer(&named.issuer.issuer),
            Err(_) => iss.map(|iss| self.trusted.keys_of_agent(iss)).unwrap_or_default(),
        }
    }

    /// Compares a subject token that `presenter` sends with the type `declared`.
    pub(super) fn subject(
        &self,
        token: &str,
        declared: Option<TokenType>,
        presenter: Option<&Agent>,
    ) -> TokenComparison {
        let keys = self.keys_of(token);
        self.compared("subject_token", token, |rows| {
            let is_ours = rows.text("iss") == Some(self.issuer);
            let named = self.registry.issuer_of(rows.claims);
            if is_ours {
                rows.add("iss", "this service".to_owned(), true, None);
            } else {
                let known = self.registry.issuers().flat_map(|issuer| issuer.names());
                rows.issuer("a registered issuer", named.as_ref().err(), known.collect());
            }
            let issuer = named.as_ref().ok().map(|named| &*named.issuer).filter(|_| !is_ours);
            rows.algorithm(issuer);
            rows.kid(&keys);
            let slot = declared_slot(declared.unwrap_or(TokenType::Jwt));
            rows.typ(issuer.map_or(slot, |issuer| issuer.slot(slot)));
            match (presenter, issuer) {
                (Some(presenter), Some(issuer)) => rows.addressed_by(&issuer.audience_claim, presenter),
                (Some(presenter), None) if is_ours => rows.addressed(presenter.audience()),
                (Some(presenter), None) => {
                    rows.addressed_by(&ClaimSelectors::from(ClaimSelector::claim("aud")), presenter)
                }
                (None, _) => {}
            }
            rows.times(self.now);
            if let Some(selectors) = issuer.and_then(|issuer| issuer.tenant_claim.as_ref()) {
                rows.tenant(selectors);
            }
            rows.binding();
        })
    }

    /// Compares a workload token, sent in this parameter.
    pub(super) fn workload(&self, parameter: &'static str, token: &str, slot: Slot) -> TokenComparison {
        let keys = self.keys_of(token);
        self.compared(parameter, token, |rows| {
            let named = self.registry.issuer_of(rows.claims);
            let entries = || self.registry.agents().flat_map(|agent| agent.auth.iter().flat_map(|auth| &auth.workload));
            let lacks = named
                .as_ref()
                .err()
                .or((!names_workload_issuer(self.registry, rows.claims)).then_some(&IssuerNameError::Unknown));
            rows.issuer("the issuer of a workload", lacks, entries().map(|entry| entry.issuer.as_str()).collect());
            let issuer = named.as_ref().ok().map(|named| &*named.issuer);
            let subject = issuer.and_then(|issuer| issuer.subject(rows.claims).ok().flatten());
            let found =
                issuer.zip(subject.as_deref()).and_then(|(issuer, sub)| self.registry.workload(&issuer.issuer, sub));
            let of_issuer = entries().filter(|entry| issuer.is_some_and(|issuer| issuer.issuer == entry.issuer));
            rows.subject(
                issuer,
                subject.as_deref(),
                found.is_some(),
                of_issuer.map(|entry| entry.subject.as_str()).collect(),
            );
            let entry = found.as_ref().and_then(WorkloadAgent::entry);
            let audience = entry.and_then(|entry| entry.audience.as_deref()).unwrap_or(self.issuer);
            rows.addressed(&[audience]);
            if let Some((selector, value)) =
                entry.and_then(|entry| entry.claims.get_key_value(entry.lacks(rows.claims)?))
            {
                rows.rows.push(ComparedClaim {
                    claim: selector.to_string(),
                    token_says: selector.value(rows.claims).map(shown),
                    registry_expects: shown(value),
                    fits: false,
                    nearest: None,
                });
            }
            if let Some(issuer) = issuer {
                rows.algorithm(Some(issuer));
            }
            rows.kid(&keys);
            rows.typ(issuer.map_or(slot, |issuer| issuer.slot(slot)));
            rows.times(self.now);
            rows.unbound();
        })
    }

    /// Compares a client assertion of an agent, or a workload token in its place.
    pub(super) fn assertion(&self, token: &str, slot: Slot) -> TokenComparison {
        let claims = ReadableToken::read(token).and_then(|read| Some(Claims::new(read.claims()?.clone())));
        if claims.is_some_and(|claims| names_workload_issuer(self.registry, &claims)) {
            return self.workload("client_assertion", token, slot);
        }
        let keys = self.keys_of(token);
        self.compared("client_assertion", token, |rows| {
            let iss = rows.claims.string("iss").ok().flatten();
            let agent = iss.and_then(|iss| self.registry.agent(iss));
            let agents = || self.registry.agents().map(|agent| agent.id.as_str()).collect();
            rows.name("iss", "the id of an agent, or the issuer of a workload", agents());
            rows.name("sub", "the same as iss", iss.into_iter().collect());
            let rules = agent.and_then(|agent| agent.auth.as_ref()).cloned().unwrap_or_default();
            let endpoint = format!("{}{TOKEN_PATH}", self.issuer);
            match rules.assertion_audience {
                AssertionAudience::Issuer => rows.addressed_alone(&[self.issuer]),
                AssertionAudience::IssuerOrTokenEndpoint => rows.addressed_alone(&[self.issuer, &endpoint]),
            }
            rows.kid(&keys);
            rows.typ(slot);
            let longest = rules.assertion_lifetime();
            let exp = rows.claims.get("exp").and_then(Value::as_i64);
            let ahead = exp.map(|exp| exp - self.now.as_second());
            let fits = ahead.is_some_and(|ahead| (1..=longest.as_seconds()).contains(&ahead));
            rows.time("exp", format!("ahead by {longest} at most (max_assertion_lifetime)"), fits, self.now);
            let has_name = rows.text("jti").is_some_and(|jti| !jti.is_empty());
            rows.add("jti", "a name that counts once".to_owned(), has_name, None);
            rows.unbound();
        })
    }

    fn compared(&self, parameter: &'static str, token: &str, compare: impl FnOnce(&mut Rows<'_>)) -> TokenComparison {
        let parameter = Cow::Borrowed(parameter);
        let Some(read) = ReadableToken::read(token) else {
            return TokenComparison {
                parameter,
                protection: "opaque: only its issuer can read it".into(),
                claims: Vec::new(),
            };
        };
        let protection = protection(&read).into();
        let Some(claims) = read.claims() else { return TokenComparison { parameter, protection, claims: Vec::new() } };
        let claims = Claims::new(claims.clone());
        let mut rows = Rows { header: read.header(), claims: &claims, rows: Vec::new() };
        compare(&mut rows);
        TokenComparison { parameter, protection, claims: rows.rows }
    }
}

impl<'a> Rows<'a> {
    fn text(&self, claim: &str) -> Option<&'a str> {
        self.claims.get(claim).and_then(Value::as_str)
    }

    fn add(&mut self, claim: &str, registry_expects: String, fits: bool, nearest: Option<String>) {
        let (claim, token_says) = (claim.to_owned(), self.claims.get(claim).map(shown));
        self.rows.push(ComparedClaim { claim, token_says, registry_expects, fits, nearest });
    }

    /// Adds the issuer. `error` is the reason why the token names none, `what` the issuer that it
    /// must name.
    fn issuer(&mut self, what: &str, error: Option<&IssuerNameError>, known: Vec<&str>) {
        match error {
            None => self.add("iss", what.to_owned(), true, None),
            Some(IssuerNameError::Missing | IssuerNameError::Unknown) => {
                let (expected, meant) = misfit(what, self.text("iss"), known);
                self.add("iss", expected, false, meant);
            }
            Some(IssuerNameError::Tenant) => {
                self.add("iss", "the tenant of tenant_claim in the name of the issuer".to_owned(), false, None);
            }
            Some(IssuerNameError::TrustDomain) => {
                self.add("iss", "the trust domain of sub".to_owned(), false, None);
            }
        }
    }

    /// Adds the subject of a workload, which the entry of its issuer selects.
    fn subject(&mut self, issuer: Option<&Issuer>, subject: Option<&str>, fits: bool, known: Vec<&str>) {
        let what = "the subject of a workload";
        let (expected, meant) = if fits { (what.to_owned(), None) } else { misfit(what, subject, known) };
        match issuer {
            Some(issuer) => {
                let found: Vec<&str> = subject.into_iter().collect();
                self.selected(&issuer.subject_claim, &found, (expected, fits, meant));
            }
            None => self.add("sub", expected, fits, meant),
        }
    }

    /// Adds the algorithm, which must be one of the issuer.
    fn algorithm(&mut self, issuer: Option<&Issuer>) {
        match issuer {
            Some(issuer) => {
                let algorithms: Vec<&str> = issuer.algorithms.iter().map(|algorithm| algorithm.as_str()).collect();
                self.header_one_of("alg", &algorithms);
            }
            None => self.add_member("alg", "an algorithm of its issuer".to_owned(), !is_foreign(self.header), None),
        }
    }

    /// Adds a claim that must be one of the known names.
    fn name(&mut self, claim: &str, what: &str, known: Vec<&str>) {
        let fits = self.text(claim).is_some_and(|says| known.contains(&says));
        let (expected, meant) = if fits { (what.to_owned(), None) } else { misfit(what, self.text(claim), known) };
        self.add(claim, expected, fits, meant);
    }

    /// Adds a member of the header.
    fn add_member(&mut self, member: &str, registry_expects: String, fits: bool, nearest: Option<String>) {
        let token_says = self.header.get(member).map(shown);
        let claim = member.to_owned();
        self.rows.push(ComparedClaim { claim, token_says, registry_expects, fits, nearest });
    }

    fn header_one_of(&mut self, member: &str, allowed: &[&str]) {
        let fits = self.header.get(member).and_then(Value::as_str).is_some_and(|says| allowed.contains(&says));
        self.add_member(member, listed(allowed), fits, None);
    }

    /// Adds the `kid`, compared with the key set. A key without `kid` is tried for every token, and
    /// all keys are tried for a token without `kid`.
    fn kid(&mut self, keys: &KeySet) {
        let known: Vec<&str> = keys.keys().iter().filter_map(VerificationKey::kid).collect();
        let says = self.header.get("kid").filter(|kid| !kid.is_null());
        let fits = match says.map(Value::as_str) {
            None => !keys.is_empty(),
            Some(kid) => kid.is_some_and(|kid| known.contains(&kid)) || known.len() < keys.len(),
        };
        let meant = says.and_then(Value::as_str).filter(|_| !fits).and_then(|kid| nearest(kid, known.iter().copied()));
        let meant = meant.map(str::to_owned);
        let expected = match (keys.is_empty(), fits) {
            (true, _) => "a key of its key set, of which none is known".to_owned(),
            (false, true) => "a key of its key set".to_owned(),
            (false, false) => format!("a key of its key set: {}", listed(&known)),
        };
        self.add_member("kid", expected, fits, meant);
    }

    /// Adds the `typ`, which the slot must accept.
    fn typ(&mut self, slot: Slot) {
        let fits = match self.header.get("typ") {
            None => slot.accepts(None),
            Some(typ) => typ.as_str().is_some_and(|typ| slot.accepts(Some(typ))),
        };
        let name = |typ: &Typ| if *typ == Typ::Absent { "absent" } else { typ.as_str() };
        let names: Vec<&str> = slot.accepted().iter().map(name).collect();
        self.add_member("typ", listed(&names), fits, None);
    }

    /// Adds an `aud` that must contain one of these values.
    fn addressed(&mut self, accepted: &[impl AsRef<str>]) {
        let accepted: Vec<&str> = accepted.iter().map(AsRef::as_ref).collect();
        let found = self.claims.audience().unwrap_or_default();
        let fits = found.iter().any(|value| accepted.contains(value));
        self.add("aud", listed(&accepted), fits, meant(fits, &found, &accepted));
    }

    /// Adds the audience claims that an issuer's entry names, which must address the presenter.
    fn addressed_by(&mut self, selectors: &ClaimSelectors, presenter: &Agent) {
        let accepted: Vec<&str> = presenter.audience().iter().chain(&presenter.accepts).map(String::as_str).collect();
        let fits = selectors.address(self.claims, |audience| presenter.may_present(audience)).unwrap_or_default();
        let found = selectors.texts(self.claims).ok().flatten();
        let found: Vec<&str> = found.iter().flat_map(|found| found.iter()).collect();
        self.selected(selectors, &found, (listed(&accepted), fits, meant(fits, &found, &accepted)));
    }

    /// Adds the tenant claims that an issuer's entry names, which must yield one tenant.
    fn tenant(&mut self, selectors: &ClaimSelectors) {
        let found = selectors.one(self.claims).ok().flatten();
        let found: Vec<&str> = found.iter().map(|tenant| &**tenant).collect();
        self.selected(selectors, &found, ("one tenant (tenant_claim)".to_owned(), !found.is_empty(), None));
    }

    fn selected(
        &mut self,
        selectors: &ClaimSelectors,
        found: &[&str],
        (registry_expects, fits, nearest): (String, bool, Option<String>),
    ) {
        let claim = selectors.to_string();
        let says = if found.is_empty() {
            self.claims.get(&claim).map(shown)
        } else {
            Some(cut(&found.join(", ")).into_owned())
        };
        self.rows.push(ComparedClaim { claim, token_says: says, registry_expects, fits, nearest });
    }

    /// Adds an `aud` that must contain only these values.
    fn addressed_alone(&mut self, accepted: &[&str]) {
        let found = self.claims.audience().unwrap_or_default();
        let fits = !found.is_empty() && found.iter().all(|value| accepted.contains(value));
        self.add("aud", format!("{} and no other", listed(accepted)), fits, meant(fits, &found, accepted));
    }

    fn times(&mut self, now: Timestamp) {
        let seconds = |claim: &str| self.claims.get(claim).and_then(Value::as_f64);
        let (present, latest) = (now.as_second() as f64, (now.as_second() + SKEW_SECONDS) as f64);
        let alive = seconds("exp").is_some_and(|exp| exp > present);
        let begun = |claim: &str| seconds(claim).is_none_or(|at| at <= latest);
        let (issued, valid) = (begun("iat"), begun("nbf"));
        self.time("exp", "later than now".to_owned(), alive, now);
        for (claim, fits) in [("iat", issued), ("nbf", valid)] {
            if self.claims.get(claim).is_some() {
                self.time(claim, format!("at most {SKEW_SECONDS} s ahead"), fits, now);
            }
        }
    }

    /// Adds a claim that is a time.
    fn time(&mut self, claim: &str, registry_expects: String, fits: bool, now: Timestamp) {
        let at = self.claims.get(claim);
        let seconds = at.and_then(Value::as_i64).and_then(|seconds| Timestamp::from_second(seconds).ok());
        let words = |at: Timestamp| format!("{at} ({})", relative(at.as_second() - now.as_second()));
        let says = seconds.map(words).or_else(|| at.map(shown));
        let claim = claim.to_owned();
        self.rows.push(ComparedClaim { claim, token_says: says, registry_expects, fits, nearest: None });
    }

    /// Adds `cnf` of a subject token, which the rules about bindings read.
    fn binding(&mut self) {
        let is_object = |cnf: &Value| cnf.as_object().is_some_and(|members| !members.is_empty());
        if let Some(fits) = self.claims.get("cnf").map(is_object) {
            let expected = "a key: the agent must prove its key, unless the target is bearer_only";
            self.add("cnf", expected.to_owned(), fits, None);
        }
    }

    fn unbound(&mut self) {
        if self.claims.get("cnf").is_some() {
            self.add("cnf", "absent: no proof of possession is honoured here".to_owned(), false, None);
        }
    }
}

/// Returns the accepted name that was probably meant, unless the values fit.
fn meant(fits: bool, values: &[&str], accepted: &[&str]) -> Option<String> {
    let near = || values.iter().find_map(|value| nearest(value, accepted.iter().copied()));
    if fits { None } else { near().map(str::to_owned) }
}

/// Returns the expectation of a name that is none of the known ones, and the known name that was
/// probably meant.
fn misfit(what: &str, says: Option<&str>, mut known: Vec<&str>) -> (String, Option<String>) {
    known.sort_unstable();
    known.dedup();
    let meant = nearest(says.unwrap_or_default(), known.iter().copied()).map(str::to_owned);
    (format!("{what}: {}", listed(&known)), meant)
}

/// Returns true if no public key verifies tokens with this header.
fn is_foreign(header: &Map<String, Value>) -> bool {
    let algorithm = header.get("alg").and_then(Value::as_str).unwrap_or("none");
    algorithm.starts_with("HS") || algorithm.eq_ignore_ascii_case("none")
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => cut(text).into_owned(),
        other => cut(&other.to_string()).into_owned(),
    }
}

fn listed(names: &[&str]) -> String {
    let first: Vec<&str> = names.iter().copied().take(MAX_NAMES).collect();
    match names.len().saturating_sub(MAX_NAMES) {
        _ if names.is_empty() => "none is known".to_owned(),
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}
