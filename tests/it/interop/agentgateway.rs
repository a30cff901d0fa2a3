//! agentgateway as a client: its `oauthTokenExchange`, whose request is built here as it builds it, and whose checks of the answer are made
//! as it makes them (`crates/agentgateway/src/http/auth/oauth/transport.rs`, 1.4). It cannot be built from the crates registry, so it is
//! not run.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sts_tests::{ACCESS_TOKEN, Answer, Credentials, FormRequest, Harness};
use url::form_urlencoded::{Serializer, byte_serialize};

const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The keys of a route's `backendAuth.oauthTokenExchange` that reach the request.
struct Route<'r> {
    client: Option<(&'r str, &'r str, Method)>,
    subject_token: (&'r str, &'r str),
    actor_token: Option<(&'r str, &'r str)>,
    requested_token_type: Option<&'r str>,
    audiences: &'r [&'r str],
    scopes: &'r [&'r str],
}

/// `clientAuth.method`.
#[derive(Clone, Copy)]
enum Method {
    ClientSecretBasic,
    ClientSecretPost,
}

impl Route<'_> {
    /// `build_token_request_form` and `build_token_request`.
    fn request(&self, harness: &Harness) -> FormRequest {
        let mut form = Serializer::new(String::new());
        form.append_pair("grant_type", TOKEN_EXCHANGE)
            .append_pair("subject_token", self.subject_token.0)
            .append_pair("subject_token_type", self.subject_token.1);
        if let Some((token, kind)) = self.actor_token {
            form.append_pair("actor_token", token).append_pair("actor_token_type", kind);
        }
        if let Some(kind) = self.requested_token_type {
            form.append_pair("requested_token_type", kind);
        }
        for audience in self.audiences {
            form.append_pair("audience", audience);
        }
        if !self.scopes.is_empty() {
            form.append_pair("scope", &self.scopes.join(" "));
        }
        let mut request = FormRequest::new(harness.wire(), "/oauth2/token").header("accept", "application/json");
        match self.client {
            None => {}
            Some((id, secret, Method::ClientSecretBasic)) => {
                let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
                let credentials = STANDARD.encode(format!("{}:{}", encode(id), encode(secret)));
                request = request.header("authorization", format!("Basic {credentials}"));
            }
            Some((id, secret, Method::ClientSecretPost)) => {
                form.append_pair("client_id", id).append_pair("client_secret", secret);
            }
        }
        request.body(form.finish())
    }

    /// `TokenResponse::into_token`.
    fn token(&self, answer: &Answer) -> String {
        assert!((200..300).contains(&answer.status), "{}", answer.text());
        let token_type = answer.json["token_type"].as_str().expect("token_type");
        assert!(token_type.eq_ignore_ascii_case("Bearer"), "{token_type}");
        if let (Some(requested), Some(issued)) = (self.requested_token_type, answer.json["issued_token_type"].as_str())
        {
            assert_eq!(issued, requested);
        }
        assert!(answer.json["expires_in"].as_u64().is_some(), "else it keeps a token for 300 seconds");
        let token = answer.json["access_token"].as_str().expect("access_token");
        assert!(!token.is_empty());
        token.to_owned()
    }
}

#[tokio::test]
async fn the_gateway_exchanges_with_each_of_its_client_authentications() {
    let harness = Harness::start().await;
    let (user, workload) = (harness.user_token(), harness.workload_token_with(&json!({})));
    let secret = secret(&harness);
    let rows = [
        (Some(("coordinator", secret.as_str(), Method::ClientSecretBasic)), None, "coordinator"),
        (Some(("coordinator", secret.as_str(), Method::ClientSecretPost)), None, "coordinator"),
        // Without clientAuth, the workload token of the gateway names it: actorToken.
        (None, Some((workload.as_str(), JWT)), "runner"),
    ];
    for (client, actor_token, agent) in rows {
        for requested_token_type in [None, Some(ACCESS_TOKEN)] {
            let route = Route {
                client,
                subject_token: (&user, ACCESS_TOKEN),
                actor_token,
                requested_token_type,
                audiences: &["inventory"],
                scopes: &["stock:read"],
            };
            let token = route.token(&route.request(&harness).send().await);
            let claims = harness.verify(&token).await;
            assert_eq!((&claims["sub"], &claims["act"]["sub"]), (&json!("alice"), &json!(agent)), "{claims}");
            assert_eq!(
                (&claims["aud"], &claims["scope"]),
                (&json!("inventory-agent"), &json!("stock:read")),
                "{claims}"
            );
        }
    }
}

/// It answers 400 to its caller for a 4xx, and 500 for a 401, which it takes for a fault of its own credential.
#[tokio::test]
async fn a_refusal_is_the_callers_fault_and_a_wrong_secret_is_the_gateways() {
    let harness = Harness::start().await;
    let (user, secret) = (harness.user_token(), secret(&harness));
    let expired = harness.user_token_with(&json!({ "exp": harness.now() - 60 }));
    let valid = Route {
        client: Some(("coordinator", &secret, Method::ClientSecretBasic)),
        subject_token: (&user, ACCESS_TOKEN),
        actor_token: None,
        requested_token_type: None,
        audiences: &["inventory"],
        scopes: &[],
    };
    let rows = [
        (Route { subject_token: (&expired, ACCESS_TOKEN), ..valid }, 400, "invalid_request"),
        (Route { audiences: &["payroll"], ..valid }, 400, "invalid_target"),
        (Route { scopes: &["payroll:read"], ..valid }, 400, "invalid_scope"),
        (Route { client: Some(("coordinator", "wrong", Method::ClientSecretBasic)), ..valid }, 401, "invalid_client"),
    ];
    for (route, status, error) in rows {
        let answer = route.request(&harness).send().await;
        assert_eq!((answer.status, &answer.json["error"]), (status, &json!(error)), "{}", answer.text());
    }
}

/// Its `jwtAuth` loads no key set that has a key without `kid`, and knows no symmetric key.
#[tokio::test]
async fn its_verifier_can_load_the_key_set() {
    let harness = Harness::start().await;
    let keys = harness.get("/oauth2/jwks").await.json["keys"].as_array().expect("keys").clone();
    let is_loadable = |key: &Value| key["kid"].is_string() && matches!(key["kty"].as_str(), Some("RSA" | "EC" | "OKP"));
    assert!(!keys.is_empty() && keys.iter().all(is_loadable), "{keys:?}");
}

fn secret(harness: &Harness) -> String {
    match harness.credentials("coordinator") {
        Credentials::Basic(_, secret) | Credentials::Post(_, secret) => secret,
        other => panic!("the coordinator has no secret: {other:?}"),
    }
}
