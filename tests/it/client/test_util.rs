//! The stand-ins for the tests of agents: what they make passes the verifiers, and what they say is understood.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use serde_json::json;
use sts_client::test_util::{ManualClock, MockAnswer, MockSts, TestIssuer};
use sts_client::{
    CallContext, Caller, Clock as _, Error, Kind, Propagator, Route, ServiceAccount, SystemClock, Tenant, Verifier,
    WithoutUser,
};
use url::Url;

fn stock() -> Url {
    "https://inventory.shop.example/stock".parse().unwrap()
}

fn route(audience: &str) -> Route {
    Route::to(stock()).audience(audience)
}

async fn apply(sts: &MockSts, (agent, target): (&str, &str), caller: &Caller) -> Result<HeaderMap, Error> {
    let propagator = Propagator::builder().sts(sts.sts(agent)).route(route(target)).build().await.unwrap();
    let mut headers = HeaderMap::new();
    propagator.apply(&CallContext::from(caller), &stock(), &mut headers).await.map(|_credential| headers)
}

/// What a target makes of the headers of a call.
async fn received(sts: &MockSts, target: &str, headers: &HeaderMap) -> Caller {
    let verifier = Verifier::builder([target]).issuer(sts.entry()).build().unwrap();
    verifier.verify(headers).await.unwrap()
}

#[tokio::test]
async fn a_granted_token_passes_the_verifier_of_the_target_hop_after_hop() {
    let sts = MockSts::new();
    let alice = Caller::for_test().tenant("acme").scope("stock:read").claim("acr", json!("mfa")).roles(["clerk"]);
    let alice = alice.correlation_id("request-7").build();
    let headers = apply(&sts, ("coordinator", "inventory"), &alice).await.unwrap();
    let first = received(&sts, "inventory", &headers).await;
    assert_eq!((first.subject(), first.kind()), (alice.subject(), Kind::User));
    assert_eq!(first.actor().unwrap().sub, "coordinator");
    assert_eq!((first.tenant(), first.acr()), (alice.tenant(), Some("mfa")));
    assert!(first.has_scope("stock:read") && first.roles().eq(["clerk"]));
    let headers = apply(&sts, ("inventory", "warehouse"), &first).await.unwrap();
    let second = received(&sts, "warehouse", &headers).await;
    assert_eq!((second.actor().unwrap().sub, second.prior_actors().to_string().as_str()), ("inventory", "coordinator"));
    assert!(second.expires_at() <= first.expires_at());
    let asked = sts.requests();
    assert_eq!(asked.len(), 2);
    assert_eq!((asked[0].tenant(), asked[0].correlation_id()), (Some("acme"), Some("request-7")));
    assert_eq!(asked[1].subject().unwrap()["act"]["sub"], "coordinator");
}

#[tokio::test]
async fn a_caller_with_an_actor_is_one_of_the_sts_and_can_be_exchanged() {
    let sts = MockSts::new();
    let caller = Caller::for_test().subject("bob").actor("coordinator").tenant("acme").build();
    let headers = apply(&sts, ("inventory", "warehouse"), &caller).await.unwrap();
    let received = received(&sts, "warehouse", &headers).await;
    assert_eq!((received.subject(), received.prior_actors().to_string().as_str()), (caller.subject(), "coordinator"));
}

#[tokio::test]
async fn each_answer_is_the_error_that_it_stands_for() {
    let sts = MockSts::new();
    let refused = |code: &'static str| move |error: &Error| matches!(error, Error::Refused { code: told } if told.as_str() == code);
    let wait = Some(Duration::from_secs(7));
    type Check = Box<dyn Fn(&Error) -> bool>;
    let rows: [(MockAnswer, Check); 4] = [
        (MockAnswer::Refuse("invalid_target"), Box::new(refused("invalid_target"))),
        (
            MockAnswer::Load { retry_after: wait },
            Box::new(
                move |error| matches!(error, Error::Unavailable { retry_after, outage: None } if *retry_after == wait),
            ),
        ),
        (MockAnswer::Outage, Box::new(|error| matches!(error, Error::Unavailable { outage: Some(_), .. }))),
        (MockAnswer::Status(500), Box::new(|error| matches!(error, Error::Unavailable { outage: Some(_), .. }))),
    ];
    for (answer, is_meant) in rows {
        sts.answer_next(answer.clone());
        let error = apply(&sts, ("coordinator", "inventory"), &Caller::for_test().build()).await.unwrap_err();
        assert!(is_meant(&error), "{answer:?}: {error:?}");
    }
    apply(&sts, ("coordinator", "inventory"), &Caller::for_test().build()).await.expect("the script is over");
}

#[tokio::test]
async fn it_issues_tokens_to_service_accounts_and_answers_introspections() {
    let sts = MockSts::new();
    sts.service_account_tenants([Tenant::new("acme").unwrap()]);
    let propagator = Propagator::builder()
        .sts(sts.sts("nightly"))
        .service_account(ServiceAccount::Sts)
        .route(route("inventory").without_user(WithoutUser::ServiceAccount))
        .build()
        .await
        .unwrap();
    let context = CallContext::without_user(Tenant::new("acme").ok(), &sts_client::SystemEntropy);
    let mut headers = HeaderMap::new();
    propagator.apply(&context, &stock(), &mut headers).await.unwrap();
    let verifier = Verifier::builder(["inventory"]).issuer(sts.entry()).introspect(sts.sts("inventory"));
    let verifier = verifier.build().unwrap();
    let caller = verifier.verify(&headers).await.unwrap();
    assert_eq!((caller.kind(), caller.tenant().unwrap().as_str()), (Kind::ServiceAccount, "acme"));
    headers.remove("x-correlation-id");
    sts.answer_next(MockAnswer::Refuse("invalid_token"));
    assert_eq!(verifier.verify(&headers).await.unwrap_err().reason(), "inactive");
    sts.answer_next(MockAnswer::Outage);
    assert_eq!(verifier.verify(&headers).await.unwrap_err().status(), 503);
    assert_eq!(sts.requests()[0].parameter("grant_type"), Some("client_credentials"));
}

#[tokio::test]
async fn a_caller_that_no_verifier_accepts_is_not_made() {
    let clock = ManualClock::new(jiff::Timestamp::UNIX_EPOCH);
    let early = Caller::for_test().clock(Arc::new(clock)).lifetime(Duration::from_secs(60)).build();
    assert_eq!(early.expires_at().as_second(), 60);
    for caller in [
        Caller::for_test().subject(""),
        Caller::for_test().claim("exp", json!(1)),
        Caller::for_test().claim("cnf", json!({})),
        Caller::for_test().scope("not \"a scope"),
    ] {
        let described = format!("{caller:?}");
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| caller.build())).expect_err(&described);
    }
}

#[tokio::test]
async fn the_tokens_of_a_test_issuer_are_verified_like_any_other() {
    let (idp, stranger) = (TestIssuer::new("https://login.example.com"), TestIssuer::new("https://login.example.com"));
    let verifier = Verifier::builder(["web-app"]).issuer(idp.entry()).build().unwrap();
    let claims =
        json!({ "iss": idp.issuer(), "sub": "alice", "aud": "web-app", "exp": SystemClock.now().as_second() + 300 });
    verifier.verify_token(&idp.sign(&claims), None).await.unwrap();
    let forged = verifier.verify_token(&stranger.sign(&claims), None).await.unwrap_err();
    assert_eq!(forged.reason(), "key_unknown");
}
