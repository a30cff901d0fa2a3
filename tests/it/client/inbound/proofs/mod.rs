//! Tokens that are bound to a key: the proof of each request (RFC 9449 §4.3, §7).

mod spent;

use std::sync::Arc;

use axum::body::Body;
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use serde_json::{Value, json};
use sts_client::inbound::{Issuer, Verifier, VerifierBuilder};
use sts_client::integrations::a2a::{ServiceParams, verify};
use sts_client::{BuildError, Possession};
use sts_jose::Algorithm;
use sts_jose::dpop::access_token_hash;
use sts_tests::{Answer, TestKey, base64url};
use tower::ServiceExt as _;

use super::{Agent, METADATA_URL, bearer, tenant, with_header};

const PUBLIC_URL: &str = "https://inventory.shop.example/";
const SECRET: &[u8] = b"a secret of replicas, 32 bytes long";

/// An agent that accepts proofs, and a caller with a key.
struct World {
    agent: Agent,
    key: Arc<TestKey>,
}

/// A request that is still to be changed: one thing in a valid one.
struct Draft {
    method: Method,
    path: String,
    token: String,
    scheme: &'static str,
    header: Value,
    claims: Value,
    key: Arc<TestKey>,
}

impl World {
    async fn start() -> Self {
        Self::with(|builder| builder).await
    }

    async fn with(change: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Self {
        let agent = Agent::with(|builder, _idp| change(builder.public_url(PUBLIC_URL.parse().unwrap()))).await;
        Self { agent, key: TestKey::new(Algorithm::Es256) }
    }

    /// The public half of a key, and nothing else.
    fn jwk(key: &TestKey) -> Value {
        let mut jwk = key.jwk();
        for name in ["kid", "alg", "use"] {
            jwk.as_object_mut().unwrap().remove(name);
        }
        jwk
    }

    fn token(&self, cnf: &Value) -> String {
        let token = self.agent.idp.sign(&self.agent.claims_with(&json!({ "cnf": cnf })));
        self.agent.seen.remember(&token);
        token
    }

    /// A valid request.
    fn draft(&self) -> Draft {
        let token = self.token(&json!({ "jkt": self.key.kid() }));
        let claims = json!({
            "jti": uuid::Uuid::new_v4().to_string(), "htm": "GET", "htu": PUBLIC_URL, "iat": self.agent.now(),
            "ath": access_token_hash(&token),
        });
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": Self::jwk(&self.key) });
        Draft {
            method: Method::GET,
            path: "/".into(),
            token,
            scheme: "DPoP",
            header,
            claims,
            key: Arc::clone(&self.key),
        }
    }

    fn claiming(&self, changes: &Value) -> Parts {
        let mut draft = self.draft();
        draft.claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        draft.parts()
    }

    fn without(&self, claim: &str) -> Parts {
        let mut draft = self.draft();
        draft.claims.as_object_mut().unwrap().remove(claim);
        draft.parts()
    }

    fn heading(&self, changes: &Value) -> Parts {
        let mut draft = self.draft();
        draft.header.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        draft.parts()
    }

    async fn send(&self, parts: Parts) -> Answer {
        let request = Request::from_parts(parts, Body::empty());
        let (parts, body) = self.agent.app.clone().oneshot(request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec();
        let json = serde_json::from_slice(&body).unwrap_or_default();
        Answer { status: parts.status.as_u16(), headers: parts.headers, body, json }
    }

    async fn served(&self, label: &str, parts: Parts) -> Answer {
        let answer = self.send(parts).await;
        assert_eq!(answer.status, 200, "{label}: {} {:?}", answer.text(), answer.headers);
        answer
    }

    /// Sends a request that is refused, and looks at all of its answer.
    async fn refused(&self, label: &str, parts: Parts, error: &str, reason: &str) -> Answer {
        let refusal = self.agent.verifier.verify_request(&parts).await.expect_err(label);
        assert_eq!(refusal.reason(), reason, "{label}");
        let answer = self.send(parts).await;
        assert_eq!((answer.status, answer.error()), (401, error), "{label}: {}", answer.text());
        assert_eq!(answer.header("dpop-nonce").is_empty(), error != "use_dpop_nonce", "{label}");
        self.agent.seen.assert_not_in(&format!("{:?} {} {refusal:?}", answer.headers, answer.text()), label);
        answer
    }

    /// Checks each of these requests, and that the valid one is served before and after.
    async fn each_refused(&self, cases: impl IntoIterator<Item = (&str, Parts, &str, &str)>) {
        self.served("the valid one", self.draft().parts()).await;
        for (label, parts, error, reason) in cases {
            let answer = self.refused(label, parts, error, reason).await;
            let challenge = answer.header("www-authenticate");
            let expected = format!("algs=\"ES256 EdDSA ES384 PS256\", resource_metadata=\"{METADATA_URL}\"");
            assert!(challenge.contains(&expected), "{label}: {challenge}");
        }
        self.served("the valid one", self.draft().parts()).await;
    }
}

impl Draft {
    fn proof(&self) -> String {
        self.key.sign_with(&self.header, &self.claims)
    }

    fn parts(&self) -> Parts {
        self.with_proofs(&[&self.proof()])
    }

    fn with_proofs(&self, proofs: &[&str]) -> Parts {
        let mut request = Request::builder().method(&self.method).uri(&self.path);
        request = request.header("authorization", format!("{} {}", self.scheme, self.token));
        for proof in proofs {
            request = request.header("dpop", *proof);
        }
        request.body(()).unwrap().into_parts().0
    }
}

const PROOF: &str = "invalid_dpop_proof";
const TOKEN: &str = "invalid_token";

#[tokio::test]
async fn rfc_9449_section_4_3_a_proof_that_fails_one_check_is_refused() {
    let world = World::start().await;
    let (other, now) = (TestKey::new(Algorithm::Es256), world.agent.now());
    let draft = world.draft();
    let (one, two) = (draft.proof(), world.draft().proof());
    let mut private = World::jwk(&world.key);
    private["d"] = json!("AAAA");
    let none = format!("{}.{}.", base64url(json!({ "typ": "dpop+jwt", "alg": "none" }).to_string()), base64url("{}"));
    let mut of_another = world.draft();
    of_another.key = Arc::clone(&other);
    let forged = of_another.parts();
    of_another.header["jwk"] = World::jwk(&other);
    let another = "proof_of_another_request";
    let cases = [
        ("1: no proof", draft.with_proofs(&[]), PROOF, "proof_missing"),
        ("1: an empty one", draft.with_proofs(&[""]), PROOF, "proof_missing"),
        ("1: two headers", draft.with_proofs(&[&one, &two]), PROOF, "proof_repeated"),
        ("1: one header twice", draft.with_proofs(&[&one, &one]), PROOF, "proof_repeated"),
        ("1: two in one header", draft.with_proofs(&[&format!("{one}, {two}")]), PROOF, "proof_malformed"),
        ("2: no jwt", draft.with_proofs(&["proof"]), PROOF, "proof_malformed"),
        ("2: the token", draft.with_proofs(&[&draft.token]), PROOF, "proof_malformed"),
        ("3: no jti", world.without("jti"), PROOF, "proof_malformed"),
        ("3: no htm", world.without("htm"), PROOF, "proof_malformed"),
        ("3: no htu", world.without("htu"), PROOF, "proof_malformed"),
        ("3: no iat", world.without("iat"), PROOF, "proof_malformed"),
        ("3: no ath", world.without("ath"), PROOF, "proof_malformed"),
        ("4: typ JWT", world.heading(&json!({ "typ": "JWT" })), PROOF, "proof_malformed"),
        ("5: alg none", draft.with_proofs(&[&none]), PROOF, "proof_malformed"),
        ("5: a symmetric alg", world.heading(&json!({ "alg": "HS256" })), PROOF, "proof_malformed"),
        ("6: signed by another key", forged, PROOF, "proof_malformed"),
        ("7: a private jwk", world.heading(&json!({ "jwk": private })), PROOF, "proof_malformed"),
        (
            "7: a symmetric jwk",
            world.heading(&json!({ "jwk": { "kty": "oct", "k": "AAAA" } })),
            PROOF,
            "proof_malformed",
        ),
        ("7: no jwk", world.heading(&json!({ "jwk": null })), PROOF, "proof_malformed"),
        ("8: another method", world.claiming(&json!({ "htm": "POST" })), PROOF, another),
        ("8: in lower case", world.claiming(&json!({ "htm": "get" })), PROOF, another),
        ("9: plain http", world.claiming(&json!({ "htu": "http://inventory.shop.example/" })), PROOF, another),
        ("9: another host", world.claiming(&json!({ "htu": "https://inventory.shop.example.evil/" })), PROOF, another),
        ("9: another port", world.claiming(&json!({ "htu": "https://inventory.shop.example:8443/" })), PROOF, another),
        ("9: another path", world.claiming(&json!({ "htu": "https://inventory.shop.example/x" })), PROOF, another),
        ("9: a path alone", world.claiming(&json!({ "htu": "/" })), PROOF, another),
        ("11: too old", world.claiming(&json!({ "iat": now - 121 })), PROOF, "proof_time"),
        ("11: from the future", world.claiming(&json!({ "iat": now + 31 })), PROOF, "proof_time"),
        (
            "12: for another token",
            world.claiming(&json!({ "ath": access_token_hash("x") })),
            PROOF,
            "proof_of_another_key",
        ),
        ("12: of another key", of_another.parts(), PROOF, "proof_of_another_key"),
    ];
    world.each_refused(cases).await;
}

#[tokio::test]
async fn a_proof_is_read_as_its_rfc_says_and_the_handler_learns_its_key() {
    let world = World::start().await;
    let now = world.agent.now();
    for changes in [
        json!({ "htu": "HTTPS://Inventory.Shop.Example:443/?item=7#x" }),
        json!({ "iat": now - 120 }),
        json!({ "iat": now + 30 }),
        json!({ "nonce": "of another server", "more": true }),
    ] {
        world.served(&changes.to_string(), world.claiming(&changes)).await;
    }
    let mut draft = world.draft();
    draft.scheme = "dpop";
    draft.path = "/?item=7".to_owned();
    world.served("any case of the scheme, and a query", draft.parts()).await;
    let caller = world.agent.verifier.verify_request(&world.draft().parts()).await.unwrap();
    assert_eq!(*caller.possession(), Possession::Dpop { jkt: world.key.kid().into() });
    let plain = world.agent.verifier.verify(&world.agent.request(&json!({}))).await.unwrap();
    assert_eq!(*plain.possession(), Possession::Bearer);
    let ed = TestKey::new(Algorithm::EdDsa);
    let mut draft = world.draft();
    draft.token = world.token(&json!({ "jkt": ed.kid() }));
    draft.claims["ath"] = json!(access_token_hash(&draft.token));
    (draft.header["alg"], draft.header["jwk"]) = (json!("EdDSA"), World::jwk(&ed));
    draft.key = ed;
    world.served("EdDSA", draft.parts()).await;
}

#[tokio::test]
async fn the_url_of_a_proof_is_the_public_one_whatever_host_the_request_names() {
    let public = "https://gateway.shop.example/agents/inventory/";
    let world = World::with(|builder| builder.public_url(public.parse().unwrap())).await;
    let with = |htu: &str, path: &str| {
        let mut draft = world.draft();
        (draft.claims["htu"], draft.path) = (json!(htu), path.to_owned());
        let mut parts = draft.parts();
        parts.headers.insert("host", HeaderValue::from_static("inventory.shop.example"));
        parts.headers.insert("x-forwarded-host", HeaderValue::from_static("inventory.shop.example"));
        parts
    };
    world.served("the root", with(public, "/")).await;
    let below = with("https://gateway.shop.example/agents/inventory/write", "/write");
    assert_eq!(world.send(below).await.status, 403, "served, and the handler wants a scope");
    for htu in [
        "https://inventory.shop.example/",
        "https://gateway.shop.example/",
        "https://gateway.shop.example/agents/inventory",
    ] {
        world.refused(htu, with(htu, "/"), PROOF, "proof_of_another_request").await;
    }
}

#[tokio::test]
async fn a_token_is_accepted_only_as_it_is_bound() {
    let world = World::start().await;
    let mut as_bearer = world.draft();
    as_bearer.scheme = "Bearer";
    let mut unbound = world.draft();
    unbound.token = world.agent.idp.sign(&world.agent.claims());
    unbound.claims["ath"] = json!(access_token_hash(&unbound.token));
    let cnf = |cnf: Value| {
        let mut draft = world.draft();
        draft.token = world.token(&cnf);
        draft.claims["ath"] = json!(access_token_hash(&draft.token));
        draft.parts()
    };
    let jkt = world.key.kid();
    world
        .each_refused([
            ("bound, as bearer, with its proof", as_bearer.parts(), TOKEN, "bound"),
            ("bound, as bearer", as_bearer.with_proofs(&[]), TOKEN, "bound"),
            ("not bound, with a proof", unbound.parts(), TOKEN, "not_bound"),
            ("bound by another method too", cnf(json!({ "jkt": jkt, "jwk": {} })), TOKEN, "bound"),
            ("bound to a certificate too", cnf(json!({ "jkt": jkt, "x5t#S256": "x" })), TOKEN, "bound"),
            ("bound to a list", cnf(json!({ "jkt": [jkt] })), TOKEN, "bound"),
            ("bound to nothing", cnf(json!({})), TOKEN, "bound"),
            ("bound to null", cnf(Value::Null), TOKEN, "bound"),
        ])
        .await;
    world
        .served("a bearer token, beside a proof that it needs not", {
            let mut draft = world.draft();
            (draft.scheme, draft.token) = ("Bearer", world.agent.idp.sign(&world.agent.claims()));
            draft.parts()
        })
        .await;
}

#[tokio::test]
async fn a_nonce_is_demanded_of_each_proof_and_is_the_same_at_every_replica() {
    let world = World::with(|builder| builder.dpop_nonce_secret(SECRET.to_vec().into())).await;
    let nonce = async || {
        let answer = world.refused("no nonce", world.draft().parts(), "use_dpop_nonce", "proof_nonce").await;
        assert_eq!(answer.header("cache-control"), "no-store");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("DPoP error=\"use_dpop_nonce\", "), "{challenge}");
        assert!(challenge.contains(", Bearer resource_metadata="), "{challenge}");
        answer.header("dpop-nonce").to_owned()
    };
    let with = |nonce: &str| world.claiming(&json!({ "nonce": nonce }));
    let first = nonce().await;
    let answer = world.served("with it", with(&first)).await;
    assert_eq!((answer.header("dpop-nonce"), answer.header("cache-control")), (first.as_str(), "no-store"));
    world.agent.clock.advance(std::time::Duration::from_secs(60));
    let second = world.served("with the one before", with(&first)).await.header("dpop-nonce").to_owned();
    assert_ne!(first, second);
    world.agent.clock.advance(std::time::Duration::from_secs(60));
    let other = World::with(|builder| builder.dpop_nonce_secret(vec![7; 32].into())).await;
    let foreign = other.refused("no nonce", other.draft().parts(), "use_dpop_nonce", "proof_nonce").await;
    for (label, nonce) in [("an old one", &first), ("of another server", &foreign.header("dpop-nonce").to_owned())] {
        world.refused(label, with(nonce), "use_dpop_nonce", "proof_nonce").await;
    }
    // A proof that is wrong in another way needs another proof, and no nonce.
    world.refused("wrong", world.claiming(&json!({ "iat": 1 })), PROOF, "proof_time").await;
    // A bearer token needs none.
    let parts = Request::get("/")
        .header("authorization", bearer(&world.agent.idp.sign(&world.agent.claims()))["authorization"].clone());
    let answer = world.served("bearer", parts.body(()).unwrap().into_parts().0).await;
    assert_eq!(answer.header("dpop-nonce"), "");
}

#[tokio::test]
async fn an_agent_that_wants_bound_tokens_says_so_and_refuses_others() {
    let world = World::with(VerifierBuilder::require_dpop).await;
    world.served("bound", world.draft().parts()).await;
    let mut unbound = world.draft();
    (unbound.scheme, unbound.token) = ("Bearer", world.agent.idp.sign(&world.agent.claims()));
    let answer = world.refused("not bound", unbound.parts(), TOKEN, "dpop_required").await;
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("DPoP error=\"invalid_token\", ") && !challenge.contains("Bearer"), "{challenge}");
    let absent = world.send(Request::get("/").body(()).unwrap().into_parts().0).await;
    assert!(absent.header("www-authenticate").starts_with("DPoP algs=\"ES256 "), "{:?}", absent.headers);
    let metadata = world.agent.verifier.resource_metadata().unwrap().to_json();
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    assert_eq!(metadata["dpop_signing_alg_values_supported"], json!(["ES256", "EdDSA", "ES384", "PS256"]));
    assert_eq!(metadata["dpop_bound_access_tokens_required"], true);
    let optional = World::start().await.agent.verifier.resource_metadata().unwrap().to_json();
    assert!(optional.contains("\"dpop_signing_alg_values_supported\"") && !optional.contains("required"), "{optional}");
    let none = Agent::start().await.verifier.resource_metadata().unwrap().to_json();
    assert!(!none.contains("dpop"), "{none}");
}

#[tokio::test]
async fn a_request_without_a_token_is_told_both_schemes() {
    let world = World::start().await;
    let answer = world.send(Request::get("/").body(()).unwrap().into_parts().0).await;
    let resource = format!("resource_metadata=\"{METADATA_URL}\"");
    let expected = format!("Bearer {resource}, DPoP algs=\"ES256 EdDSA ES384 PS256\", {resource}");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, expected.as_str()));
    let mut draft = world.draft();
    draft.scheme = "Bearer";
    let bound = world.send(draft.parts()).await;
    let challenge = bound.header("www-authenticate");
    assert!(challenge.starts_with("Bearer error=\"invalid_token\", "), "{challenge}");
    // A refusal by the handler names the scheme of the caller too.
    let mut draft = world.draft();
    (draft.path, draft.claims["htu"]) = ("/write".to_owned(), json!(format!("{PUBLIC_URL}write")));
    let refused = world.send(draft.parts()).await;
    assert_eq!(refused.status, 403);
    assert!(
        refused.header("www-authenticate").starts_with("DPoP error=\"insufficient_scope\", "),
        "{:?}",
        refused.headers
    );
}

#[tokio::test]
async fn a_proof_without_its_request_is_not_accepted_unless_the_layer_has_seen_it() {
    let world = World::start().await;
    let parts = world.draft().parts();
    let refusal = world.agent.verifier.verify(&parts.headers).await.unwrap_err();
    assert_eq!((refusal.error(), refusal.reason()), (Some(PROOF), "proof_without_request"));
    let refusal = world.agent.verifier.verify_token(&world.draft().token, Some(&tenant("acme"))).await.unwrap_err();
    assert_eq!((refusal.error(), refusal.reason()), (Some(TOKEN), "bound"));
    // As an executor of A2A does, behind the layer.
    let verifier = world.agent.verifier.clone();
    let twice = tower::service_fn({
        let verifier = verifier.clone();
        move |request: Request<()>| {
            let verifier = verifier.clone();
            async move {
                let text = |value: &HeaderValue| vec![value.to_str().unwrap().to_owned()];
                let params = request.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
                let params: ServiceParams = params.collect();
                let again = verify(&verifier, &params).await.unwrap();
                assert!(matches!(again.possession(), Possession::Dpop { .. }));
                Ok::<_, std::convert::Infallible>(http::Response::new(String::new()))
            }
        }
    });
    let service = tower::Layer::layer(&verifier.layer(), twice);
    let request = Request::from_parts(world.draft().parts(), ());
    assert_eq!(service.clone().oneshot(request).await.unwrap().status(), 200);
    // A ticket of another's making is none.
    let forged = with_header(world.draft().parts().headers, "x-sts-verified", "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(world.agent.verifier.verify(&forged).await.unwrap_err().reason(), "proof_without_request");
}

#[test]
fn a_setting_of_proofs_without_a_public_url_is_an_error() {
    let builder = || Verifier::builder(["a"]).issuer(Issuer::sts("https://sts.example.com"));
    let url = |text: &str| builder().public_url(text.parse().unwrap());
    let rows: [(&str, VerifierBuilder, &str); 6] = [
        ("required", builder().require_dpop(), "inbound.public_url"),
        ("a secret", builder().dpop_nonce_secret(SECRET.to_vec().into()), "inbound.public_url"),
        ("no http", url("ftp://a.example/"), "public url"),
        ("a query", url("https://a.example/?x"), "public url"),
        ("a short secret", url("https://a.example/").dpop_nonce_secret(vec![1; 31].into()), "32 bytes"),
        ("a proxy", builder().trusted_proxy("10.0.0.0/33"), "inbound.trusted_proxies"),
    ];
    for (label, builder, expected) in rows {
        let Err(BuildError::Contradiction(what)) = builder.build() else { panic!("{label}") };
        assert!(what.contains(expected), "{label}: {what}");
    }
}
