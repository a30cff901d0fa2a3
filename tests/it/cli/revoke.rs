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

#[tokio::test]
async fn a_name_that_is_unknown_is_an_error_that_names_what_was_meant_and_writes_nothing() {
    let (shop, _server) = Shop::serving().await;
    for (words, error) in [
        (&["--agent", "inventry"][..], "--agent: the registry has no agent \"inventry\"; did you mean \"inventory\"?"),
        (&["--agent", "nobody"], "--agent: the registry has no agent \"nobody\"; add --unknown to revoke it anyway"),
        (
            &["--sub", "alice", "--issuer", "https://login.example.con"],
            "--issuer: the registry has no issuer \"https://login.example.con\"; did you mean \"https://login.example.com\"?",
        ),
        (&["--jti", "nosuch"], "--jti: this service has no unexpired token \"nosuch\""),
    ] {
        let words = [&["revoke"][..], words].concat();
        let refused = shop.folder.run(&words).await;
        refused.ended_with(2);
        assert!(refused.stderr.contains(error), "{words:?}: {}", refused.stderr);
        assert_eq!(shop.folder.run(&["revoke", "--list"]).await.stdout, "", "{words:?}");
        let meant = [&words[..], &["--unknown"]].concat();
        shop.folder.run(&meant).await.ended_with(0);
        let lifted = [&words[..], &["--lift"]].concat();
        shop.folder.run(&lifted).await.ended_with(0);
    }
    // No entry of this registry names a tenant: any may be meant.
    shop.folder.run(&["revoke", "--tenant", "acmee"]).await.ended_with(0);
}

#[tokio::test]
async fn a_block_says_that_it_does_not_stop_new_tokens_and_a_hold_stops_them_until_it_is_lifted() {
    let (shop, _server) = Shop::serving().await;
    for (words, advice) in [
        (&["--agent", "coordinator"][..], "use --hold or disable the entry"),
        (&["--sub", "alice", "--issuer", super::IDP], "use --hold"),
        (&["--tenant", "acme"], "use --hold"),
    ] {
        let blocked = shop.folder.run(&[&["revoke"][..], words].concat()).await;
        blocked.ended_with(0);
        let told = format!("revoked: 1 entry, until lifted\ndoes not stop new tokens: {advice}\n");
        assert_eq!(blocked.stdout, told, "{words:?}");
        let held = shop.folder.run(&[&["revoke"][..], words, &["--hold"]].concat()).await;
        held.ended_with(0);
        assert_eq!(held.stdout, "revoked: 1 entry, until lifted\non hold: new tokens are refused too\n");
        let is_refused = async || shop.exchange(&shop.user_token()).await["access_token"].is_null();
        follows("a new token is refused", is_refused).await;
        shop.folder.run(&[&["revoke"][..], words, &["--lift"]].concat()).await.ended_with(0);
        follows("a new token is served", async || shop.exchange(&shop.user_token()).await["access_token"].is_string())
            .await;
    }
    shop.folder.run(&["revoke", "--jti", "x", "--hold"]).await.ended_with(2);
}

#[tokio::test]
async fn what_stands_revoked_is_listed() {
    let (shop, _server) = Shop::serving().await;
    let token = shop.token().await;
    let jti = claims(&token)["jti"].as_str().expect("a name").to_owned();
    for words in [
        &["revoke", "--sub", "alice", "--issuer", super::IDP][..],
        &["revoke", "--agent", "inventory", "--hold"],
        &["revoke", "--jti", &jti],
    ] {
        shop.folder.run(words).await.ended_with(0);
    }
    let listed = shop.folder.run(&["revoke", "--list"]).await;
    listed.ended_with(0);
    let lines: Vec<&str> = listed.stdout.lines().collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with(&format!("sub alice of {}: since ", super::IDP)), "{lines:?}");
    assert!(lines[0].ends_with(", until lifted"), "{lines:?}");
    assert!(
        lines[1].starts_with("agent inventory: since 2") && lines[1].ends_with(", until lifted, hold"),
        "{lines:?}"
    );
    assert!(lines[2].starts_with(&format!("jti {jti} of ")) && !lines[2].contains("lifted"), "{lines:?}");
    let listed = shop.folder.run(&["revoke", "--list", "--json"]).await.json();
    let held: Vec<_> = listed.iter().map(|revocation| revocation["hold"].clone()).collect();
    assert_eq!(held, [false, true, false]);
    assert_eq!(listed[0]["sub"], "alice");
    assert_eq!((&listed[0]["issuer"], listed[0].get("expires_at")), (&super::IDP.into(), None));
}

#[tokio::test]
async fn the_agents_of_an_owner_are_revoked_together_and_an_unknown_owner_is_an_error() {
    let owned = |id: &str| format!("\n[[agents]]\nid = \"{id}\"\nowner = \"Team Stock\"\n");
    let shop = Shop::with("sqlite://sts.db", &[owned("shelf"), owned("scanner")].concat());
    let _server = shop.folder.serve().await;
    let unknown = shop.folder.run(&["revoke", "--owner", "Team Stok"]).await;
    unknown.ended_with(2);
    let told = "--owner: no agent of the registry has the owner \"Team Stok\"; did you mean \"Team Stock\"?";
    assert!(unknown.stderr.contains(told), "{}", unknown.stderr);
    shop.folder.run(&["revoke", "--owner", "Team Stok", "--unknown"]).await.ended_with(0);
    assert_eq!(shop.folder.run(&["revoke", "--list"]).await.stdout, "");

    let revoked = shop.folder.run(&["revoke", "--owner", "Team Stock", "--hold"]).await;
    revoked.ended_with(0);
    assert!(
        revoked.stdout.starts_with("2 agents of Team Stock: scanner shelf\nrevoked: 2 entries"),
        "{}",
        revoked.stdout
    );
    let listed = shop.folder.run(&["revoke", "--list"]).await.stdout;
    assert!(["agent scanner: since", "agent shelf: since"].iter().all(|line| listed.contains(line)), "{listed}");
    assert_eq!(listed.matches("hold").count(), 2, "{listed}");
    shop.folder.run(&["revoke", "--owner", "Team Stock", "--lift"]).await.ended_with(0);
    assert_eq!(shop.folder.run(&["revoke", "--list"]).await.stdout, "");
    shop.folder.run(&["revoke", "--owner", "Team Stock", "--issuer", super::IDP]).await.ended_with(2);
}
