//! Authorization details of calls (RFC 9396): what is requested, cached, and permitted at the target.

use http::StatusCode;
use sts_client::{AuthorizationDetail, RequiredAction};
use sts_tests::{Setup, bearer};

use super::*;

const DETAILS: &str =
    "details = [{ type = 'mcp_tool', actions = ['refund', 'lookup'], limits = { amount = 500 } }, { type = 'report' }]";

async fn start() -> Harness {
    Setup::default().registry(|registry| registry.delegation("coordinator", "inventory", DETAILS)).start().await
}

fn details(wire: serde_json::Value) -> Vec<AuthorizationDetail> {
    serde_json::from_value(wire).unwrap()
}

fn refund(amount: u32) -> Vec<AuthorizationDetail> {
    details(json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]))
}

/// The details of the token that a call carries.
async fn granted(harness: &Harness, propagator: &Propagator, context: CallContext) -> (serde_json::Value, String) {
    let (outcome, headers) = apply(propagator, &context).await;
    assert_eq!(outcome.unwrap(), Credential::Exchanged);
    let token = text(&headers, "authorization").unwrap().strip_prefix("Bearer ").unwrap().to_owned();
    harness.seen.remember(&token);
    (harness.verify(&token).await["authorization_details"].clone(), token)
}

#[tokio::test]
async fn a_call_gets_the_details_of_its_context_or_route_and_each_set_of_them_has_its_own_token() {
    let harness = start().await;
    let gate = Gate::new(OPEN);
    let route = inventory().authorization_details(details(json!([{ "type": "report" }])));
    let propagator = builder(&harness, &gate).route(route).build().await.unwrap();
    let context = CallContext::from(user(&harness, &harness.user_token()).await);
    let of = |amount| context.clone().with_authorization_details(refund(amount));
    let rows = [
        (context.clone(), json!([{ "type": "report" }])),
        (of(50), json!(refund(50))),
        (of(60), json!(refund(60))),
        (context.clone().with_authorization_details(Vec::new()), serde_json::Value::Null),
    ];
    let mut tokens = std::collections::HashSet::new();
    for _ in 0..2 {
        for (context, expected) in &rows {
            let (found, token) = granted(&harness, &propagator, context.clone()).await;
            assert_eq!(found, *expected);
            tokens.insert(token);
        }
    }
    assert_eq!((gate.asked(), tokens.len()), (4, 4));
    propagator.forget(&of(50), &"https://inventory.shop.example/".parse().unwrap()).await;
    granted(&harness, &propagator, of(60)).await;
    assert_eq!(gate.asked(), 4);
    granted(&harness, &propagator, of(50)).await;
    assert_eq!(gate.asked(), 5);
    let (outcome, _) = apply(&propagator, &of(501)).await;
    assert_eq!(class(&outcome), "invalid_authorization_details");
}

#[tokio::test]
async fn a_target_serves_the_actions_that_its_token_names_within_their_limits() {
    let harness = start().await;
    let propagator = builder(&harness, &Gate::new(OPEN)).route(inventory()).build().await.unwrap();
    let context = CallContext::from(user(&harness, &harness.user_token()).await);
    let target = Verifier::builder(["inventory-agent"])
        .issuer(Issuer::sts(harness.issuer()))
        .resource("https://inventory.shop.example/".parse().unwrap())
        .clock(Arc::new(harness.clock.clone()))
        .build()
        .unwrap();
    let (_, token) = granted(&harness, &propagator, context.clone().with_authorization_details(refund(50))).await;
    let caller = target.verify(&bearer(&token)).await.unwrap();
    assert_eq!(caller.authorization_details(), refund(50));
    let (_, bare) = granted(&harness, &propagator, context).await;
    let bare = target.verify(&bearer(&bare)).await.unwrap();
    let amount = |amount: f64| RequiredAction::new("refund").limit("amount", amount);
    assert!(caller.require_action(amount(50.0)).is_ok());
    let refused = [
        ("beyond the limit", caller.require_action(amount(50.01))),
        ("without the limit", caller.require_action("refund")),
        ("another tool", caller.require_action("delete_customer")),
        ("a token without details", bare.require_action(amount(1.0))),
        ("a user's own token", user(&harness, &harness.user_token()).await.require_action("refund")),
    ];
    for (label, outcome) in refused {
        let refusal = outcome.expect_err(label);
        assert_eq!((refusal.status(), refusal.grpc_code()), (StatusCode::FORBIDDEN, 7), "{label}");
        assert_eq!(refusal.error(), Some("insufficient_authorization_details"), "{label}");
        let challenge = refusal.www_authenticate().unwrap();
        assert!(challenge.to_str().unwrap().starts_with("Bearer error=\"insufficient_authorization_details\""));
        assert!(!refusal.body().contains("amount"), "{label}");
    }
}

#[tokio::test]
async fn details_on_a_route_without_a_target_are_refused_at_start() {
    let route = || Route::to("https://legacy.shop.example/".parse().unwrap()).pass_through();
    for (key, route) in
        [("authorization_details", route().authorization_details(refund(1))), ("per_tool", route().per_tool())]
    {
        let refused = Propagator::builder().route(route).build().await.unwrap_err();
        assert!(refused.to_string().contains(key), "{refused}");
    }
}
