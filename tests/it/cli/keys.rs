//! `keys`.

use std::collections::HashMap;

use serde_json::Value;

use super::{Shop, follows};

#[tokio::test]
async fn keys_rotate_only_when_verifiers_can_know_the_next_key_or_when_told_so() {
    let (shop, server) = Shop::serving().await;
    let before = states(&shop, &["keys", "list", "--json"]).await;
    assert_eq!(before.len(), 6, "a next and an active key of three algorithms: {before:?}");

    let early = shop.folder.run(&["keys", "rotate"]).await;
    early.ended_with(2);
    assert!(early.stderr.starts_with("error: ") && early.stderr.contains("published"), "{early:?}");
    assert_eq!(states(&shop, &["keys", "list", "--json"]).await, before);

    let after = states(&shop, &["keys", "rotate", "--algorithm", "ES256", "--now", "--json"]).await;
    let next = kid(&before, "next");
    assert_eq!(kid(&after, "active"), next, "the next key signs");
    assert_eq!(kid(&after, "retired"), kid(&before, "active"), "the old one is still published");
    follows("the running server signs with the new key", async || header_kid(&shop.token().await) == next).await;
    let published = shop.http.get(format!("{}/oauth2/jwks", shop.folder.issuer())).send().await.expect("an answer");
    let published = published.text().await.expect("text");
    for state in ["next", "active", "retired"] {
        assert!(published.contains(kid(&after, state)), "{state}: {published}");
    }
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn a_revoked_key_is_gone_at_once() {
    let (shop, _server) = Shop::serving().await;
    let token = shop.token().await;
    assert!(shop.is_active(&token).await);
    let kid = header_kid(&token);
    let revoked = shop.folder.run(&["keys", "revoke", &kid]).await;
    assert!(!revoked.ended_with(0).contains(&kid), "{revoked:?}");
    follows("the running server knows the key no more", async || !shop.is_active(&token).await).await;
}

/// One name in 64 does.
#[tokio::test]
async fn a_key_whose_name_begins_with_a_hyphen_can_be_revoked() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    let unknown = shop.folder.run(&["keys", "revoke", "-Zx0qHGCz3tvZvtF4FMY4xMs1lp3SnCUzATdSuz58goU"]).await;
    unknown.ended_with(2);
    assert!(unknown.stderr.contains("no signing key \"-Zx0qHGCz3tvZvtF4FMY4xMs1lp3SnCUzATdSuz58goU\""), "{unknown:?}");
}

#[tokio::test]
async fn the_master_key_changes_under_a_running_server_and_the_audit_log_verifies_on() {
    let (shop, server) = Shop::serving().await;
    let before = shop.token().await;
    let old = std::fs::read_to_string(shop.folder.path("master.key")).expect("a master key");
    shop.folder.write("new.key", "YW5vdGhlciBtYXN0ZXIga2V5IG9mIHRoZSBjb21wYW4=\n");
    let resealed = shop.folder.run(&["keys", "reseal", "--new-master-key-file", "new.key"]).await;
    assert!(resealed.ended_with(0).starts_with("6 signing keys sealed under the key of new.key"), "{resealed:?}");

    // The server has the old file still: it goes on, and what it writes verifies; it is not to make keys any more.
    let during = shop.token().await;
    assert!(shop.is_active(&before).await);
    let rotated = shop.folder.run(&["keys", "rotate", "--now"]).await;
    rotated.ended_with(2);
    assert!(rotated.stderr.contains("nothing was changed"), "{rotated:?}");
    let unread = shop.folder.run(&["audit", "verify"]).await;
    unread.ended_with(2);
    assert!(unread.stderr.contains("master key"), "{unread:?}");

    shop.folder.write("master.key", &std::fs::read_to_string(shop.folder.path("new.key")).expect("a master key"));
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);
    assert_eq!(server.end().await, Some(0));
    let server = shop.folder.serve().await;
    for token in [before, during, shop.token().await] {
        assert!(shop.is_active(&token).await);
    }
    shop.folder.run(&["keys", "rotate", "--now"]).await.ended_with(0);
    follows("the new server reads what was made since", async || {
        let active = kid(&states(&shop, &["keys", "list", "--json"]).await, "active").to_owned();
        header_kid(&shop.token().await) == active
    })
    .await;
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);

    // And once more, back again: the keys of all chains stay at hand.
    shop.folder.write("old.key", &old);
    shop.folder.run(&["keys", "reseal", "--new-master-key-file", "old.key"]).await.ended_with(0);
    shop.folder.write("master.key", &old);
    shop.folder.run(&["audit", "verify"]).await.ended_with(0);
    assert_eq!(server.end().await, Some(0));
}

/// The state of every key, by algorithm and state.
async fn states(shop: &Shop, arguments: &[&str]) -> HashMap<(String, String), String> {
    let listed = shop.folder.run(arguments).await;
    listed.ended_with(0);
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    listed.json().iter().map(|key| ((text(&key["algorithm"]), text(&key["state"])), text(&key["kid"]))).collect()
}

fn kid<'a>(states: &'a HashMap<(String, String), String>, state: &str) -> &'a str {
    &states[&("ES256".to_owned(), state.to_owned())]
}

fn header_kid(token: &str) -> String {
    let token = sts_jose::UnverifiedToken::parse(token).expect("a JWT");
    token.header().kid.clone().expect("our tokens name their key")
}
