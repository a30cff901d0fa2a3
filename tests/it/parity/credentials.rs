//! The credentials: how each is made, named and presented.

use serde_json::{Value, json};
use sts_protocol::parameter::{GRANT_CLIENT_CREDENTIALS, GRANT_TOKEN_EXCHANGE};
use sts_tests::{ACCESS_TOKEN, AdminRequest, Credentials, FormRequest, Harness, TestIssuer, TestKey};

/// The audience of operators' tokens.
pub(super) const AUDIENCE: &str = "https://sts.example/admin";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
const WORKLOAD: &str = "system:serviceaccount:shop:";

/// A way in which a request carries a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// A user's token, as `subject_token`.
    UserToken,
    /// A token of this service, as `subject_token`.
    OwnToken,
    /// A workload token that is the one credential, as `actor_token`.
    ActorToken,
    /// A workload token beside another authentication, as `actor_token`.
    ActorTokenBeside,
    /// A workload token as `client_assertion`, for tokens.
    WorkloadAssertion,
    /// The same, to ask about tokens and to revoke them.
    AskersAssertion,
    /// An assertion that the agent signed itself.
    ClientAssertion,
    /// A secret, for a token of the agent's own.
    ClientSecret,
    /// A user's token of this service that is asked about.
    Introspected,
    /// A service account's token that is asked about.
    IntrospectedServiceAccount,
    /// An operator's access token, at the admin API.
    OperatorToken,
}

/// The difference of a credential from a good one.
#[derive(Debug, Clone, Default)]
pub(super) struct Forgery {
    /// Claims that it has in place of its own.
    pub(super) claims: Value,
    pub(super) typ: Option<&'static str>,
}

/// A request that carries the credential.
#[derive(Debug, Clone)]
pub(super) enum Carrier {
    /// For a token, or about one: a success says so in its body.
    Form(FormRequest),
    /// Any answer with status 200 is a success.
    Asks(FormRequest),
    Admin(AdminRequest),
}

/// A credential, in the requests that carry it.
#[derive(Debug)]
pub(super) struct Presented {
    pub(super) carriers: Vec<Carrier>,
    pub(super) names: Names,
}

/// The bodies for `POST /revocations` that cover the credential.
#[derive(Debug, Default)]
pub(super) struct Names {
    pub(super) token: Option<Value>,
    pub(super) transaction: Option<Value>,
    pub(super) user: Option<Value>,
    pub(super) agent: Option<Value>,
    pub(super) tenant: Option<Value>,
}

/// The entries that the credential rests on.
#[derive(Debug)]
pub(super) struct Entries {
    pub(super) issuer: Option<String>,
    pub(super) agent: &'static str,
    pub(super) target: &'static str,
}

impl Carried {
    /// The entries that a credential rests on; an operator's rests on none.
    pub(super) fn entries(self, harness: &Harness) -> Option<Entries> {
        let (idp, cluster) = (harness.idp.url().to_owned(), harness.cluster.url().to_owned());
        let (issuer, agent) = match self {
            Self::UserToken | Self::OwnToken | Self::Introspected => (Some(idp), "coordinator"),
            Self::ActorToken | Self::WorkloadAssertion | Self::AskersAssertion => (Some(cluster), "runner"),
            Self::ActorTokenBeside => (Some(cluster), "coordinator"),
            Self::ClientAssertion => (None, "reporter"),
            Self::ClientSecret | Self::IntrospectedServiceAccount => (None, "coordinator"),
            Self::OperatorToken => return None,
        };
        Some(Entries { issuer, agent, target: "inventory" })
    }

    /// A new credential. `operators` is the issuer of operators.
    pub(super) async fn present(self, harness: &Harness, operators: &TestIssuer, forgery: &Forgery) -> Presented {
        match self {
            Self::UserToken => user_token(harness, forgery).await,
            Self::OwnToken => {
                let (token, names) = own(harness, harness.exchange(), forgery).await;
                one(Carrier::Form(harness.exchange_by("inventory", &token, "warehouse")), names)
            }
            Self::ActorToken => {
                let (token, names) = workload(harness, "runner", forgery);
                let request = exchange(harness).set("actor_token", token).set("actor_token_type", JWT);
                one(Carrier::Form(request), names)
            }
            Self::ActorTokenBeside => {
                let (token, names) = workload(harness, "coordinator", forgery);
                let request = exchange(harness).set("actor_token", token).set("actor_token_type", JWT);
                one(Carrier::Form(request.authenticated(harness.credentials("coordinator"))), names)
            }
            Self::WorkloadAssertion => {
                let (token, names) = workload(harness, "runner", forgery);
                let requests = [exchange(harness), client_credentials(harness)];
                let by_token = |request: FormRequest| request.authenticated(Credentials::Assertion(token.clone()));
                Presented { carriers: requests.map(by_token).map(Carrier::Form).into(), names }
            }
            Self::AskersAssertion => {
                let (token, names) = workload(harness, "runner", forgery);
                let requests = [harness.introspect("coordinator", "x"), harness.revoke("coordinator", "x")];
                let by_token = |request: FormRequest| request.authenticated(Credentials::Assertion(token.clone()));
                Presented { carriers: requests.map(by_token).map(Carrier::Asks).into(), names }
            }
            Self::ClientAssertion => client_assertion(harness, forgery),
            Self::ClientSecret => {
                let names = Names {
                    agent: Some(json!({ "agent": "coordinator" })),
                    tenant: Some(json!({ "tenant": "acme" })),
                    ..Names::default()
                };
                one(Carrier::Form(harness.client_credentials()), names)
            }
            Self::Introspected => {
                let (token, names) = own(harness, harness.exchange(), forgery).await;
                one(Carrier::Form(harness.introspect("inventory", &token)), names)
            }
            Self::IntrospectedServiceAccount => {
                let (token, names) = own(harness, harness.client_credentials(), forgery).await;
                one(Carrier::Form(harness.introspect("inventory", &token)), Names { user: None, ..names })
            }
            Self::OperatorToken => operator(harness, operators, forgery),
        }
    }
}

fn one(carrier: Carrier, names: Names) -> Presented {
    Presented { carriers: vec![carrier], names }
}

/// A token that `key` signs, with the claims and the typ of the forgery.
fn sign(key: &TestKey, claims: Value, forgery: &Forgery) -> String {
    let mut header = key.header();
    if let Some(typ) = forgery.typ {
        header["typ"] = json!(typ);
    }
    key.sign_with(&header, &forged(claims, forgery))
}

fn forged(mut claims: Value, forgery: &Forgery) -> Value {
    for (name, value) in forgery.claims.as_object().into_iter().flatten() {
        claims[name] = value.clone();
    }
    claims
}

fn exchange(harness: &Harness) -> FormRequest {
    FormRequest::new(harness.wire(), "/oauth2/token")
        .set("grant_type", GRANT_TOKEN_EXCHANGE)
        .set("subject_token", harness.user_token())
        .set("subject_token_type", ACCESS_TOKEN)
        .set("audience", "inventory")
}

fn client_credentials(harness: &Harness) -> FormRequest {
    FormRequest::new(harness.wire(), "/oauth2/token")
        .set("grant_type", GRANT_CLIENT_CREDENTIALS)
        .set("audience", "inventory")
}

async fn user_token(harness: &Harness, forgery: &Forgery) -> Presented {
    let (idp, claims) = (harness.idp.url(), harness.user_claims());
    let token = sign(harness.idp.key(), claims.clone(), forgery);
    let request = harness.exchange_by("coordinator", &token, "inventory");
    // A token begins a transaction when it is exchanged.
    let begun = request.clone().send().await;
    let transaction = (begun.status == 200).then(|| json!({ "txn": begun.claims()["txn"] }));
    let names = Names {
        token: Some(json!({ "jti": claims["jti"], "issuer": idp })),
        transaction,
        user: Some(json!({ "sub": "alice", "issuer": idp })),
        agent: Some(json!({ "agent": "coordinator" })),
        tenant: Some(json!({ "tenant": "acme" })),
    };
    let again = request.header("x-correlation-id", format!("again-{}", claims["jti"].as_str().expect("a name")));
    one(Carrier::Form(again), names)
}

/// A token of this service that `request` gives, forged with its own key where it is to be.
async fn own(harness: &Harness, request: FormRequest, forgery: &Forgery) -> (String, Names) {
    let answer = request.send().await;
    let (token, claims) = (answer.token().to_owned(), answer.claims());
    let names = Names {
        token: Some(json!({ "jti": claims["jti"] })),
        transaction: Some(json!({ "txn": claims["txn"] })),
        user: Some(json!({ "sub": "alice", "issuer": harness.idp.url() })),
        agent: Some(json!({ "agent": "coordinator" })),
        tenant: Some(json!({ "tenant": "acme" })),
    };
    if forgery.claims.is_null() && forgery.typ.is_none() {
        return (token, names);
    }
    (harness.sign_as_ours(Some(forgery.typ.unwrap_or("at+jwt")), &forged(claims, forgery)), names)
}

fn workload(harness: &Harness, agent: &str, forgery: &Forgery) -> (String, Names) {
    let (cluster, mut claims) = (harness.cluster.url(), harness.workload_claims());
    claims["sub"] = json!(format!("{WORKLOAD}{agent}"));
    let names = Names {
        token: Some(json!({ "jti": claims["jti"], "issuer": cluster })),
        user: Some(json!({ "sub": claims["sub"], "issuer": cluster })),
        agent: Some(json!({ "agent": agent })),
        ..Names::default()
    };
    (sign(harness.cluster.key(), claims, forgery), names)
}

fn client_assertion(harness: &Harness, forgery: &Forgery) -> Presented {
    let claims = harness.assertion_claims();
    let names = Names {
        token: Some(json!({ "jti": claims["jti"], "issuer": "reporter", "unknown": true })),
        agent: Some(json!({ "agent": "reporter" })),
        ..Names::default()
    };
    let assertion = sign(&harness.reporter, claims, forgery);
    one(Carrier::Form(exchange(harness).authenticated(Credentials::Assertion(assertion))), names)
}

fn operator(harness: &Harness, operators: &TestIssuer, forgery: &Forgery) -> Presented {
    let now = harness.now();
    let claims = json!({
        "iss": operators.url(), "sub": "carol", "aud": AUDIENCE, "iat": now, "exp": now + 300, "roles": ["staff"],
        "jti": format!("operator-{}", harness.user_claims()["jti"].as_str().expect("a name")),
    });
    let names = Names {
        token: Some(json!({ "jti": claims["jti"], "issuer": operators.url() })),
        user: Some(json!({ "sub": "carol", "issuer": operators.url() })),
        ..Names::default()
    };
    let forgery = Forgery { typ: Some(forgery.typ.unwrap_or("at+jwt")), ..forgery.clone() };
    let token = sign(operators.key(), claims, &forgery);
    one(Carrier::Admin(harness.admin("GET", "/keys").bearer(&token)), names)
}
