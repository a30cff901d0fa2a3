//! `registry unused`: the entries that no token used lately.

use super::Shop;

#[tokio::test]
async fn an_entry_is_unused_until_a_token_is_issued_under_it() {
    let idle = "\n[[agents]]\nid = \"idle\"\nowner = \"Team Stock\"\ndisabled = true\n";
    let shop = Shop::with("sqlite://sts.db", idle);
    let _server = shop.folder.serve().await;
    let unused = async || {
        let unused = shop.folder.run(&["registry", "unused", "--days", "30"]).await;
        unused.ended_with(0);
        unused.stdout
    };
    let before = unused().await;
    let lines: Vec<&str> = before.lines().collect();
    let never = [
        "agent coordinator: never used",
        "agent idle: never used, owner Team Stock, disabled",
        "agent inventory: never used",
        "delegation coordinator->inventory: never used",
    ];
    assert_eq!(lines[..4], never);
    assert!(lines[4].starts_with("4 entries without a use since "), "{before}");

    shop.token().await;
    let after = unused().await;
    assert!(after.starts_with("agent idle: never used, owner Team Stock, disabled\n1 entry without"), "{after}");
    let json = shop.folder.run(&["registry", "unused", "--days", "1", "--json"]).await.json();
    assert_eq!(json[0]["entries"][0]["id"], "idle");
    assert_eq!(json[0]["entries"].as_array().map(Vec::len), Some(1), "{json:?}");
    for days in ["0", "366", "x"] {
        shop.folder.run(&["registry", "unused", "--days", days]).await.ended_with(2);
    }
}
