//! A power cut loses no token that a client received: `kill -9` under load, on either database.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use sts_jose::{Algorithm, Clock as _, SystemClock, UnverifiedToken};
use sts_tests::{TestKey, postgres};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::process::Folder;

const CLIENTS: usize = 16;
const ROUNDS: usize = 5;
/// A round ends when between one and this many more tokens have been received.
const MOST_TOKENS_OF_A_ROUND: usize = 300;
/// The longest that a round may take.
const PATIENCE: Duration = Duration::from_secs(60);
const SECRET: &str = "a secret that only this test knows";
const REGISTRY: &str = r#"
[[issuers]]
issuer = "https://login.example.com"
jwks_file = "idp.json"

[[agents]]
id = "coordinator"
accepts = ["web-app"]
[agents.auth]
client_secret_sha256 = "{sha256}"

[[agents]]
id = "inventory"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read"]
"#;

/// The names (`jti`) of all tokens that a client received whole.
#[derive(Debug, Default)]
struct Ledger {
    received: Mutex<HashSet<String>>,
    grown: Notify,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_server_loses_no_received_token_on_sqlite() {
    crash("sqlite://sts.db").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killing_the_server_loses_no_received_token_on_postgres() {
    let database = postgres::database().await;
    crash(database.url()).await;
}

async fn crash(database_url: &str) {
    let idp = TestKey::new(Algorithm::Es256);
    let sha256 = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes());
    let sha256: String = sha256.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let folder = Folder::on_database(database_url, &REGISTRY.replace("{sha256}", &sha256));
    folder.write("idp.json", &json!({ "keys": [idp.jwk()] }).to_string());
    let now = SystemClock.now().as_second();
    let user_token = idp.sign(&json!({
        "iss": "https://login.example.com", "sub": "alice", "aud": "web-app", "iat": now, "exp": now + 3600,
    }));

    let ledger = Arc::new(Ledger::default());
    for _ in 0..ROUNDS {
        let server = folder.serve().await;
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(ask_until_cut_off(folder.issuer().to_owned(), user_token.clone(), Arc::clone(&ledger)));
        }
        let enough = ledger.len() + 1 + random_below(MOST_TOKENS_OF_A_ROUND);
        let grown = tokio::time::timeout(PATIENCE, ledger.grown_to(enough)).await;
        assert!(grown.is_ok(), "{} of {enough} tokens:\n{}", ledger.len(), server.log());
        server.kill().await;
        clients.join_all().await;
    }

    let server = folder.serve().await;
    let token = exchange(&reqwest::Client::new(), folder.issuer(), &user_token).await.expect("an answer");
    ledger.enter(&token);
    assert_eq!(server.end().await, Some(0), "the server ends in order");

    let events = folder.run(&["audit", "list", "--json"]).await;
    events.ended_with(0);
    let issued: HashSet<String> = events.json().into_iter().filter_map(issued).collect();
    let received = ledger.received.lock().expect("no client panics").clone();
    let lost: Vec<&String> = received.difference(&issued).collect();
    assert!(lost.is_empty(), "received and not in the audit log: {} of {}: {lost:?}", lost.len(), received.len());
    assert!(received.len() > ROUNDS, "{} tokens are no load", received.len());

    let report = folder.run(&["audit", "verify", "--json"]).await;
    report.ended_with(0);
    assert_eq!(report.json()[0]["faults"], json!([]));
}

/// A client that asks for one token after the other, until the server is gone.
async fn ask_until_cut_off(issuer: String, user_token: String, ledger: Arc<Ledger>) {
    let http = reqwest::Client::new();
    while let Ok(token) = exchange(&http, &issuer, &user_token).await {
        ledger.enter(&token);
    }
}

/// One exchange. A token is there only when the whole answer was received.
async fn exchange(http: &reqwest::Client, issuer: &str, user_token: &str) -> reqwest::Result<String> {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", user_token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "inventory"),
    ];
    let credentials = SECRET.replace(' ', "+");
    let request = http.post(format!("{issuer}/oauth2/token")).basic_auth("coordinator", Some(credentials)).form(&form);
    let answer: Value = request.send().await?.json().await?;
    Ok(answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned())
}

/// The token of an event that says that one was issued.
fn issued(event: Value) -> Option<String> {
    (event["event"] == "token.issued").then(|| event["jti"].as_str().expect("an issued token has a name").to_owned())
}

impl Ledger {
    fn enter(&self, token: &str) {
        let token = UnverifiedToken::parse(token).expect("a JWT");
        let jti = token.claims().as_map()["jti"].as_str().expect("a name").to_owned();
        assert!(self.received.lock().expect("no client panics").insert(jti), "a name was given twice");
        self.grown.notify_one();
    }

    fn len(&self) -> usize {
        self.received.lock().expect("no client panics").len()
    }

    async fn grown_to(&self, enough: usize) {
        while self.len() < enough {
            self.grown.notified().await;
        }
    }
}

fn random_below(bound: usize) -> usize {
    let random = RandomState::new().build_hasher().finish();
    usize::try_from(random % u64::try_from(bound).expect("a small number")).expect("less than the bound")
}
