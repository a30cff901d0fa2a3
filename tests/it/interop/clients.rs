//! Clients and verifiers that others wrote, each as it comes: how it finds the service, authenticates and reads the answer.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use serde_json::{Value, json};
use sts_jose::{Clock as _, SystemClock, UnverifiedToken};
use sts_tests::{TestIssuer, base64url};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::python;
use crate::process::{Folder, Serving};

/// A secret with every character that form-encoding changes.
const SECRET: &str = "q+7/Zk3b %26+cD&=100%==";

/// A server, with an agent `plus` of this secret, an agent `signer` as Authlib's `PrivateKeyJWT` needs it, and an MCP server.
struct Clients {
    folder: Folder,
    server: Serving,
    idp: TestIssuer,
    mcp: String,
    private_key: PathBuf,
}

impl Clients {
    async fn open() -> Self {
        Self::open_with(&[]).await
    }

    async fn open_with(options: &[(&str, &str)]) -> Self {
        let idp = TestIssuer::start().await;
        // The registry must know the address before the MCP server can know our issuer.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mcp = format!("http://{}", listener.local_addr().expect("an address"));
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).expect("a key");
        let (x, y) = key.public_key_raw()[1..].split_at(32);
        let jwk =
            json!({ "kty": "EC", "crv": "P-256", "x": base64url(x), "y": base64url(y), "use": "sig", "alg": "ES256" });
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, SECRET.as_bytes());
        let sha256 = sts_jose::hex(digest.as_ref());
        let folder = Folder::on_sqlite(&format!(
            r#"
            [[issuers]]
            issuer = "{idp}"
            jwks_uri = "{jwks_uri}"

            [[agents]]
            id = "plus"
            accepts = ["web-app"]
            auth = {{ client_secret_sha256 = "{sha256}" }}

            [[agents]]
            id = "asker"
            accepts = ["web-app"]
            auth = {{ client_secret_sha256 = "{sha256}" }}

            [[agents]]
            id = "signer"
            auth = {{ jwks = {jwks}, assertion_audience = "issuer_or_token_endpoint", max_assertion_lifetime = "1h" }}

            [[agents]]
            id = "inventory"
            audience = ["inventory-agent", "{mcp}/mcp"]

            [[delegations]]
            actor = "plus"
            target = "inventory"
            scopes = ["stock:read"]
            service_account = true

            [[delegations]]
            actor = "asker"
            target = "inventory"
            scopes = ["refund:pay"]
            approval = {{ scopes = ["refund:pay"], by = "user" }}

            [[delegations]]
            actor = "signer"
            target = "inventory"
            scopes = ["stock:read"]
            service_account = true
            "#,
            idp = idp.url(),
            jwks_uri = idp.jwks_uri(),
            jwks = toml::Value::try_from(json!({ "keys": [jwk] })).expect("TOML"),
        ));
        let private_key = folder.write("signer.pem", &key.serialize_pem());
        let server = folder.serve_with(options).await;
        serve_mcp(listener, &mcp, folder.issuer());
        Self { folder, server, idp, mcp: format!("{mcp}/mcp"), private_key }
    }

    fn user_token(&self) -> String {
        self.token_for("web-app")
    }

    /// A token of alice, who has just signed in, for this audience.
    fn token_for(&self, audience: &str) -> String {
        let (iss, now) = (self.idp.url(), SystemClock.now().as_second());
        let claims = json!({
            "iss": iss, "sub": "alice", "aud": audience, "iat": now, "exp": now + 3600, "auth_time": now,
        });
        self.idp.sign(&claims)
    }

    /// Each of these clients got a token for the inventory.
    fn assert_each_got_a_token(&self, printed: &Value, clients: &[(&str, &str)]) {
        for (client, acting) in clients {
            let token = printed[client]["access_token"].as_str();
            let token =
                token.unwrap_or_else(|| panic!("{client}: {printed}\nthe server's log:\n{}", self.server.log()));
            let token = UnverifiedToken::parse(token).expect("a JWT");
            let claims = token.claims().as_map();
            assert_eq!((&claims["aud"], &claims["client_id"]), (&json!("inventory-agent"), &json!(acting)), "{client}");
        }
    }
}

/// An MCP server that asks for a token and says where one is to be had (RFC 9728).
fn serve_mcp(listener: TcpListener, address: &str, issuer: &str) {
    let router = Router::new().fallback(mcp).with_state((address.to_owned(), issuer.to_owned()));
    tokio::spawn(async move { axum::serve(listener, router).await });
}

async fn mcp(State((address, issuer)): State<(String, String)>, request: Request) -> Response {
    let metadata = format!("{address}/.well-known/oauth-protected-resource/mcp");
    if request.uri().path().starts_with("/.well-known/oauth-protected-resource") {
        let document = json!({ "resource": format!("{address}/mcp"), "authorization_servers": [issuer] });
        return ([("content-type", "application/json")], document.to_string()).into_response();
    }
    if !request.headers().contains_key(AUTHORIZATION) {
        let challenge = format!("Bearer resource_metadata=\"{metadata}\"");
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, challenge)]).into_response();
    }
    "served".into_response()
}

#[tokio::test]
async fn clients_in_python_get_a_token_with_a_secret_of_reserved_characters_and_by_assertion() {
    let clients = Clients::open().await;
    let (key, user) = (clients.private_key.to_str().expect("UTF-8"), clients.user_token());
    let printed = python::run("clients.py", &[clients.folder.issuer(), SECRET, &user, key, &clients.mcp]).await;
    let printed = printed.unwrap_or_else(|reason| panic!("{reason}\nthe server's log:\n{}", clients.server.log()));
    let expected =
        [("requests", "plus"), ("httpx", "plus"), ("google-auth", "plus"), ("Authlib", "signer"), ("MCP SDK", "plus")];
    clients.assert_each_got_a_token(&printed, &expected);
    assert_eq!(printed["MCP SDK"]["status"], 200, "{printed}");
}

#[tokio::test]
async fn clients_in_typescript_get_a_token_by_discovery() {
    let Some(directory) = node_programs().await else { return };
    let clients = Clients::open().await;
    let mut node = Command::new("node");
    node.arg("clients.mjs").args([clients.folder.issuer(), SECRET, &clients.user_token(), &clients.mcp]);
    let printed = printed(node.current_dir(&directory)).await;
    clients.assert_each_got_a_token(&printed, &[("MCP SDK", "plus"), ("oauth4webapi", "plus")]);
}

#[tokio::test]
async fn a_client_in_typescript_polls_a_deferred_exchange_to_its_end() {
    let Some(directory) = node_programs().await else { return };
    let clients = Clients::open().await;
    let mut node = Command::new("node");
    let approver = clients.token_for(clients.folder.issuer());
    node.arg("deferred.mjs").args([clients.folder.issuer(), SECRET, &clients.user_token(), &approver]);
    let printed = printed(node.current_dir(&directory)).await;
    assert_eq!(printed["supported"], true, "{printed}");
    assert_eq!(printed["deferred"]["error"], "authorization_pending", "{printed}");
    assert!(printed["deferred"]["interval"].is_number() && printed["deferred"]["expires_in"].is_number(), "{printed}");
    assert_eq!(printed["pending"]["error"], "authorization_pending", "{printed}");
    assert_eq!(printed["pending"].get("deferral_code"), None, "{printed}");
    assert_eq!(printed["granted"]["state"], "granted", "{printed}");
    assert_eq!(printed["redeemed"]["scope"], "refund:pay", "{printed}");
    clients.assert_each_got_a_token(&printed, &[("redeemed", "asker")]);
    assert_eq!(printed["again"]["error"], "invalid_grant", "{printed}");
}

/// The same library is the resource server: it verifies our tokens, and refuses them from a thief.
#[tokio::test]
async fn clients_in_typescript_get_bound_tokens_and_use_them() {
    let Some(directory) = node_programs().await else { return };
    for (nonce, asked_again) in [("off", 0), ("required", 1)] {
        let clients = Clients::open_with(&[("DPOP__NONCE", nonce)]).await;
        let mut node = Command::new("node");
        node.arg("dpop.mjs").args([clients.folder.issuer(), SECRET, &clients.user_token()]);
        let printed = printed(node.current_dir(&directory)).await;
        clients.assert_each_got_a_token(&printed, &[("oauth4webapi", "plus"), ("openid-client", "plus")]);
        for client in ["oauth4webapi", "openid-client"] {
            let (token, verified) = (&printed[client], &printed[client]["verified"]);
            assert_eq!(token["token_type"], "dpop", "{client}, nonce {nonce}: {printed}");
            assert!(token["cnf"]["jkt"].is_string(), "{client}: {printed}");
            assert_eq!((&verified["cnf"], &verified["sub"]), (&token["cnf"], &json!("alice")), "{client}: {printed}");
        }
        let by = &printed["oauth4webapi"];
        assert_eq!(by["nonces"], asked_again, "{printed}");
        for misuse in ["stolen", "bearer"] {
            assert!(by[misuse]["refused"].is_string(), "{misuse}: {printed}");
        }
    }
}

#[tokio::test]
async fn go_oidc_verifies_our_token_by_discovery_and_refuses_it_for_another_audience() {
    let Some(go) = tool("go", "version").await else { return };
    let clients = Clients::open().await;
    let endpoint = format!("{}/oauth2/token", clients.folder.issuer());
    let form = [("grant_type", "client_credentials"), ("audience", "inventory-agent")];
    let request = reqwest::Client::new().post(endpoint).basic_auth("plus", Some(SECRET)).form(&form);
    let answer: Value = request.send().await.expect("an answer").json().await.expect("JSON");
    let token = answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}"));
    for (audience, believed) in [("inventory-agent", true), ("coordinator", false)] {
        let mut verifier = Command::new(&go);
        verifier.args(["run", ".", clients.folder.issuer(), audience, token]);
        let printed = printed(verifier.current_dir(sources("clients/go"))).await;
        assert_eq!(printed["sub"] == "plus", believed, "{audience}: {printed}");
        assert_eq!(printed["refused"] == Value::Null, believed, "{audience}: {printed}");
    }
}

/// The tool, if the machine has it. It is not installed for a test: the tests say what they cannot do without.
async fn tool(name: &str, question: &str) -> Option<String> {
    let output = Command::new(name).arg(question).stdin(Stdio::null()).output().await;
    if output.is_ok_and(|output| output.status.success()) {
        return Some(name.to_owned());
    }
    sts_tests::not_checked(&format!("clients of others ({name} is not installed)"));
    None
}

fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("it/interop").join(name)
}

/// The folder with the programs for Node and their packages; `None` where the machine has no npm.
async fn node_programs() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("interop-node");
    let files = ["package.json", "package-lock.json", "clients.mjs", "deferred.mjs", "dpop.mjs"];
    let made = sts_tests::node_packages(&directory, &sources("clients/node"), &files, "clients in TypeScript").await;
    made.then_some(directory)
}

/// What a program prints, as JSON.
async fn printed(command: &mut Command) -> Value {
    let command = command.env("NO_PROXY", "*").env("no_proxy", "*").stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}{}", text(&output.stdout), text(&output.stderr)))
}
