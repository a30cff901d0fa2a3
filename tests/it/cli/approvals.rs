//! `approvals`, and a running server that follows.

use super::{Shop, follows};

const APPROVAL: &str = "approval = { scopes = ['stock:read'], by = 'operator' }\n";

#[tokio::test]
async fn an_operator_lists_shows_and_decides_by_commands() {
    let shop = Shop::with("sqlite://sts.db", APPROVAL);
    let _server = shop.folder.serve().await;
    let user_token = shop.user_token();
    let ask = async || shop.exchange(&user_token).await;
    let asked = ask().await;
    assert_eq!(asked["error"], "interaction_required", "{asked}");
    let id = asked["approval_id"].as_str().expect("an id").to_owned();
    let run = async |words: &[&str]| shop.folder.run(&[&["approvals"], words].concat()).await;

    let listed = run(&["list"]).await;
    listed.ended_with(0);
    let parts = [&*id, "pending", "operator", "alice: coordinator -> inventory stock:read"];
    assert!(parts.iter().all(|part| listed.stdout.contains(part)), "{}", listed.stdout);
    let shown = run(&["show", &id, "--json"]).await;
    shown.ended_with(0);
    assert_eq!((&shown.json()[0]["state"], &shown.json()[0]["scope"]), (&"pending".into(), &"stock:read".into()));

    run(&["grant", &id]).await.ended_with(0);
    follows("the exchange passes", async || ask().await["access_token"].is_string()).await;
    let again = run(&["grant", &id]).await;
    again.ended_with(2);
    assert!(again.stderr.contains("the approval is granted"), "{}", again.stderr);
    run(&["withdraw", &id]).await.ended_with(0);
    let anew = ask().await;
    assert_eq!(anew["error"], "interaction_required", "{anew}");
    let next = anew["approval_id"].as_str().expect("an id").to_owned();
    assert_ne!(next, id);
    run(&["deny", &next]).await.ended_with(0);
    follows("the exchange is denied", async || ask().await["error"] == "access_denied").await;
    let listed = run(&["list"]).await;
    assert_eq!(listed.stdout, "", "nothing is open");
    let listed = run(&["list", "--all", "--json"]).await;
    assert_eq!(listed.json().len(), 2);
    run(&["show", "unknown"]).await.ended_with(2);
}
