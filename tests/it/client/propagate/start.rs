//! What a propagator needs before it starts, and what it does without an STS.

use std::sync::Arc;

use sts_client::propagate::PropagatorBuilder;
use sts_client::{
    BuildError, CallContext, Error, OnOutage, Propagator, Route, ServiceAccount, StartError, WithoutUser,
};
use sts_tests::Harness;

use super::{Always, Gate, OPEN, Vault, apply, builder, class, inventory, user};

#[tokio::test]
async fn a_route_to_a_target_without_sts_sends_what_it_says_stands_in() {
    let harness = Harness::start().await;
    let user = CallContext::from(user(&harness, &harness.user_token()).await);
    let rows = [
        ("PassThrough", inventory().pass_through()),
        ("ServiceAccount", inventory().on_outage(OnOutage::ServiceAccount)),
    ];
    for (expected, route) in rows {
        let builder = Propagator::builder().route(route).clock(Arc::new(harness.clock.clone()));
        let own = ServiceAccount::Source(Arc::new(Always));
        let propagator = builder.service_account(own).build().await.unwrap();
        assert_eq!(class(&apply(&propagator, &user).await.0), expected);
    }
}

#[tokio::test]
async fn what_contradicts_itself_is_found_at_the_start() {
    let harness = Harness::start().await;
    let plain = || Route::to("https://plain.example/".parse().unwrap());
    let with_sts = || builder(&harness, &Gate::new(OPEN));
    let rows: Vec<(&str, PropagatorBuilder)> = vec![
        ("no sts and no service account", with_sts().route(plain())),
        ("a target, but no sts", Propagator::builder().route(inventory())),
        (
            "a target and a service account, but no sts",
            Propagator::builder().route(inventory()).service_account(ServiceAccount::Source(Arc::new(Vault))),
        ),
        ("on_outage", with_sts().route(inventory().on_outage(OnOutage::ServiceAccount))),
        ("without_user", with_sts().route(inventory().without_user(WithoutUser::ServiceAccount))),
        ("service account of no sts", Propagator::builder().service_account(ServiceAccount::Sts)),
        ("service account of the sts, no target", with_sts().route(plain()).service_account(ServiceAccount::Sts)),
    ];
    for (what, builder) in rows {
        let error = builder.build().await.unwrap_err();
        assert!(matches!(error, StartError::Build(BuildError::Contradiction(_))), "{what}: {error:?}");
    }
}

#[tokio::test]
async fn a_route_that_may_fall_back_is_refused_at_the_start_when_there_is_nothing_to_fall_back_to() {
    let harness = Harness::start().await;
    let gate = Gate::new(OPEN);
    gate.cut(OPEN);
    let route = inventory().on_outage(OnOutage::ServiceAccount);
    let error = builder(&harness, &gate).route(route).service_account(ServiceAccount::Sts).build().await.unwrap_err();
    assert!(matches!(error, StartError::Fallback { source: Error::Unavailable { .. }, .. }), "{error:?}");
}
