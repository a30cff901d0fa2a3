//! The tokens that requests present: of users, with whatever is wrong with them, and of workloads.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};
use sts_tests::Answer;
use sts_tests::model::{Agent, Model, OUR_ISSUER, ScopeSource, TenantSource, key_of_a_stranger};

use super::journeys::{Address, MayAct, TenantClaim, TokenFault, UserToken};
use super::registries::TENANTS;
use super::sent::{Presented, Signature};

/// How long workload tokens and assertions live, in seconds.
pub(super) const CREDENTIAL_SECONDS: i64 = 60;

/// A token with what it says.
#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) token: String,
    pub(super) presented: Presented,
}

/// A workload token of an agent.
pub(super) fn workload_token(model: &Model, agent: &Agent, issuer: usize, now: Timestamp) -> String {
    let issuer = &model.issuers[issuer];
    issuer.signer().sign(&json!({
        "iss": issuer.name, "sub": agent.workload(), "aud": [OUR_ISSUER, "https://another.example"],
        "iat": now.as_second(), "exp": now.as_second() + CREDENTIAL_SECONDS,
    }))
}

/// The token of a user, for the agent `holder`.
pub(super) fn user_token(model: &Model, holder: usize, token: &UserToken, now: Timestamp) -> Held {
    let issuer = token.issuer.get(&model.issuers);
    let holder = &model.agents[holder];
    let quarters = now.as_second() * 4 + token.lifetime_quarters;
    let exp = if quarters % 4 == 0 { json!(quarters / 4) } else { json!(quarters as f64 / 4.0) };
    let mut claims = json!({
        "iss": issuer.name, "sub": format!("user-{}", token.user), "exp": exp, "roles": token.roles,
        "auth_time": now.as_second() - 60, "acr": "2",
    });
    if let Some(age) = token.age {
        claims["iat"] = json!(now.as_second() - age);
    }
    if token.has_jti {
        claims["jti"] = json!(fresh_name());
    }
    let names: Vec<&String> = holder.audience.iter().chain(&holder.accepts).collect();
    let audience = match &token.address {
        Address::One(index) => json!(index.get(&names)),
        Address::Among(index) => json!(["somebody", index.get(&names)]),
        Address::Elsewhere => json!("somebody"),
        Address::Absent => Value::Null,
    };
    set(&mut claims, &issuer.audience_claim, audience);
    if let TenantSource::Claim(claim) = &issuer.tenant {
        set(&mut claims, claim, tenant(&token.tenant));
    }
    let scope: Vec<&String> = token.scope.iter().collect();
    let text = token.scope.iter().cloned().collect::<Vec<_>>().join(" ");
    let claim = match &issuer.scopes {
        ScopeSource::Claim(claim) => claim,
        ScopeSource::Delegation => "scope",
    };
    claims[claim] = if token.scope_is_array { json!(scope) } else { json!(text) };
    if let Some(act) = outside_act(token, &issuer.name) {
        claims["act"] = act;
    }
    if let Some(may_act) = &token.may_act {
        claims["may_act"] = match may_act {
            MayAct::First => json!({ "sub": holder.id }),
            MayAct::FirstOfUs => json!({ "sub": holder.id, "iss": OUR_ISSUER, "email": "informative" }),
            MayAct::FirstOfAnother => json!({ "sub": holder.id, "iss": issuer.name }),
            MayAct::Other => json!({ "sub": "somebody" }),
            MayAct::Malformed => json!({ "iss": OUR_ISSUER }),
        };
    }
    let mut header = issuer.signer().header();
    if let Some(typ) = token.typ {
        header["typ"] = json!(typ);
    }
    let mut signature = Signature::Genuine;
    let mut key = issuer.signer();
    match token.fault {
        None => {}
        Some(TokenFault::Garbage) => {
            return Held {
                token: "not.a.token".to_owned(),
                presented: Presented { typ: None, claims, signature: Signature::None },
            };
        }
        Some(TokenFault::Stranger) => {
            key = key_of_a_stranger();
            signature = Signature::Forged;
        }
        Some(TokenFault::OtherKind) => header["typ"] = json!("logout+jwt"),
        Some(fault) => spoil(&mut claims, fault, (holder, &issuer.scopes), now),
    }
    let typ = header["typ"].as_str().map(str::to_owned);
    Held { token: key.sign_with(&header, &claims), presented: Presented { typ, claims, signature } }
}

fn spoil(claims: &mut Value, fault: TokenFault, (holder, scopes): (&Agent, &ScopeSource), now: Timestamp) {
    match fault {
        TokenFault::Garbage | TokenFault::Stranger | TokenFault::OtherKind => {}
        TokenFault::UnknownIssuer => claims["iss"] = json!("https://unknown.example"),
        TokenFault::NotYetValid => claims["nbf"] = json!(now.as_second() + 4000),
        TokenFault::Expired => claims["exp"] = json!(now.as_second()),
        TokenFault::NoExp => set(claims, "exp", Value::Null),
        TokenFault::Bound => claims["cnf"] = json!({ "jkt": "thumbprint" }),
        TokenFault::SubIsAnAgent => claims["sub"] = json!(holder.id),
        TokenFault::SubEmpty => claims["sub"] = json!(""),
        TokenFault::SubControl => claims["sub"] = json!("user\n0"),
        TokenFault::ScopeMalformed => {
            let claim = match scopes {
                ScopeSource::Claim(claim) => claim,
                ScopeSource::Delegation => "scope",
            };
            claims[claim] = json!("stock:read \"bin\"");
        }
        TokenFault::ActMalformed => {
            claims["act"] = json!({ "sub": "outside", "act": { "iss": "https://other.example" } })
        }
        TokenFault::ActClaimsUs => {
            claims["act"] = json!({ "sub": "outside", "act": { "sub": holder.id, "iss": OUR_ISSUER } });
        }
        TokenFault::JtiEmpty => claims["jti"] = json!(""),
    }
}

/// Sets a member, or leaves it out where the value is null.
fn set(claims: &mut Value, name: &str, value: Value) {
    let members = claims.as_object_mut().expect("claims are an object");
    match value {
        Value::Null => drop(members.remove(name)),
        value => drop(members.insert(name.to_owned(), value)),
    }
}

fn tenant(claim: &TenantClaim) -> Value {
    match claim {
        TenantClaim::Text(tenant) => json!(tenant),
        TenantClaim::ArrayOfOne(tenant) => json!([tenant]),
        TenantClaim::ArrayOfTwo => json!(TENANTS[..2]),
        TenantClaim::Number => json!(7),
        TenantClaim::Malformed => json!("acme/eu"),
        TenantClaim::Absent => Value::Null,
    }
}

fn outside_act(token: &UserToken, issuer: &str) -> Option<Value> {
    token.act.iter().enumerate().fold(None, |prior, (index, has_iss)| {
        let mut act = json!({ "sub": format!("gateway-{index}"), "extra": [index] });
        if *has_iss {
            act["iss"] = json!(issuer);
        }
        match prior {
            Some(prior) => act["act"] = prior,
            None => act["ballast"] = json!("x".repeat(token.ballast_bytes)),
        }
        Some(act)
    })
}

/// A name that nothing else of this run has.
pub(super) fn fresh_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("name-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// What a token of ours says.
pub(super) fn read(token: &str) -> Presented {
    let segment = |index: usize| -> Value {
        let segment = token.split('.').nth(index).expect("three segments");
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).expect("base64url")).expect("JSON")
    };
    let typ = segment(0)["typ"].as_str().map(str::to_owned);
    Presented { typ, claims: segment(1), signature: Signature::Genuine }
}

/// The algorithm that a token was signed with.
pub(super) fn algorithm(answer: &Answer) -> String {
    answer.token_header()["alg"].as_str().unwrap_or_default().to_owned()
}
