//! sts-agent as the external authorization of a real Envoy.

mod proxy;

use futures_util::future::join_all;
use reqwest::header::HOST;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{Desk, claims};
use proxy::{Echo, Envoy};

const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// A later span of the same trace.
const CHILD: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
const OTHER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The names and values of headers.
type Headers<'h> = &'h [(&'h str, &'h str)];

/// An agent between two listeners of one Envoy.
struct Mesh {
    desk: Desk,
    envoy: Envoy,
    agent: Echo,
    target: Echo,
    client: Client,
}

impl Mesh {
    /// `None` if there is no Envoy for this machine.
    async fn open() -> Option<Self> {
        Self::open_with(|_configuration| {}).await
    }

    async fn open_with(change: impl Fn(&mut Value)) -> Option<Self> {
        let desk = Desk::open().await;
        let [agent, target] = [Echo::default(), Echo::default()];
        let envoy = Envoy::start(desk.agent.socket(), &agent.serve().await, &target.serve().await, change).await?;
        let client = Client::builder().no_proxy().build().expect("a client");
        Some(Self { desk, envoy, agent, target, client })
    }

    fn token(&self, user: &str) -> String {
        self.desk.harness.user_token_with(&json!({ "sub": user }))
    }

    /// A request to the agent.
    fn request(&self, headers: &[(&str, &str)]) -> RequestBuilder {
        with(self.client.get(format!("http://{}/ask?q=1", self.envoy.inbound)), headers)
    }

    /// A request of that user, which reaches the agent. Its headers there.
    async fn asked(&self, user: &str, headers: &[(&str, &str)]) -> Value {
        let response = self.request(headers).bearer_auth(self.token(user)).send().await.expect("an answer");
        let (status, text) = (response.status(), response.text().await.expect("a text"));
        assert_eq!(status, 200, "{text}");
        serde_json::from_str(&text).expect("JSON")
    }

    /// A call of the agent.
    async fn call(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let call = self.client.post(format!("http://{}{path}", self.envoy.outbound));
        with(call.header(HOST, "inventory.shop.example"), headers).send().await.expect("an answer")
    }
}

fn with(request: RequestBuilder, headers: &[(&str, &str)]) -> RequestBuilder {
    headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
}

async fn json_of(response: Response) -> Value {
    response.json().await.expect("JSON")
}

#[tokio::test]
async fn a_verified_request_reaches_the_agent_and_a_refused_one_does_not() {
    let Some(mesh) = Mesh::open().await else { return };
    let forged = [
        ("x-sts-verified", "1"),
        ("x-sts-agent-context", "1"),
        ("x-delegation-fallback", "service-account"),
        ("x-note", "kept"),
    ];
    let seen = mesh.asked("alice", &forged).await;
    assert_eq!((&seen["x-tenant-id"], &seen["x-note"]), (&json!(["acme"]), &json!(["kept"])), "{seen}");
    assert_eq!(claims(&seen["authorization"][0])["sub"], "alice");
    assert!(seen["x-correlation-id"][0].as_str().is_some_and(|id| id.len() == 36), "{seen}");
    for name in ["x-sts-verified", "x-sts-agent-context", "x-delegation-fallback"] {
        assert!(seen.get(name).is_none(), "{seen}");
    }

    let alice = format!("Bearer {}", mesh.token("alice"));
    let elsewhere = format!("Bearer {}", mesh.desk.harness.user_token_with(&json!({ "aud": "another-app" })));
    let rows: [(&[(&str, &str)], u16); 7] = [
        (&[], 401),
        (&[("authorization", "Basic YTpi")], 401),
        (&[("authorization", "Bearer not.a.token")], 401),
        (&[("authorization", &elsewhere)], 401),
        // Envoy joins them by a comma.
        (&[("authorization", &alice), ("authorization", &alice)], 400),
        (&[("authorization", &alice), ("x-tenant-id", "evil")], 403),
        (&[("authorization", &alice), ("x-tenant-id", "acme"), ("x-tenant-id", "evil")], 400),
    ];
    for (headers, status) in rows {
        let response = mesh.request(headers).send().await.expect("an answer");
        assert_eq!(response.status(), status, "{headers:?}");
        let given = response.headers().clone();
        assert!(given["www-authenticate"].to_str().is_ok_and(|challenge| challenge.starts_with("Bearer")), "{given:?}");
        assert_eq!(given["cache-control"], "no-store");
        let text = response.text().await.expect("a text");
        assert!(!text.contains("audience") && !text.contains(&alice), "{text}");
    }
    // A name that the agent could read as x-tenant-id.
    let twin = mesh.request(&[("authorization", &alice), ("x_tenant_id", "evil")]).send().await.expect("an answer");
    assert_eq!(twin.status(), 400);
    assert_eq!(mesh.agent.seen().len(), 1, "no refused request reaches the agent");

    let metrics = mesh.desk.agent.get("/metrics").await.text;
    for line in [
        "sts_agent_requests_total{endpoint=\"envoy_inbound\",outcome=\"answered\"} 1",
        "sts_agent_requests_total{endpoint=\"envoy_inbound\",outcome=\"refused\"} 7",
    ] {
        assert!(metrics.contains(line), "{line}:\n{metrics}");
    }
}

#[tokio::test]
async fn a_call_carries_the_token_for_the_request_that_it_names() {
    let Some(mesh) = Mesh::open().await else { return };
    let mut ids = Vec::new();
    for (user, trace) in [("alice", TRACE), ("bob", OTHER)] {
        let seen = mesh.asked(user, &[("traceparent", trace)]).await;
        ids.push(seen["x-correlation-id"][0].as_str().expect("an id").to_owned());
    }
    let rows: [(&str, &[(&str, &str)]); 5] = [
        ("alice", &[("x-correlation-id", &ids[0])]),
        ("bob", &[("x-correlation-id", &ids[1])]),
        ("alice", &[("traceparent", CHILD)]),
        ("bob", &[("traceparent", OTHER)]),
        ("alice", &[("x-correlation-id", &ids[0]), ("traceparent", CHILD)]),
    ];
    for (user, headers) in rows {
        let stray = [
            ("authorization", "Bearer of-another"),
            ("cookie", "session=1"),
            ("x-tenant-id", "evil"),
            ("x-delegation-fallback", "service-account"),
            ("x-sts-agent-context", "1"),
            ("accept", "text/plain"),
        ];
        let response = mesh.call("/stock?item=tea", &[headers, &stray].concat()).await;
        assert_eq!(response.status(), 200, "{user} {headers:?}");
        let seen = json_of(response).await;
        let token = claims(&seen["authorization"][0]);
        assert_eq!((&token["sub"], &token["aud"]), (&json!(user), &json!("inventory-agent")), "{headers:?}");
        assert_eq!(token["act"]["sub"], "coordinator");
        assert_eq!((&seen["x-tenant-id"], &seen["accept"]), (&json!(["acme"]), &json!(["text/plain"])));
        let id = &ids[usize::from(user == "bob")];
        assert_eq!(seen["x-correlation-id"], json!([id]));
        for name in ["cookie", "x-delegation-fallback", "x-sts-agent-context"] {
            assert!(seen.get(name).is_none(), "{seen}");
        }
    }
}

#[tokio::test]
async fn a_reserved_header_that_the_proxy_does_not_show_does_not_pass() {
    let few_headers = |configuration: &mut Value| {
        for listener in configuration["static_resources"]["listeners"].as_array_mut().expect("listeners") {
            let filter = &mut listener["filter_chains"][0]["filters"][0]["typed_config"]["http_filters"][0];
            let shown = ["authorization", "x-correlation-id"].map(|name| json!({ "exact": name }));
            filter["typed_config"]["allowed_headers"] = json!({ "patterns": shown });
        }
    };
    let Some(mesh) = Mesh::open_with(few_headers).await else { return };
    let forged = [("x-sts-verified", "1"), ("x-sts-agent-context", "1"), ("x-delegation-fallback", "service-account")];
    let of_request = [&[("x-correlation-id", "a"), ("x-tenant-id", "evil")][..], &forged].concat();
    let asked = mesh.asked("alice", &of_request).await;
    let of_call =
        [&[("x-correlation-id", "a"), ("x-tenant-id", "evil"), ("cookie", "session=1")][..], &forged].concat();
    let called = json_of(mesh.call("/stock", &of_call).await).await;
    for seen in [asked, called] {
        assert_eq!(seen["x-tenant-id"], json!(["acme"]), "{seen}");
        for name in ["cookie", "x-sts-verified", "x-sts-agent-context", "x-delegation-fallback"] {
            assert!(seen.get(name).is_none(), "{name}: {seen}");
        }
    }
}

#[tokio::test]
async fn a_call_without_its_request_or_without_a_route_does_not_go_out() {
    let Some(mesh) = Mesh::open().await else { return };
    mesh.asked("alice", &[("x-correlation-id", "of-alice"), ("traceparent", TRACE)]).await;
    mesh.asked("alice", &[("x-correlation-id", "shared")]).await;
    mesh.asked("mallory", &[("x-correlation-id", "shared")]).await;
    let rows: [(&str, Headers<'_>, u16, &str); 7] = [
        ("/stock", &[], 403, "refused"),
        ("/stock", &[("x-correlation-id", "of-carol")], 403, "refused"),
        ("/stock", &[("traceparent", OTHER)], 403, "refused"),
        ("/stock", &[("x-correlation-id", "shared")], 403, "refused"),
        ("/stock", &[("x-correlation-id", "of-alice"), ("x-correlation-id", "of-alice")], 403, "refused"),
        ("/stock", &[("x-correlation-id", "of-alice"), ("host", "payroll.shop.example")], 404, ""),
        ("/stock", &[("x-correlation-id", "of-alice"), ("host", "inventory.shop.example@evil.example")], 404, ""),
    ];
    for (path, headers, status, error) in rows {
        let response = mesh.call(path, headers).await;
        assert_eq!(response.status(), status, "{path} {headers:?}");
        assert!(response.headers().get("authorization").is_none());
        if !error.is_empty() {
            assert_eq!(json_of(response).await["error"], error, "{path} {headers:?}");
        }
    }
    assert_eq!(mesh.target.seen(), Vec::<Value>::new());
}

#[tokio::test]
async fn a_proxy_that_does_not_say_the_direction_passes_nothing() {
    let without_direction = |configuration: &mut Value| {
        for listener in configuration["static_resources"]["listeners"].as_array_mut().expect("listeners") {
            let manager = &mut listener["filter_chains"][0]["filters"][0]["typed_config"];
            let routes = manager["route_config"].as_object_mut().expect("routes");
            routes.remove("typed_per_filter_config").expect("the direction");
        }
    };
    let Some(mesh) = Mesh::open_with(without_direction).await else { return };
    let request = mesh.request(&[]).bearer_auth(mesh.token("alice")).send().await.expect("an answer");
    let call = mesh.call("/stock", &[("x-correlation-id", "a")]).await;
    for response in [request, call] {
        assert_eq!(response.status(), 500);
        assert_eq!(json_of(response).await, json!({ "error": "server_error" }));
    }
    assert!(mesh.agent.seen().is_empty() && mesh.target.seen().is_empty());
    mesh.desk.agent.logged("neither inbound nor outbound").await;
}

#[tokio::test]
async fn the_process_killed_under_load_lets_no_call_out_without_its_token() {
    let Some(mesh) = Mesh::open().await else { return };
    let id = [("x-correlation-id", "of-alice")];
    let token = mesh.token("alice");
    mesh.asked("alice", &id).await;
    let Mesh { desk, envoy, agent, target, client } = mesh;
    let call = || {
        let call = client.post(format!("http://{}/stock", envoy.outbound)).header(HOST, "inventory.shop.example");
        call.header(id[0].0, id[0].1).bearer_auth(&token)
    };
    // Each caller goes on until Envoy refuses, which it does without the process alone.
    let caller = |_number| async {
        loop {
            match call().send().await.expect("an answer").status().as_u16() {
                200 => {}
                status => return status,
            }
        }
    };
    let killed = async {
        target.has_seen(200).await;
        desk.agent.kill().await;
    };
    let (refusals, ()) = tokio::join!(join_all((0..8).map(caller)), killed);
    assert_eq!(refusals, [503; 8]);
    assert_eq!(call().send().await.expect("an answer").status(), 503);
    for seen in target.seen() {
        let sent = seen["authorization"].as_array().expect("a token");
        assert_eq!((sent.len(), &claims(&sent[0])["act"]["sub"]), (1, &json!("coordinator")), "{seen}");
    }
    let request = client.get(format!("http://{}/ask", envoy.inbound)).bearer_auth(&token);
    assert_eq!(request.send().await.expect("an answer").status(), 503);
    assert_eq!(agent.seen().len(), 1);
}
