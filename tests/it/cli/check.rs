//! `check`.

use super::Shop;
use crate::process::Folder;

const CONFIGURATION: &str = r#"issuer = "https://sts.example.com/path"
registry = "registry.toml"
colour = "red"

[listen]
publik = "127.0.0.1:8080"
admin = "localhost"

[limits]
max_ttl = "9h"
chain_depth = 0
"#;
const REGISTRY: &str = r#"[[issuers]]
issuer = "https://login.example.com"
algorithms = ["HS256"]
tenant_clam = "org_id"

[[agents]]
id = "coordinator"
default_target = "nobody"
[agents.auth]
client_secret_sha256 = "abc"

[[agents]]
id = "coordinator"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock read"]
max_ttl = "5 minutes"

[[delegation]]
actor = "coordinator"
"#;
/// Where, and what.
const FAULTS: [(&str, &str); 15] = [
    ("sts.toml:1: error: ", "https://sts.example.com"),
    ("sts.toml:3: error: ", "unknown key \"colour\""),
    ("sts.toml:6: error: ", "did you mean \"public\"?"),
    ("sts.toml:7: error: ", "an IP address and a port"),
    ("sts.toml:10: error: ", "at most 8h"),
    ("sts.toml:11: error: ", "1 to 64"),
    ("registry.toml:3: error: ", "HS256"),
    ("registry.toml:4: error: ", "did you mean \"tenant_claim\"?"),
    ("registry.toml:8: error: ", "\"nobody\""),
    ("registry.toml:10: error: ", "64 hexadecimal digits"),
    ("registry.toml:13: error: ", "stands already at line 6"),
    ("registry.toml:17: error: ", "\"inventory\""),
    ("registry.toml:18: error: ", "RFC 6749 section 3.3"),
    ("registry.toml:19: error: ", "such as \"5m\""),
    ("registry.toml:21: error: ", "did you mean \"delegations\"?"),
];

#[tokio::test]
async fn check_tells_every_fault_of_both_files_with_its_line() {
    let folder = Folder::on_sqlite(REGISTRY);
    folder.write("sts.toml", CONFIGURATION);
    let checked = folder.run(&["check"]).await;
    let lines = checked.ended_with(1);
    for (place, words) in FAULTS {
        let is_told = lines.lines().any(|line| line.starts_with(place) && line.contains(words));
        assert!(is_told, "{place}{words} is not in:\n{lines}");
    }
    assert_eq!(lines.lines().filter(|line| line.contains(": error: ")).count(), FAULTS.len(), "{lines}");

    let checked = folder.run(&["check", "--json"]).await;
    checked.ended_with(1);
    let faults = checked.json()[0].as_array().expect("an array of faults").clone();
    let errors: Vec<_> = faults.iter().filter(|fault| fault["severity"] == "error").collect();
    assert_eq!(errors.len(), FAULTS.len());
    assert_eq!((&errors[0]["file"], &errors[0]["line"]), (&"sts.toml".into(), &1.into()));
}

#[tokio::test]
async fn check_finds_nothing_in_files_without_fault() {
    let shop = Shop::open();
    let checked = shop.folder.run(&["check"]).await;
    assert_eq!(checked.ended_with(0), "0 errors, 0 warnings\n");
}
