//! One registry that is not random, for what is random in time: `front` -> `middle` -> `back`, and `signer` -> `middle`.

use std::collections::BTreeSet;

use http::HeaderMap;
use jiff::Timestamp;
use serde_json::json;
use sts_jose::Algorithm;
use sts_tests::Answer;
use sts_tests::model::{Agent, Credential, Delegation, Issuer, Model, OUR_ISSUER, ScopeSource, TenantSource};
use sts_tests::world::{Node, World};

/// The agent that the user calls.
pub(super) const FRONT: usize = 0;
/// The agent that it calls.
pub(super) const MIDDLE: usize = 1;
/// The agent that this calls.
pub(super) const BACK: usize = 2;
/// An agent with a key.
pub(super) const SIGNER: usize = 3;

const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A form.
pub(super) type Form = Vec<(String, String)>;

pub(super) fn model() -> Model {
    let issuer = Issuer {
        name: "https://idp.example".to_owned(),
        key: 0,
        tenant: TenantSource::Claim("org_id".to_owned()),
        tenants: None,
        scopes: ScopeSource::Delegation,
        audience_claim: "aud".to_owned(),
        subject_prefix: String::new(),
        max_token_age: 3600,
        disabled: false,
    };
    let agents = ["front", "middle", "back", "signer"].map(|id| Agent {
        id: id.to_owned(),
        audience: vec![id.to_owned()],
        accepts: Vec::new(),
        tenants: None,
        forward_tenants: BTreeSet::new(),
        default_target: None,
        token_ttl: 300,
        signing_alg: Algorithm::Es256,
        credential: if id == "signer" { Credential::Key } else { Credential::Secret },
        binding_keys: Vec::new(),
        disabled: false,
    });
    let delegation = |(actor, target)| Delegation {
        actor,
        target,
        plain: BTreeSet::from(["stock:read".to_owned()]),
        derived: Vec::new(),
        issuers: None,
        tenants: None,
        roles: BTreeSet::new(),
        max_ttl: None,
        service_account: false,
        reentrant: false,
        disabled: false,
    };
    Model {
        chain_depth: 8,
        max_ttl: 900,
        issuers: vec![issuer],
        agents: agents.to_vec(),
        delegations: [(FRONT, MIDDLE), (MIDDLE, BACK), (SIGNER, MIDDLE)].map(delegation).to_vec(),
    }
}

/// The token of a user of the tenant `acme`, for an agent.
pub(super) fn user_token(world: &World, user: &str, agent: usize) -> String {
    user_token_at(world.now(), user, agent)
}

/// The same, issued at a moment.
pub(super) fn user_token_at(now: Timestamp, user: &str, agent: usize) -> String {
    let model = model();
    let now = now.as_second();
    model.issuers[0].signer().sign(&json!({
        "iss": model.issuers[0].name, "sub": user, "aud": model.agents[agent].id, "org_id": "acme",
        "iat": now, "exp": now + 3000,
    }))
}

/// A client assertion of `signer`.
pub(super) fn assertion(world: &World, jti: &str) -> String {
    let now = world.now().as_second();
    Agent::key().sign(&json!({ "iss": "signer", "sub": "signer", "aud": OUR_ISSUER, "exp": now + 200, "jti": jti }))
}

/// The parameters of a client assertion.
pub(super) fn by_assertion(assertion: &str) -> Form {
    form(&[
        ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
        ("client_assertion", assertion),
    ])
}

/// The parameters of a secret.
pub(super) fn by_secret(agent: usize) -> Form {
    let agent = &model().agents[agent];
    form(&[("client_id", &agent.id), ("client_secret", &agent.secret())])
}

/// The parameters of an exchange, without those of the client.
pub(super) fn exchange(subject_token: &str, target: usize) -> Form {
    form(&[
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", subject_token),
        ("subject_token_type", ACCESS_TOKEN),
        ("audience", &model().agents[target].id),
    ])
}

/// The parameters of introspection and revocation, without those of the client.
pub(super) fn about(token: &str) -> Form {
    form(&[("token", token)])
}

/// An exchange by an agent that has a secret.
pub(super) async fn exchanged(node: &Node, agent: usize, subject_token: &str, target: usize) -> Answer {
    node.post("/oauth2/token", &[by_secret(agent), exchange(subject_token, target)].concat(), &HeaderMap::new()).await
}

fn form(parameters: &[(&str, &str)]) -> Form {
    parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
