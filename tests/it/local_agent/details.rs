//! Authorization details of calls, and the approvals that they require.

use serde_json::{Value, json};
use sts_tests::Setup;
use sts_tests::local_agent::LocalFolder;

use super::{Desk, agent_toml, claims};

const STOCK: &str = "https://inventory.shop.example/stock";
/// The details and the approval of the delegation.
const OF_DELEGATION: &str = "details = [{ type = 'mcp_tool', actions = ['lookup', 'refund'], limits = { amount = 500 } }]\n\
     approval = { actions = ['refund'], by = 'user' }";
/// The details of the route.
const OF_ROUTE: &str = "authorization_details = [{ type = \"mcp_tool\", actions = [\"lookup\"] }]\n";

async fn open() -> Desk {
    let setup = Setup::default().registry(|registry| registry.delegation("coordinator", "inventory", OF_DELEGATION));
    let harness = setup.start().await;
    let folder = LocalFolder::new(&agent_toml(&harness, OF_ROUTE), &[("secret", &harness.secret("coordinator"))]);
    Desk { agent: folder.serve().await, harness, folder }
}

#[tokio::test]
async fn a_call_has_the_details_of_its_question_or_else_those_of_its_route() {
    let desk = open().await;
    let inbound = desk.inbound().await;
    let call = |details: Option<&Value>| {
        let mut question = json!({ "method": "GET", "url": STOCK, "inbound": inbound });
        if let Some(details) = details {
            question["authorization_details"] = details.clone();
        }
        question
    };
    let lookup = |amount: u32| json!([{ "type": "mcp_tool", "actions": ["lookup"], "limits": { "amount": amount } }]);
    let mut tokens = Vec::new();
    for (details, expected) in [(None, lookup(500)), (Some(lookup(50)), lookup(50)), (Some(json!([])), Value::Null)] {
        let question = call(details.as_ref());
        let headers = desk.headers(&question).await;
        assert_eq!(claims(&headers["authorization"][0])["authorization_details"], expected, "{question}");
        assert_eq!(desk.headers(&question).await["authorization"], headers["authorization"], "the token is cached");
        tokens.push(headers["authorization"].clone());
    }
    // To forget the token of a call leaves those of calls with other details.
    let forgotten = json!({ "url": STOCK, "inbound": inbound, "authorization_details": lookup(50) });
    assert_eq!(desk.agent.ask("/v1/forget", &forgotten).await.json, json!({ "repeat": true }));
    let lookup_50 = lookup(50);
    let now = [None, Some(&lookup_50)].map(call);
    assert_eq!(desk.headers(&now[0]).await["authorization"], tokens[0]);
    assert_ne!(desk.headers(&now[1]).await["authorization"], tokens[1]);
    let beyond = desk.agent.ask("/v1/headers", &call(Some(&lookup(501)))).await;
    assert_eq!(
        (beyond.status, &beyond.json["code"]),
        (403, &json!("invalid_authorization_details")),
        "{}",
        beyond.text
    );
}

#[tokio::test]
async fn details_that_no_request_may_have_are_a_malformed_question() {
    let desk = open().await;
    let inbound = desk.inbound().await;
    for details in [
        json!({}),
        json!("[]"),
        json!([{}]),
        json!([{ "type": "mcp_tool", "privileges": ["admin"] }]),
        json!([{ "type": "mcp_tool", "limits": { "amount": "50" } }]),
        json!([{ "type": "mcp_tool" }, { "type": "mcp_tool" }]),
    ] {
        for (path, mut question) in [
            ("/v1/headers", json!({ "method": "GET", "url": STOCK, "inbound": inbound })),
            ("/v1/forget", json!({ "url": STOCK, "inbound": inbound })),
        ] {
            question["authorization_details"] = details.clone();
            let answer = desk.agent.ask(path, &question).await;
            let found = (answer.status, &answer.json["error"]);
            assert_eq!(found, (400, &json!("invalid_request")), "{path} {details}: {}", answer.text);
        }
    }
}

#[tokio::test]
async fn a_call_that_a_person_must_approve_names_the_page_and_passes_after_the_approval() {
    let desk = open().await;
    let inbound = desk.inbound().await;
    let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": 50 } }]);
    let question = json!({ "method": "GET", "url": STOCK, "inbound": inbound, "authorization_details": details });
    let answer = desk.agent.ask("/v1/headers", &question).await;
    assert_eq!((answer.status, &answer.json["error"]), (412, &json!("approval_required")), "{}", answer.text);
    let approval = &answer.json["approval"];
    let (id, page) = (approval["id"].as_str().unwrap(), approval["interaction_uri"].as_str().unwrap());
    assert_eq!(approval["approver"], "user");
    assert_eq!(page, format!("{}/approvals/{id}", desk.harness.issuer()));
    assert_eq!(answer.json["response"]["status"], 412);
    let again = desk.agent.ask("/v1/headers", &question).await;
    assert_eq!(&again.json["approval"]["id"], &approval["id"], "equal calls share an approval");

    let of_portal = json!({ "aud": desk.harness.issuer(), "auth_time": desk.harness.now() });
    let decision = desk.harness.wire().person("POST", &format!("/approvals/{id}"));
    let decision = decision.bearer(&desk.harness.user_token_with(&of_portal)).json(&json!({ "decision": "grant" }));
    let decided = decision.send().await;
    assert_eq!(decided.status, 200, "{}", decided.text());
    let headers = desk.headers(&question).await;
    assert_eq!(claims(&headers["authorization"][0])["authorization_details"], details);
}
