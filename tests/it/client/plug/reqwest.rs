//! [`sts_client::integrations::reqwest`].

use reqwest_middleware::Error as MiddlewareError;
use serde_json::json;
use sts_client::Error;
use sts_client::integrations::reqwest::client;

use super::place::Place;
use super::{CARELESS, Coordinator, assert_goes_out, assert_no_context, pairs};

/// What the middleware says.
#[track_caller]
fn not_sent(error: &MiddlewareError) -> &Error {
    match error {
        MiddlewareError::Middleware(error) => error.downcast_ref().unwrap(),
        MiddlewareError::Reqwest(error) => panic!("{error:?}"),
    }
}

#[tokio::test]
async fn whatever_the_call_bore_goes_away_and_one_token_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let token = coordinator.harness.user_token();
    let context = coordinator.context_of(&token).await;
    let client = client(coordinator.pass_through(&place).await).unwrap();
    client.get(place.url("/stock")).headers(pairs(&CARELESS)).with_extension(context).send().await.unwrap();
    assert_goes_out(&place.only(), &token);
}

#[tokio::test]
async fn user_and_password_of_the_url_never_leave() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let token = coordinator.harness.user_token();
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let mut url = place.url("/stock");
    url.set_username("careless").unwrap();
    url.set_password(Some("careless")).unwrap();
    coordinator.context_of(&token).await.scope(client.post(url).send()).await.unwrap();
    assert_goes_out(&place.only(), &token);
}

#[tokio::test]
async fn a_call_without_a_context_never_leaves() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let error = client.get(place.url("/")).bearer_auth("careless").send().await.unwrap_err();
    assert_no_context(not_sent(&error));
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_spawned_task_has_lost_its_context_and_sends_nothing() {
    let (coordinator, place) = (Coordinator::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let call = client.get(place.url("/"));
    let spawned = coordinator.context(json!({})).await.scope(async { tokio::spawn(call.send()).await.unwrap() }).await;
    assert_no_context(not_sent(&spawned.unwrap_err()));
    assert!(place.is_untouched());
}

#[tokio::test]
async fn a_place_without_a_route_gets_nothing() {
    let (coordinator, place, elsewhere) = (Coordinator::start().await, Place::start().await, Place::start().await);
    let client = client(coordinator.pass_through(&place).await).unwrap();
    let call = client.get(elsewhere.url("/")).bearer_auth("careless").send();
    let error = coordinator.context(json!({})).await.scope(call).await.unwrap_err();
    assert!(matches!(not_sent(&error), Error::NoRoute { .. }), "{error:?}");
    assert!(elsewhere.is_untouched());
}

#[tokio::test]
async fn a_redirect_is_not_followed_anywhere() {
    let (coordinator, elsewhere) = (Coordinator::start().await, Place::start().await);
    for location in [elsewhere.url("/").as_str(), "/out-of-the-route"] {
        let place = Place::leading_to(location).await;
        let client = client(coordinator.pass_through(&place).await).unwrap();
        let call = client.get(place.url("/stock")).send();
        let answer = coordinator.context(json!({})).await.scope(call).await.unwrap();
        assert_eq!(answer.status(), 307, "{location}");
        assert_eq!(place.requests().len(), 1, "{location}");
    }
    assert!(elsewhere.is_untouched());
}
