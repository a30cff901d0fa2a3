//! The test of an agent that the README shows: no server, no network.

use sts_client::http::HeaderMap;
use sts_client::test_util::{MockAnswer, MockSts};
use sts_client::url::Url;
use sts_client::{CallContext, Caller, Propagator, Route};

#[tokio::test]
async fn the_inventory_is_asked_on_behalf_of_alice_and_not_at_all_in_an_outage() {
    let sts = MockSts::new();
    let stock: Url = "https://inventory.shop.example/stock".parse().unwrap();
    let route = Route::to(stock.clone()).audience("inventory");
    let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await.unwrap();

    let alice = Caller::for_test().subject("alice").tenant("acme").scope("stock:read").build();
    let mut headers = HeaderMap::new();
    propagator.apply(&CallContext::from(alice), &stock, &mut headers).await.unwrap();
    assert_eq!(headers["x-tenant-id"], "acme");
    let asked = sts.requests();
    assert_eq!((asked[0].client_id(), asked[0].audience()), ("coordinator", Some("inventory")));
    assert_eq!(asked[0].subject().unwrap()["sub"], "alice");

    sts.answer_with(MockAnswer::Outage);
    let bob = Caller::for_test().subject("bob").build();
    let error = propagator.apply(&CallContext::from(bob), &stock, &mut headers).await.unwrap_err();
    assert!(error.is_retryable());
    assert!(!headers.contains_key("authorization"));
}
