//! Who takes part: the same in every run, so that the tokens of the users are signed and verified once.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Verifier};
use sts_client::{CallContext, Caller, OnOutage, Route, Tenant, WithoutUser};
use sts_jose::{Algorithm, Clock, Entropy, KeySet, KeySource, ManualClock, SigningKey};
use sts_protocol::Act;

use super::chance::Chance;

pub const STS: &str = "https://sts.test";
pub const IDP: &str = "https://idp.test";
pub const AGENTS: [&str; 2] = ["coordinator", "planner"];
/// The tenants for which the agents' own tokens may be sent.
pub const OWN_TENANTS: [&str; 2] = ["acme", "globex"];

/// The beginning of every run.
pub fn start() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap()
}

/// The time of a run: that of tokio, which stands still while anything can be done.
#[derive(Debug, Clone, Copy)]
pub struct VirtualClock(tokio::time::Instant);

impl VirtualClock {
    /// Begins at [`start`].
    pub fn begin() -> Self {
        Self(tokio::time::Instant::now())
    }

    /// The time since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        start() + self.elapsed()
    }
}

/// Who calls an agent.
#[derive(Debug)]
pub struct CastMember {
    pub name: &'static str,
    pub inbound: Inbound,
    pub tenant: Option<&'static str>,
}

#[derive(Debug)]
pub enum Inbound {
    User(User),
    ServiceAccount(Caller),
    Nobody,
}

#[derive(Debug)]
pub struct User {
    pub token: String,
    pub delegation: Caller,
    pub sub: String,
    pub act: Option<Act>,
    /// Seconds since the beginning.
    pub dies_after: u64,
}

/// All that does not change from run to run.
pub struct Cast {
    pub sts_key: SigningKey,
    pub strange_key: SigningKey,
    pub sts_keys: KeySource,
    pub callers: Vec<CastMember>,
    pub routes: Vec<Route>,
}

/// To be looked at for the first time outside of any runtime.
pub static CAST: LazyLock<Cast> = LazyLock::new(Cast::new);

impl Cast {
    fn new() -> Self {
        let sts_key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let idp_key = SigningKey::generate(Algorithm::EdDsa).unwrap();
        let verifier = Verifier::builder(["agents"])
            .issuer(Issuer::sts(STS).jwks(keys(&sts_key)))
            .issuer(Issuer::new(IDP).jwks(keys(&idp_key)).tenant_claim("org_id"))
            .clock(Arc::new(ManualClock::new(start())))
            .entropy(Arc::new(Chance::new(1)))
            .build()
            .unwrap();
        let user = |name, sub: &str, tenant: &'static str, dies_after: u64| {
            let claims = json!({ "iss": IDP, "sub": sub, "aud": "agents", "org_id": tenant, "iat": iat(), "exp": exp(dies_after) });
            let (token, delegation) = verified(&verifier, &idp_key, None, &claims, None);
            let user = User { token, delegation, sub: sub.to_owned(), act: None, dies_after };
            CastMember { name, inbound: Inbound::User(user), tenant: Some(tenant) }
        };
        let nobody = |name, tenant| CastMember { name, inbound: Inbound::Nobody, tenant };
        let callers = vec![
            user("ann of acme, soon to expire", "ann", "acme", 20),
            user("ann of acme", "ann", "acme", 3_600),
            user("ann of globex", "ann", "globex", 3_600),
            user("bob of acme", "bob", "acme", 3_600),
            user("bob of globex, later to expire", "bob", "globex", 40),
            by_way_of_another_agent(&verifier, &sts_key),
            another_service_account(&verifier, &sts_key),
            nobody("nobody, for acme", Some("acme")),
            nobody("nobody, for a tenant that is not served", Some("evil")),
            nobody("nobody, for no tenant", None),
        ];
        Self {
            sts_keys: KeySource::Inline(keys(&sts_key)),
            sts_key,
            strange_key: SigningKey::generate(Algorithm::EdDsa).unwrap(),
            callers,
            routes: routes(),
        }
    }

    /// The user of a token.
    pub fn user_of(&self, token: &str) -> Option<usize> {
        self.callers.iter().position(|caller| matches!(&caller.inbound, Inbound::User(user) if user.token == token))
    }
}

impl CastMember {
    pub fn user(&self) -> Option<&User> {
        match &self.inbound {
            Inbound::User(user) => Some(user),
            Inbound::ServiceAccount(_) | Inbound::Nobody => None,
        }
    }

    pub fn context(&self, entropy: &dyn Entropy) -> CallContext {
        match &self.inbound {
            Inbound::User(user) => (&user.delegation).into(),
            Inbound::ServiceAccount(delegation) => delegation.into(),
            Inbound::Nobody => CallContext::without_user(self.tenant.map(tenant), entropy),
        }
    }
}

fn by_way_of_another_agent(verifier: &Verifier, sts_key: &SigningKey) -> CastMember {
    let act = Act::wrap(STS, "front", None);
    let claims = json!({
        "iss": STS, "sub": "ann", "aud": "agents", "client_id": "front", "iat": iat(), "exp": exp(3_600), "jti": "front-1",
        "scope": "ask", "act": act, "sub_id": { "format": "iss_sub", "iss": IDP, "sub": "ann" }, "tenant_id": "acme", "txn": "t",
    });
    let (token, delegation) = verified(verifier, sts_key, Some("at+jwt"), &claims, None);
    let user = User { token, delegation, sub: "ann".to_owned(), act: Some(act), dies_after: 3_600 };
    CastMember { name: "ann of acme, by way of another agent", inbound: Inbound::User(user), tenant: Some("acme") }
}

fn another_service_account(verifier: &Verifier, sts_key: &SigningKey) -> CastMember {
    let claims = json!({
        "iss": STS, "sub": "nightly", "aud": "agents", "client_id": "nightly", "iat": iat(), "exp": exp(3_600), "jti": "nightly-1",
        "scope": "ask", "tenant_ids": ["acme", "globex"], "txn": "t",
    });
    let (_, delegation) = verified(verifier, sts_key, Some("at+jwt"), &claims, Some("globex"));
    CastMember {
        name: "a service account, for globex",
        inbound: Inbound::ServiceAccount(delegation),
        tenant: Some("globex"),
    }
}

/// Two routes to one target with different scopes, two targets with one scope, and each rule of a route both ways.
fn routes() -> Vec<Route> {
    let route = |url: &str, audience, scope: &str| {
        Route::to(url.parse().unwrap()).audience(audience).scope(scope.parse().unwrap())
    };
    vec![
        route("https://inventory.test/", "inventory", "stock:read").on_outage(OnOutage::ServiceAccount),
        route("https://inventory.test/admin", "inventory", "stock:write")
            .on_outage(OnOutage::ServiceAccount)
            .without_user(WithoutUser::ServiceAccount),
        route("https://payments.test/", "payments", "stock:read"),
        route("https://reports.test/", "reports", "stock:read stock:write").without_user(WithoutUser::ServiceAccount),
    ]
}

pub fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

fn iat() -> i64 {
    start().as_second()
}

fn exp(dies_after: u64) -> i64 {
    start().as_second() + i64::try_from(dies_after).unwrap()
}

fn keys(key: &SigningKey) -> KeySet {
    KeySet::parse(json!({ "keys": [key.public_jwk()] }).to_string().as_bytes()).unwrap()
}

fn verified(
    verifier: &Verifier,
    key: &SigningKey,
    typ: Option<&str>,
    claims: &Value,
    tenant: Option<&'static str>,
) -> (String, Caller) {
    let token = key.sign(typ, claims.to_string().as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_str(&format!("Bearer {token}")).unwrap());
    if let Some(tenant) = tenant {
        headers.insert("x-tenant-id", HeaderValue::from_static(tenant));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let delegation = runtime.block_on(verifier.verify(&headers)).unwrap();
    (token, delegation)
}
