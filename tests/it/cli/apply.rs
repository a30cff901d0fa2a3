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
async fn apply_does_not_migrate_where_the_configuration_forbids_it() {
    let shop = Shop::open();
    let configuration = std::fs::read_to_string(shop.folder.path("sts.toml")).expect("the configuration");
    shop.folder.write("sts.toml", &configuration.replace("[database]", "[database]\nmigrate = false"));
    let refused = shop.folder.run(&["apply", "registry.toml"]).await;
    refused.ended_with(2);
    assert!(refused.stderr.contains("sts-server migrate"), "{refused:?}");
    shop.folder.run(&["migrate"]).await.ended_with(0);
    shop.folder.run(&["apply", "registry.toml"]).await.ended_with(0);
}

#[tokio::test]
async fn migrate_may_be_repeated() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    let again = shop.folder.run(&["migrate", "--json"]).await;
    again.ended_with(0);
    assert_eq!(again.json()[0]["migrated"], true);
}

#[tokio::test]
async fn an_older_generation_of_the_registry_file_is_never_applied() {
    let shop = Shop::open();
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    shop.folder.run(&["migrate"]).await.ended_with(0);
    shop.folder.write("newer.toml", &format!("generation = 7\n{registry}"));
    let applied = shop.folder.run(&["apply", "newer.toml"]).await;
    assert!(applied.ended_with(0).contains("change generation 7"), "{applied:?}");
    shop.folder.write("older.toml", &format!("generation = 6\n[[agents]]\nid = \"auditor\"\n{registry}"));
    for (file, generation) in [("older.toml", 6), ("registry.toml", 0)] {
        for arguments in [&["apply", file][..], &["apply", file, "--dry-run"]] {
            let refused = shop.folder.run(arguments).await;
            refused.ended_with(2);
            let words = format!("has generation {generation}, and the database has generation 7");
            assert!(refused.stderr.contains(&words), "{refused:?}");
        }
    }
    // A server with such a file serves what the database has.
    let server = shop.folder.serve().await;
    assert!(server.log().contains("the registry file is older than the database: not applied"), "{}", server.log());
    shop.token().await;
    server.end().await;
    // The same generation with other content is applied: only an older one is not.
    shop.folder.write("newer.toml", &format!("generation = 7\n[[agents]]\nid = \"auditor\"\n{registry}"));
    let applied = shop.folder.run(&["apply", "newer.toml"]).await;
    assert_eq!(applied.ended_with(0), "add agent auditor\n1 change, applied\n");
    shop.folder.write("zero.toml", &format!("generation = 0\n{registry}"));
    let refused = shop.folder.run(&["apply", "zero.toml"]).await;
    assert!(refused.ended_with(1).contains("zero.toml:1: error: generation = \"0\": must be 1 to"), "{refused:?}");
}

#[tokio::test]
async fn a_folder_of_registry_files_is_read_as_one() {
    let shop = Shop::open();
    let registry = std::fs::read_to_string(shop.folder.path("registry.toml")).expect("the registry");
    // A relative path is relative to its file.
    let registry = registry.replace("jwks_file = \"", &format!("jwks_file = \"{}", shop.folder.path("").display()));
    shop.folder.write("registry.toml", &registry);
    let (agents, delegations) = registry.split_at(registry.find("[[delegations]]").expect("delegations"));
    std::fs::create_dir(shop.folder.path("registry.d")).expect("a folder");
    shop.folder.write("registry.d/20-delegations.toml", delegations);
    shop.folder.write("registry.d/10-agents.toml", &format!("generation = 3\n{agents}"));
    shop.folder.write("registry.d/.hidden.toml", "not TOML");
    shop.folder.write("registry.d/README", "not TOML either");
    shop.folder.run(&["migrate"]).await.ended_with(0);
    shop.folder.run(&["apply", "registry.toml"]).await.ended_with(0);
    let applied = shop.folder.run(&["apply", "registry.d"]).await;
    assert_eq!(applied.ended_with(0), "change generation 3\n1 change, applied\n", "the same entries");
    shop.folder.write("registry.d/30-more.toml", "generation = 4\n[[agents]]\nidd = \"auditor\"\n");
    let refused = shop.folder.run(&["apply", "registry.d"]).await;
    let lines = refused.ended_with(1);
    assert!(lines.contains("30-more.toml: error: another file of the folder has a generation too"), "{lines}");
    assert!(lines.contains("30-more.toml:3: error: unknown key \"idd\""), "{lines}");
}

#[tokio::test]
async fn a_folder_without_registry_files_removes_nothing() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    shop.folder.run(&["apply", "registry.toml"]).await.ended_with(0);
    let before = shop.folder.run(&["registry", "export"]).await;
    assert!(before.ended_with(0).contains("coordinator"), "{before:?}");
    std::fs::create_dir(shop.folder.path("registry.d")).expect("a folder");
    shop.folder.write("registry.d/README", "agents belong here");
    shop.folder.write("registry.d/.hidden.toml", "generation = 3");
    for arguments in [&["apply", "registry.d"][..], &["apply", "registry.d", "--dry-run"]] {
        let refused = shop.folder.run(arguments).await;
        let lines = refused.ended_with(1);
        assert!(lines.contains("registry.d: error: has no *.toml file"), "{lines}");
    }
    let after = shop.folder.run(&["registry", "export"]).await;
    assert_eq!(after.ended_with(0), before.ended_with(0));
}

#[tokio::test]
async fn an_exported_registry_is_applied_without_a_change() {
    let shop = Shop::open();
    shop.folder.run(&["migrate"]).await.ended_with(0);
    shop.folder.run(&["apply", "registry.toml"]).await.ended_with(0);
    let exported = shop.folder.run(&["registry", "export"]).await;
    shop.folder.write("exported.toml", exported.ended_with(0));
    let again = shop.folder.run(&["apply", "exported.toml"]).await;
    assert_eq!(again.ended_with(0), "no changes\n");
    let json = shop.folder.run(&["registry", "export", "--json"]).await.json();
    assert_eq!(json[0]["agents"].as_array().map(Vec::len), Some(2), "{json:?}");
}
