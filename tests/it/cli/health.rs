//! `health`.

use serde_json::json;

use super::Shop;

#[tokio::test]
async fn a_server_is_ready_until_it_is_gone() {
    let (shop, server) = Shop::serving().await;
    let address = server.admin().strip_prefix("http://").expect("plain").to_owned();
    let outcome = shop.folder.run(&["health"]).await;
    assert_eq!(outcome.ended_with(0), format!("{address} is ready\n"));
    let outcome = shop.folder.run(&["health", "--json"]).await;
    outcome.ended_with(0);
    assert_eq!(outcome.json(), [json!({ "ready": true, "server": address })]);
    server.kill().await;
    let outcome = shop.folder.run(&["health"]).await;
    let told = outcome.ended_with(1);
    assert!(told.starts_with(&format!("{address} is not ready: no answer: ")), "{told}");
}

#[tokio::test]
async fn what_listens_in_place_of_the_server_is_not_ready() {
    let shop = Shop::open();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let elsewhere = axum::Router::new().fallback(|| async { (http::StatusCode::SERVICE_UNAVAILABLE, "no\n") });
    let server = tokio::spawn(async { axum::serve(listener, elsewhere).await });
    let outcome = shop.folder.run(&["health", "--admin", &address]).await;
    assert_eq!(outcome.ended_with(1), format!("{address} is not ready: 503 Service Unavailable: no\n"));
    server.abort();
}

#[tokio::test]
async fn where_every_listener_speaks_tls_it_says_what_to_do_instead() {
    let shop = Shop::open();
    let text = std::fs::read_to_string(shop.folder.path("sts.toml")).expect("it is there");
    let tls = "[tls]\ncertificate_file = \"a\"\nprivate_key_file = \"b\"\nadmin = true\n";
    shop.folder.write("sts.toml", &format!("{text}{tls}"));
    let outcome = shop.folder.run(&["health"]).await;
    outcome.ended_with(2);
    assert!(outcome.stderr.contains("ask /readyz over TLS"), "{}", outcome.stderr);
}
