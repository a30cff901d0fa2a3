//! The desk where operations wait for an approval: they leave it, and no caller fills it.

use std::time::Duration;

use serde_json::json;
use sts_client::envelope::Capability;

use super::{World, later, refund};

/// Asks for so many operations that nobody has approved, each under a key of its own.
async fn ask(world: &World, sub: &str, operations: usize) {
    let headers = world.token(&json!({ "sub": sub }));
    for number in 0..operations {
        let sealed = world.seal_as(&headers, &format!("{sub}-{number}"), Capability::WorkflowCommand, &refund()).await;
        world.open(&sealed.envelope, &headers).await.unwrap_err();
    }
}

fn waiting_of(world: &World, sub: &str) -> usize {
    world.desk.waiting().iter().filter(|operation| operation.subject().1 == sub).count()
}

#[tokio::test]
async fn one_user_of_a_peer_leaves_room_for_the_next_one() {
    let world = World::start().await;
    ask(&world, "mallory", 120).await;
    assert_eq!(waiting_of(&world, "mallory"), 34);
    ask(&world, "alice", 3).await;
    assert_eq!(waiting_of(&world, "alice"), 3);
    let id = world.desk.waiting().iter().find(|operation| operation.subject().1 == "alice").unwrap().id();
    assert!(world.desk.approve(&id, sts_jose::Clock::now(&world.clock) + Duration::from_secs(60)));
}

#[tokio::test]
async fn a_peer_with_any_number_of_users_leaves_half_of_the_desk() {
    let world = World::start().await;
    for number in 0..60 {
        ask(&world, &format!("user-{number}"), 1).await;
    }
    assert_eq!(world.desk.waiting().len(), 50);
}

#[tokio::test]
async fn an_operation_that_is_not_asked_for_again_leaves_the_desk_within_the_hour() {
    let world = World::start().await;
    ask(&world, "alice", 2).await;
    later(&world, Duration::from_secs(50 * 60));
    ask(&world, "alice", 1).await;
    later(&world, Duration::from_secs(11 * 60));
    assert_eq!(waiting_of(&world, "alice"), 1, "the one that was asked for again");
    later(&world, Duration::from_secs(50 * 60));
    assert!(world.desk.waiting().is_empty());
}
