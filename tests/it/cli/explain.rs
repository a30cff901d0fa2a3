//! `explain`.

use super::{IDP, Shop};

#[tokio::test]
async fn explain_says_which_delegation_allows_and_which_rule_refuses() {
    let (shop, _server) = Shop::serving().await;
    let alice = ["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", IDP, "--sub", "alice"];

    let allowed = shop.folder.run(&[&alice[..], &["--tenant", "acme"]].concat()).await;
    let lines = allowed.ended_with(0);
    assert!(lines.contains("allowed by coordinator->inventory"), "{lines}");
    assert!(lines.contains("aud      inventory"), "{lines}");

    let refused = shop.folder.run(&[&alice[..], &["--tenant", "acme", "--scope", "stock:write"]].concat()).await;
    assert!(refused.ended_with(1).contains("refused: invalid_scope (scope_beyond)"), "{refused:?}");

    let refused =
        shop.folder.run(&[&alice[..], &["--tenant", "acme", "--scope", "stock:write", "--json"]].concat()).await;
    refused.ended_with(1);
    let text = refused.json()[0].to_string();
    assert!(text.contains("scope_beyond") && text.contains("client authentication"), "{text}");
}

#[tokio::test]
async fn explain_supposes_no_user_whose_token_would_be_refused() {
    let (shop, _server) = Shop::serving().await;
    let alice = ["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", IDP, "--sub", "alice"];
    let acme = [&alice[..], &["--tenant", "acme"]].concat();

    let without_tenant = shop.folder.run(&alice).await;
    assert!(without_tenant.ended_with(1).contains("(subject_tenant)"), "{without_tenant:?}");
    let by_a_stranger = shop.folder.run(&[&acme[..], &["--chain", "stranger"]].concat()).await;
    assert!(by_a_stranger.ended_with(1).contains("(subject_actor_disabled)"), "{by_a_stranger:?}");
}

#[tokio::test]
async fn explain_verifies_a_real_token_and_issues_nothing() {
    let (shop, _server) = Shop::serving().await;
    shop.folder.write("user.jwt", &shop.user_token());
    let question = ["explain", "--actor", "coordinator", "--target", "inventory", "--subject-token", "@user.jwt"];
    let explained = shop.folder.run(&question).await;
    assert!(explained.ended_with(0).contains("allowed by coordinator->inventory"), "{explained:?}");

    let stolen = ["explain", "--actor", "inventory", "--target", "coordinator", "--subject-token", "@user.jwt"];
    let explained = shop.folder.run(&stolen).await;
    assert!(explained.ended_with(1).contains("(subject_not_addressed)"), "{explained:?}");

    let events = shop.folder.run(&["audit", "list", "--json"]).await;
    assert!(!events.ended_with(0).contains("token."), "an explanation is no decision");
}
