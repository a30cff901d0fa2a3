//! `apply` and `migrate`.

use super::Shop;

#[tokio::test]
async fn apply_shows_then_changes_then_finds_nothing_to_change() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);

    let shown = shop.folder.run(&["apply", "registry.toml", "--dry-run", "--json"]).await;
    shown.ended_with(0);
    assert_eq!(shown.json()[0]["applied"], false);
    assert_eq!(shown.json()[0]["changes"].as_array().map(Vec::len), Some(4));

    let applied = shop.folder.run(&["apply", "registry.toml"]).await;
    let lines = applied.ended_with(0);
    for line in
        ["add agent coordinator", "add agent inventory", "add delegation coordinator->inventory", "4 changes, applied"]
    {
        assert!(lines.contains(line), "{line:?} is not in:\n{lines}");
    }

    let again = shop.folder.run(&["apply", "registry.toml"]).await;
    assert_eq!(again.ended_with(0), "no changes\n");
}

#[tokio::test]
async fn apply_of_a_file_at_fault_changes_nothing() {
    let shop = Shop::open();
    let at_fault =
        std::fs::read_to_string(shop.folder.path("registry.toml")).expect("a file").replace("accepts", "acepts");
    shop.folder.write("fault.toml", &at_fault);
    let refused = shop.folder.run(&["apply", "fault.toml"]).await;
    let lines = refused.ended_with(1);
    assert!(lines.contains("fault.toml:9: error: unknown key \"acepts\""), "{lines}");
    let plan = shop.folder.run(&["apply", "registry.toml", "--dry-run"]).await;
    assert!(plan.ended_with(0).contains("4 changes, not applied"));
}

#[tokio::test]
async fn migrate_may_be_repeated() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    let again = shop.folder.run(&["migrate", "--json"]).await;
    again.ended_with(0);
    assert_eq!(again.json()[0]["migrated"], true);
}
