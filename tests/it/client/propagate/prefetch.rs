//! Tokens that are there before the calls, and targets that the STS knows by another name.

use sts_client::{CallContext, Error, Route};
use sts_tests::Harness;

use super::{Gate, OPEN, apply, apply_to, builder, class, inventory, user};

fn strict() -> Route {
    Route::to("https://strict.shop.example/".parse().unwrap()).audience("inventory-agent")
}

#[tokio::test]
async fn a_prefetched_token_costs_its_call_no_exchange_and_the_first_failure_is_told() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let propagator = builder(&harness, &gate).route(inventory()).route(strict()).build().await.unwrap();
    let context: CallContext = user(&harness, &harness.user_token()).await.into();
    let urls = ["https://inventory.shop.example/a", "https://inventory.shop.example/b", "https://strict.shop.example/"];
    let urls = urls.map(|url| url.parse().unwrap());
    propagator.prefetch(&context, &urls).await.unwrap();
    assert_eq!(gate.asked(), 2);
    for url in &urls {
        assert_eq!(class(&apply_to(&propagator, &context, url.as_str()).await.0), "Exchanged");
    }
    assert_eq!(gate.asked(), 2);

    let other: CallContext = user(&harness, &harness.user_token()).await.into();
    let urls = ["https://elsewhere.example/".parse().unwrap(), urls[0].clone()];
    let error = propagator.prefetch(&other, &urls).await.unwrap_err();
    assert!(matches!(error, Error::NoRoute { .. }), "{error:?}");
    assert_eq!(class(&apply(&propagator, &other).await.0), "Exchanged");
    assert_eq!(gate.asked(), 3, "the other was fetched all the same");
}

#[tokio::test]
async fn a_route_that_names_its_target_by_agent_id_is_told_the_audience_that_it_lacks() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    let by_id = || Route::to("https://inventory.shop.example/".parse().unwrap()).audience("inventory");
    let context: CallContext = user(&harness, &harness.user_token()).await.into();
    let propagator = builder(&harness, &gate).route(by_id()).build().await.unwrap();
    for _ in 0..3 {
        let error = apply(&propagator, &context).await.0.unwrap_err();
        assert!(matches!(&error, Error::WrongAudience { issued } if &**issued == "inventory-agent"), "{error:?}");
        assert!(error.to_string().ends_with("set issued_audience = \"inventory-agent\" in the route"), "{error}");
    }
    assert_eq!(gate.asked(), 1, "it is a refusal, and is remembered like one");
    let propagator = builder(&harness, &gate).route(by_id().issued_audience("inventory-agent")).build().await.unwrap();
    assert_eq!(class(&apply(&propagator, &context).await.0), "Exchanged");
}
