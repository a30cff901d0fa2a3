//! Authorization details (RFC 9396): permissions that are finer than scopes.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{FormRequest, Harness, Setup};

const DETAILS: &str = "details = [
    { type = 'mcp_tool', locations = ['https://inventory.shop.example/'], actions = ['reserve', 'cancel'], \
        limits = { quantity = 10 } },
    { type = 'report' },
]";

fn setup() -> Setup {
    Setup::default().operators().registry(|registry| {
        registry.delegation("coordinator", "inventory", DETAILS);
        registry.delegation(
            "inventory",
            "warehouse",
            "details = [{ type = 'mcp_tool', actions = ['reserve'], limits = { quantity = 8, shelves = 2 } }]",
        );
    })
}

fn reserve(limits: &Value) -> Value {
    json!({
        "type": "mcp_tool", "locations": ["https://inventory.shop.example/"], "actions": ["reserve"], "limits": limits,
    })
}

fn first(harness: &Harness, details: &Value) -> FormRequest {
    harness.exchange().set("authorization_details", details.to_string())
}

#[tokio::test]
async fn details_are_granted_minted_returned_introspected_and_recorded() {
    let harness = setup().start().await;
    let request = first(&harness, &json!([reserve(&json!({ "quantity": 3 }))]));
    let correlation_id = request.correlation_id();
    let answer = request.send().await;
    let granted = json!([reserve(&json!({ "quantity": 3 }))]);
    assert_eq!(answer.json["authorization_details"], granted);
    assert_eq!(answer.claims()["authorization_details"], granted);
    let introspected = harness.introspect("inventory", answer.token()).send().await;
    assert_eq!(introspected.json["authorization_details"], granted);
    let events = harness.events(&correlation_id).await;
    let recorded = [&events[0].requested_details, &events[0].authorization_details].map(|details| json!(details));
    assert_eq!(recorded, [granted.clone(), granted]);
}

#[tokio::test]
async fn a_request_without_details_gets_none() {
    let harness = setup().start().await;
    for request in [harness.exchange(), harness.exchange().set("authorization_details", "")] {
        let answer = request.send().await;
        assert_eq!(
            (answer.json.get("authorization_details"), answer.claims().get("authorization_details")),
            (None, None)
        );
    }
}

#[tokio::test]
async fn a_limit_that_is_left_out_is_filled_in_along_the_chain() {
    let harness = setup().start().await;
    let answer = first(&harness, &json!([reserve(&json!({}))])).send().await;
    assert_eq!(answer.json["authorization_details"], json!([reserve(&json!({ "quantity": 10 }))]));
    let second = |limits: Value| {
        let request = harness.exchange_by("inventory", answer.token(), "warehouse");
        request.set("authorization_details", json!([reserve(&limits)]).to_string())
    };
    for (limits, granted) in [
        (json!({}), json!({ "quantity": 8, "shelves": 2 })),
        (json!({ "quantity": 8 }), json!({ "quantity": 8, "shelves": 2 })),
        (json!({ "shelves": 1, "quantity": 2.5 }), json!({ "quantity": 2.5, "shelves": 1 })),
    ] {
        let second = second(limits).send().await;
        assert_eq!(second.json["authorization_details"], json!([reserve(&granted)]));
    }
    let cases = [("beyond the delegation", second(json!({ "quantity": 9 })), ErrorKind::Details, "details_beyond")];
    harness.assert_each_refused(|| second(json!({})), cases).await;
}

#[tokio::test]
async fn a_token_of_ours_without_details_entitles_to_none() {
    let harness = setup().start().await;
    let bare = harness.first_hop().await;
    let second = || harness.exchange_by("inventory", &bare, "warehouse");
    let details = json!([{ "type": "mcp_tool", "actions": ["reserve"] }]).to_string();
    let cases = [("details", second().set("authorization_details", details), ErrorKind::Details, "details_beyond")];
    harness.assert_each_refused(second, cases).await;
}

#[tokio::test]
async fn the_details_of_an_outside_token_bind_where_it_has_some() {
    let harness = setup().start().await;
    let of = |details: Value| {
        let token = harness.user_token_with(&json!({ "authorization_details": details }));
        let request = harness.exchange_by("coordinator", &token, "inventory");
        request.set("authorization_details", json!([{ "type": "report" }]).to_string())
    };
    let refused = |details: Value| (details.to_string(), of(details), ErrorKind::Details, "details_beyond");
    let cases = [
        refused(json!([])),
        refused(json!("report")),
        refused(json!([{ "type": "report", "identifier": "r-1" }])),
        refused(json!([{ "type": "report", "privileges": ["read"] }])),
        refused(json!([{ "type": "mcp_tool" }])),
    ];
    harness.assert_each_refused(|| of(json!([{ "type": "report" }])), cases).await;
    of(Value::Null).send().await.token();
}

#[tokio::test]
async fn a_request_that_is_wider_in_one_member_is_refused() {
    let harness = setup().start().await;
    let whole = reserve(&json!({ "quantity": 3 }));
    let with = |member: &str, value: Value| {
        let mut detail = whole.clone();
        let members = detail.as_object_mut().expect("an object");
        match value {
            Value::Null => members.remove(member),
            value => members.insert(member.to_owned(), value),
        };
        first(&harness, &json!([detail]))
    };
    let cases = [
        ("another type", with("type", json!("payment"))),
        ("a type in another case", with("type", json!("MCP_tool"))),
        ("no location", with("locations", Value::Null)),
        ("another location", with("locations", json!(["https://inventory.shop.example"]))),
        ("one location more", with("locations", json!(["https://inventory.shop.example/", "https://x.example/"]))),
        ("no action", with("actions", Value::Null)),
        ("another action", with("actions", json!(["delete_customer"]))),
        ("one action more", with("actions", json!(["reserve", "delete_customer"]))),
        ("a greater limit", with("limits", json!({ "quantity": 10.001 }))),
        ("one element too wide", first(&harness, &json!([whole, { "type": "payment" }]))),
    ];
    let cases = cases.map(|(label, request)| (label, request, ErrorKind::Details, "details_beyond"));
    harness.assert_each_refused(|| first(&harness, &json!([whole])), cases).await;
    let others =
        [("no details in the delegation", "auditor", "inventory"), ("nor for another agent", "reporter", "inventory")];
    for (label, agent, target) in others {
        let request = harness.exchange_by(agent, &harness.user_token(), target);
        let request = request.set("authorization_details", json!([whole]).to_string());
        harness.assert_refused(label, request, ErrorKind::Details, "details_beyond").await;
    }
}

#[tokio::test]
async fn malformed_details_are_refused() {
    let harness = setup().start().await;
    let text = |text: &str| harness.exchange().set("authorization_details", text);
    let nested = format!("{}{}", "[".repeat(40), "]".repeat(40));
    let long = format!("[{{\"type\":\"report\",\"identifier\":\"{}\"}}]", "x".repeat(4096));
    let many = json!((0..33).map(|at| json!({ "type": "report", "identifier": at.to_string() })).collect::<Vec<_>>());
    let cases = [
        ("no JSON", text("report")),
        ("not closed", text("[{\"type\":\"report\"}")),
        ("more behind it", text("[{\"type\":\"report\"}] []")),
        ("an object", text("{\"type\":\"report\"}")),
        ("no element", text("[]")),
        ("a text", text("[\"report\"]")),
        ("no type", text("[{}]")),
        ("an array in the array", text("[[{\"type\":\"report\"}]]")),
        ("nested deeply", text(&nested)),
        ("an unknown member", text("[{\"type\":\"report\",\"privileges\":[\"a\"]}]")),
        ("a member in another case", text("[{\"type\":\"report\",\"Limits\":{}}]")),
        ("a repeated member", text("[{\"type\":\"payment\",\"type\":\"report\"}]")),
        ("a repeated member by an escape", text("[{\"type\":\"report\",\"\\u0074ype\":\"report\"}]")),
        ("a repeated limit", text("[{\"type\":\"report\",\"limits\":{\"n\":1,\"n\":2}}]")),
        ("a repeated value", text("[{\"type\":\"report\",\"actions\":[\"a\",\"a\"]}]")),
        ("a repeated element", text("[{\"type\":\"report\"},{\"type\":\"report\"}]")),
        ("no value", text("[{\"type\":\"report\",\"actions\":[]}]")),
        ("a text for an array", text("[{\"type\":\"report\",\"actions\":\"a\"}]")),
        ("a limit as text", text("[{\"type\":\"report\",\"limits\":{\"n\":\"1\"}}]")),
        ("a limit below zero", text("[{\"type\":\"report\",\"limits\":{\"n\":-1}}]")),
        ("a limit of no number", text("[{\"type\":\"report\",\"limits\":{\"n\":null}}]")),
        ("a limit beyond all numbers", text("[{\"type\":\"report\",\"limits\":{\"n\":1e999}}]")),
        ("nested limits", text("[{\"type\":\"report\",\"limits\":{\"n\":{\"m\":1}}}]")),
        ("a control character", text("[{\"type\":\"report\",\"identifier\":\"\\u0007\"}]")),
        ("too long", text(&long)),
        ("too many", text(&many.to_string())),
    ];
    let cases = cases.map(|(label, request)| (label, request, ErrorKind::Details, "details_malformed"));
    harness.assert_each_refused(|| text("[{\"type\":\"report\"}]"), cases).await;
}

#[tokio::test]
async fn a_service_account_gets_details_of_its_delegation() {
    let harness = setup().start().await;
    let request = |details: Value| harness.client_credentials().set("authorization_details", details.to_string());
    let report = json!([{ "type": "report" }]);
    let answer = request(report.clone()).send().await;
    assert_eq!((&answer.json["authorization_details"], &answer.claims()["authorization_details"]), (&report, &report));
    let beyond = request(json!([{ "type": "payment" }]));
    let cases = [("beyond", beyond, ErrorKind::Details, "details_beyond")];
    harness.assert_each_refused(|| request(report.clone()), cases).await;
}

#[tokio::test]
async fn metadata_lists_the_types_of_enabled_delegations() {
    let mut harness = setup().start().await;
    let types = async |harness: &Harness| {
        let paths = ["/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"];
        let documents = [harness.get(paths[0]).await.json, harness.get(paths[1]).await.json];
        documents.map(|document| document["authorization_details_types_supported"].clone())
    };
    let known = json!(["mcp_tool", "report"]);
    assert_eq!(types(&harness).await, [known.clone(), known]);
    harness
        .apply(|registry, _| {
            registry.delegation("coordinator", "inventory", "details = []");
            registry.delegation("inventory", "warehouse", "disabled = true");
        })
        .await;
    assert_eq!(types(&harness).await, [Value::Null, Value::Null], "no empty array");
}

#[tokio::test]
async fn explain_shows_the_details_and_what_is_beyond_them() {
    let harness = setup().start().await;
    let explained = async |details: Value| {
        let question = json!({
            "actor": "coordinator", "target": ["inventory"], "subject_token": harness.user_token(),
            "authorization_details": details.to_string(),
        });
        harness.admin("POST", "/explain").by("reader").json(&question).send().await.json["outcome"].clone()
    };
    let allowed = explained(json!([reserve(&json!({}))])).await;
    assert_eq!(allowed["authorization_details"], json!([reserve(&json!({ "quantity": 10 }))]), "{allowed}");
    let refused = explained(json!([reserve(&json!({ "quantity": 11 }))])).await;
    assert_eq!(
        (&refused["error"], &refused["reason"]),
        (&json!("invalid_authorization_details"), &json!("details_beyond"))
    );
}
