//! `revoke`, and how a running server follows.

use super::{Shop, claims, follows};

#[tokio::test]
async fn a_revoked_token_is_inactive_within_a_second_and_active_again_when_lifted() {
    let (shop, _server) = Shop::serving().await;
    let (revoked, other) = (shop.token().await, shop.token().await);
    let jti = claims(&revoked)["jti"].as_str().expect("a name").to_owned();
    assert!(shop.is_active(&revoked).await);

    let done = shop.folder.run(&["revoke", "--jti", &jti, "--json"]).await;
    done.ended_with(0);
    assert_eq!(done.json()[0]["revoked"], 1);
    follows("the token is inactive", async || !shop.is_active(&revoked).await).await;
    assert!(shop.is_active(&other).await, "another token of the same user stands");

    let lifted = shop.folder.run(&["revoke", "--jti", &jti, "--lift", "--json"]).await;
    lifted.ended_with(0);
    assert_eq!(lifted.json()[0]["lifted"], true);
    follows("the token is active again", async || shop.is_active(&revoked).await).await;
    shop.folder.run(&["revoke", "--jti", &jti, "--lift"]).await.ended_with(1);
}

#[tokio::test]
async fn a_revoked_user_is_refused_within_a_second_and_served_again_when_lifted() {
    let (shop, _server) = Shop::serving().await;
    let user_token = shop.user_token();
    assert!(shop.exchange(&user_token).await["access_token"].is_string());

    shop.folder.run(&["revoke", "--sub", "alice", "--issuer", super::IDP]).await.ended_with(0);
    follows("the user is refused", async || shop.exchange(&user_token).await["error"] == "invalid_request").await;
    let listed = shop.folder.run(&["audit", "list", "--json"]).await;
    listed.ended_with(0);
    let kinds: Vec<_> = listed.json().iter().map(|event| event["event"].clone()).collect();
    assert!(kinds.contains(&"revoked".into()) && kinds.contains(&"token.refused".into()), "{kinds:?}");

    shop.folder.run(&["revoke", "--sub", "alice", "--issuer", super::IDP, "--lift"]).await.ended_with(0);
    follows("the user is served", async || shop.exchange(&user_token).await["access_token"].is_string()).await;
}
