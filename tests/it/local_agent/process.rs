//! The process: its place, its file, its end.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sts_jose::dpop::access_token_hash;
use sts_tests::ProofKey;
use sts_tests::local_agent::{LocalFolder, answer};
use sts_tests::process::{free_address, outcome};

use super::{Desk, agent_toml};

const STOCK: &str = "https://inventory.shop.example/stock";

fn mode(path: &std::path::Path) -> u32 {
    std::fs::metadata(path).expect("it is there").permissions().mode() & 0o777
}

#[tokio::test]
async fn only_the_user_of_the_process_may_use_the_socket() {
    let desk = Desk::open().await;
    assert_eq!(mode(desk.agent.socket()), 0o600);
}

#[tokio::test]
async fn a_second_process_takes_no_live_socket_and_replaces_a_dead_one() {
    let desk = Desk::open().await;
    let second = || desk.folder.command(&["serve", "--listen", "./agent.sock"]);
    let refused = outcome(second().await).await;
    assert_eq!(refused.code, 1, "{}", refused.stderr);
    assert!(refused.stderr.contains("error: another process serves at ./agent.sock"), "{}", refused.stderr);
    assert_eq!(desk.agent.get("/healthz").await.status, 200);
    desk.agent.kill().await;
    assert!(desk.folder.path("agent.sock").exists(), "a killed process leaves its socket");
    let next = desk.folder.serve().await;
    assert_eq!(next.get("/healthz").await.status, 200);
    assert_eq!(mode(next.socket()), 0o600);
}

#[tokio::test]
async fn the_socket_of_another_program_and_a_file_of_the_name_are_left_alone() {
    let folder = LocalFolder::new("", &[("file.sock", "precious")]);
    let _other = std::os::unix::net::UnixListener::bind(folder.path("other.sock")).expect("a socket");
    for (name, message) in [("./other.sock", "another process serves at"), ("./file.sock", "exists and is no socket")] {
        let refused = outcome(folder.command(&["serve", "--listen", name]).await).await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    }
    assert_eq!(std::fs::read_to_string(folder.path("file.sock")).expect("it is there"), "precious");
}

#[tokio::test]
async fn a_loopback_address_needs_the_bearer() {
    let harness = sts_tests::Harness::start().await;
    let folder = LocalFolder::new(&agent_toml(&harness, ""), &[("secret", &harness.secret("coordinator"))]);
    let address = free_address();
    let agent = folder.serve_at(&["--listen", &address, "--bearer-file", "bearer"]).await;
    let bearer = std::fs::read_to_string(folder.path("bearer")).expect("it was made");
    assert_eq!((mode(&folder.path("bearer")), bearer.len()), (0o600, 64));
    let client = reqwest::Client::builder().no_proxy().build().expect("a client");
    let question = json!({ "headers": [["authorization", format!("Bearer {}", harness.user_token())]] }).to_string();
    let ask = || client.post(format!("http://{address}/v1/verify")).body(question.clone());
    for (request, status) in [
        (ask(), 401),
        (ask().bearer_auth(&bearer[1..]), 401),
        (ask().bearer_auth(format!("{bearer}0")), 401),
        (ask().header("authorization", format!("bearer {bearer}")), 401),
        (ask().bearer_auth(&bearer).bearer_auth(&bearer), 401),
        (client.get(format!("http://{address}/v1/openapi.json")), 401),
        (client.get(format!("http://{address}/metrics")), 401),
        (client.get(format!("http://{address}/metrics")).bearer_auth(&bearer), 200),
        (client.get(format!("http://{address}/healthz")), 200),
        (ask().bearer_auth(&bearer), 200),
    ] {
        let answer = answer(request).await;
        assert_eq!(answer.status, status, "{}", answer.text);
    }
    assert_eq!(agent.end().await, Some(0));
    let again = folder.serve_at(&["--listen", &address, "--bearer-file", "bearer"]).await;
    assert_eq!(answer(ask().bearer_auth(&bearer)).await.status, 200, "the bearer stays the same");
    drop(again);
}

#[tokio::test]
async fn what_others_could_read_or_reach_is_no_place_to_serve_at() {
    let harness = sts_tests::Harness::start().await;
    let folder =
        LocalFolder::new(&agent_toml(&harness, ""), &[("secret", "s"), ("open", &"0".repeat(64)), ("short", "0")]);
    std::fs::set_permissions(folder.path("short"), std::fs::Permissions::from_mode(0o600)).expect("ours");
    let address = free_address();
    for (arguments, message) in [
        (vec!["--listen", "0.0.0.0:9009", "--bearer-file", "b"], "not an address of this machine alone"),
        (vec!["--listen", &address], "a loopback address needs a file for its bearer"),
        (vec!["--listen", &address, "--bearer-file", "open"], "other users may read the bearer file"),
        (vec!["--listen", &address, "--bearer-file", "short"], "needs at least 32 characters"),
        (vec!["--listen", "./no/such/folder/agent.sock"], "cannot make the socket"),
    ] {
        let refused = outcome(folder.command(&[&["serve"], arguments.as_slice()].concat()).await).await;
        assert_ne!(refused.code, 0, "{arguments:?}");
        assert!(refused.stderr.contains(message), "{}", refused.stderr);
    }
}

#[tokio::test]
async fn a_changed_file_is_loaded_and_a_faulty_one_is_not() {
    let desk = Desk::open().await;
    let inbound = desk.inbound().await;
    let payments = json!({ "method": "GET", "url": "https://payments.shop.example/", "inbound": inbound });
    assert_eq!(desk.agent.ask("/v1/headers", &payments).await.json["error"], "no_route");
    desk.folder.write("agent.toml", "[inbound]\naudiance = [\"web-app\"]\n");
    desk.agent.signal("HUP").await;
    let log = desk.agent.logged("the version that was loaded stays in use").await;
    assert!(log.contains("line 2"), "{log}");
    let stock = json!({ "method": "GET", "url": STOCK, "inbound": inbound });
    assert_eq!(desk.agent.ask("/v1/headers", &stock).await.status, 200);
    let route = "[[routes]]\nurl = \"https://payments.shop.example/\"\naudience = \"inventory-agent\"\n";
    desk.folder.write("agent.toml", &agent_toml(&desk.harness, route));
    desk.agent.signal("HUP").await;
    desk.agent.logged("loaded agent.toml").await;
    assert_eq!(desk.agent.ask("/v1/headers", &payments).await.status, 200);
}

#[tokio::test]
async fn after_a_reload_a_used_proof_stays_used_and_a_lost_context_is_an_outage() {
    let harness = sts_tests::Harness::start().await;
    let file = agent_toml(&harness, "").replace("[inbound]", "[inbound]\npublic_url = \"https://agent.shop.example/\"");
    let file = file.replace("[sts]", "[sts]\ndpop = true");
    let folder = LocalFolder::new(&file, &[("secret", &harness.secret("coordinator"))]);
    let desk = Desk { agent: folder.serve().await, harness, folder };
    let key = ProofKey::new();
    let token = desk.harness.user_token_with(&json!({ "cnf": { "jkt": key.jkt() } }));
    let claims = json!({ "htm": "GET", "htu": "https://agent.shop.example/", "ath": access_token_hash(&token) });
    let proof = desk.harness.proof_with(&key, &claims);
    let headers = json!([["authorization", format!("DPoP {token}")], ["dpop", proof]]);
    let request = json!({ "headers": headers, "method": "GET", "path": "/" });
    let verified = desk.agent.ask("/v1/verify", &request).await;
    assert_eq!((verified.status, &verified.json["caller"]["possession"]), (200, &json!("dpop")), "{}", verified.text);
    let call = |inbound: &Value| json!({ "method": "GET", "url": STOCK, "inbound": inbound });
    let bound = call(&verified.json["inbound"]);
    assert_eq!(desk.agent.ask("/v1/headers", &bound).await.status, 200);
    let bearer = call(&desk.inbound().await);

    desk.agent.signal("HUP").await;
    desk.agent.logged("loaded agent.toml").await;
    let replayed = desk.agent.ask("/v1/verify", &request).await;
    assert_eq!((replayed.status, &replayed.json["code"]), (403, &json!("invalid_dpop_proof")), "{}", replayed.text);
    assert_eq!(desk.agent.ask("/v1/headers", &bearer).await.status, 200);
    let lost = desk.agent.ask("/v1/headers", &bound).await;
    assert_eq!((lost.status, &lost.json["error"]), (503, &json!("unavailable")), "{}", lost.text);
    assert_eq!(lost.json["response"]["status"], 503);
    // Headers that no verification gave are those of a caller without a proof.
    let unverified = desk.agent.ask("/v1/headers", &call(&headers)).await;
    assert_eq!((unverified.status, &unverified.json["response"]["status"]), (403, &json!(401)), "{}", unverified.text);
}

#[tokio::test]
async fn the_end_is_graceful_and_removes_the_socket() {
    let desk = Desk::open().await;
    let socket = desk.agent.socket().to_owned();
    assert_eq!(desk.agent.end().await, Some(0));
    assert!(!socket.exists());
}

#[tokio::test]
async fn check_and_health_tell_by_their_exit_code() {
    let desk = Desk::open().await;
    let health = || desk.folder.command(&["health", "--listen", "./agent.sock"]);
    assert_eq!(outcome(health().await).await.code, 0);
    assert_eq!(outcome(desk.folder.command(&["check"]).await).await.code, 0);
    desk.folder.write("agent.toml", "[routes]\n");
    let refused = outcome(desk.folder.command(&["check"]).await).await;
    assert!(refused.code == 1 && refused.stderr.contains("agent.toml cannot be used"), "{}", refused.stderr);
    assert_eq!(desk.agent.end().await, Some(0));
    let refused = outcome(desk.folder.command(&["health", "--listen", "./agent.sock"]).await).await;
    assert!(refused.code == 1 && refused.stderr.contains("no answer at unix:./agent.sock"), "{}", refused.stderr);
}

#[tokio::test]
async fn metrics_count_and_the_document_has_every_endpoint() {
    let desk = Desk::open().await;
    desk.inbound().await;
    let metrics = desk.agent.get("/metrics").await;
    for line in [
        "sts_agent_requests_total{endpoint=\"verify\",outcome=\"answered\"} 1",
        "sts_client_inbound_total{outcome=\"verified\"} 1",
        "sts_agent_request_seconds_count{endpoint=\"verify\"} 1",
    ] {
        assert!(metrics.text.contains(line), "{line}:\n{}", metrics.text);
    }
    assert!(!metrics.text.contains("alice") && !metrics.text.contains("acme"), "{}", metrics.text);
    let document = desk.agent.get("/v1/openapi.json").await.json;
    let paths: Vec<&String> = document["paths"].as_object().expect("paths").keys().collect();
    assert_eq!(paths, ["/v1/forget", "/v1/headers", "/v1/openapi.json", "/v1/verify"]);
    for (path, status) in [("/", 404), ("/v1/verify", 405), ("/v1/other", 404)] {
        assert_eq!(desk.agent.get(path).await.status, status, "{path}");
    }
}
