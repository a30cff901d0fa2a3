//! `admin token`.

use std::fs;

use serde_json::Value;

use super::Shop;

#[tokio::test]
async fn a_token_that_was_made_lets_its_operator_in_once_the_configuration_has_its_lines() {
    let shop = Shop::open();
    let made = shop.folder.run(&["admin", "token", "--name", "carol", "--role", "operator"]).await;
    let printed = made.ended_with(0);
    let token = printed.lines().find(|line| line.starts_with("stsadmin_carol.")).expect("a token").to_owned();
    let (_, lines) = printed.split_once("[[admin.tokens]]").expect("lines of the configuration");
    assert!(!lines.contains(&token), "the configuration knows the hash alone");
    let configuration = fs::read_to_string(shop.folder.path("sts.toml")).expect("the configuration");
    shop.folder.write("sts.toml", &format!("{configuration}[[admin.tokens]]{lines}"));
    shop.folder.run(&["check"]).await.ended_with(0);

    let server = shop.folder.serve().await;
    let ask = |token: &str| shop.http.get(format!("{}/admin/v1/agents", server.admin())).bearer_auth(token).send();
    let answer: Value = ask(&token).await.expect("an answer").json().await.expect("JSON");
    assert_eq!(answer["entries"].as_array().map(Vec::len), Some(2), "{answer}");
    assert_eq!(ask(&format!("{token}x")).await.expect("an answer").status().as_u16(), 401);
    assert!(!server.log().contains(&token), "{}", server.log());
}

#[tokio::test]
async fn a_name_or_a_role_that_is_none_is_refused() {
    let shop = Shop::open();
    let named = shop.folder.run(&["admin", "token", "--name", "a b", "--role", "reader"]).await;
    named.ended_with(2);
    assert!(named.stderr.contains("--name: 1 to 64 letters, digits, - and _"), "{named:?}");
    let root = shop.folder.run(&["admin", "token", "--name", "a", "--role", "root"]).await;
    root.ended_with(2);
    assert!(root.stderr.contains("[possible values: reader, operator, admin]"), "{root:?}");
}
