//! `check`.

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;

use serde_json::json;
use sts_tests::{Fault, TestIssuer};

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
    ("registry.toml:13: error: ", "is already defined at line 6"),
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

#[tokio::test]
async fn check_reads_the_master_key() {
    let shop = Shop::open();
    std::fs::remove_file(shop.folder.path("master.key")).expect("it was there");
    let missing = shop.folder.run(&["check"]).await;
    assert!(
        missing
            .ended_with(1)
            .contains("master.key: error: the master key file master.key does not exist; for a new database"),
        "{missing:?}"
    );
    std::os::unix::fs::symlink("/dev/zero", shop.folder.path("master.key")).expect("a link");
    let device = shop.folder.run(&["check"]).await;
    assert!(device.ended_with(1).contains("cannot be used: not a regular file"), "{device:?}");
    std::fs::remove_file(shop.folder.path("master.key")).expect("it was there");
    shop.folder.write("master.key", "c2hvcnQ=\n");
    let short = shop.folder.run(&["check"]).await;
    assert!(
        short.ended_with(1).contains("must hold one line, the base64 of 32 bytes, but holds the base64 of 5 bytes"),
        "{short:?}"
    );
}

#[tokio::test]
async fn check_and_serve_warn_of_secrets_that_others_may_read() {
    let shop = Shop::open();
    assert_eq!(shop.folder.serve().await.end().await, Some(0));
    assert_eq!(shop.folder.run(&["check"]).await.ended_with(0), "0 errors, 0 warnings\n", "as a server makes it");
    shop.folder.permit("master.key", 0o640);
    shop.folder.permit("sts.db", 0o666);
    let checked = shop.folder.run(&["check"]).await;
    let lines = checked.ended_with(0);
    for warning in [
        "master.key: warning: holds secrets, and others may read or write it (mode 0640); chmod 0600",
        "sts.db: warning: holds secrets, and others may read or write it (mode 0666); chmod 0600",
    ] {
        assert!(lines.lines().any(|line| line.ends_with(warning)), "{warning} is not in:\n{lines}");
    }
    let server = shop.folder.serve().await;
    assert!(server.log().contains("others may read or write it (mode 0640)"), "{}", server.log());
    assert_eq!(server.end().await, Some(0));
}

#[tokio::test]
async fn check_warns_of_an_empty_registry() {
    let folder = Folder::on_sqlite("# nothing yet\n");
    let checked = folder.run(&["check"]).await;
    assert_eq!(
        checked.ended_with(0),
        "registry.toml: warning: the registry has no entries: every request is refused\n0 errors, 1 warning\n"
    );
}

#[tokio::test]
async fn the_hash_of_an_empty_secret_is_a_fault() {
    let hash = |secret: &[u8]| Argon2::default().hash_password(secret).expect("a hash").to_string();
    let folder = Folder::on_sqlite(&format!(
        "[[agents]]\nid = \"a\"\n[agents.auth]\nclient_secret_sha256 = \"{}\"\n\
         [[agents]]\nid = \"b\"\n[agents.auth]\nclient_secret_hash = \"{}\"\n\
         [[agents]]\nid = \"c\"\n[agents.auth]\nclient_secret_hash = \"{}\"\n",
        "E3B0C44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        hash(b""),
        hash(b"secret"),
    ));
    let checked = folder.run(&["check"]).await;
    assert_eq!(
        checked.ended_with(1),
        "registry.toml:4: error: client_secret_sha256 of agent \"a\" is the hash of an empty secret: was $SECRET set?\n\
         registry.toml:8: error: client_secret_hash of agent \"b\" is the hash of an empty secret: was $SECRET set?\n\
         2 errors, 0 warnings\n"
    );
}

#[tokio::test]
async fn check_online_asks_for_every_key_set_and_tells_which_is_out_of_reach() {
    let (alive, dead, empty) = (TestIssuer::start().await, TestIssuer::start().await, TestIssuer::start().await);
    dead.fail(Fault::Status(500));
    empty.publish(json!({ "keys": [{ "kty": "oct", "kid": "odd", "k": "AAAA" }] }));
    let folder = Folder::on_sqlite(&format!(
        "[[issuers]]\nissuer = 'https://alive.example'\njwks_uri = '{}'\nsubject_prefix = 'a:'\n\
         [[issuers]]\nissuer = 'https://dead.example'\njwks_uri = '{}'\nsubject_prefix = 'd:'\n\
         [[issuers]]\nissuer = 'https://empty.example'\njwks_uri = '{}'\nsubject_prefix = 'e:'\n\
         [[agents]]\nid = 'signer'\nauth = {{ jwks_uri = '{}' }}\n",
        alive.jwks_uri(),
        dead.jwks_uri(),
        empty.jwks_uri(),
        dead.jwks_uri(),
    ));
    let offline = folder.run(&["check"]).await;
    assert!(offline.ended_with(0).ends_with("0 errors, 0 warnings\n"), "{offline:?}");
    let online = folder.run(&["check", "--online"]).await;
    let lines = online.ended_with(1);
    for told in [
        format!("issuer https://alive.example: key {} for ES256", alive.key().kid()),
        "error: issuer \"https://dead.example\": ".to_owned(),
        format!("{}: answered with status 500", dead.jwks_uri()),
        "error: agent \"signer\": ".to_owned(),
        "warning: issuer \"https://empty.example\": the key \"odd\" cannot be used: it contains private members"
            .to_owned(),
        "error: issuer \"https://empty.example\": its key set contains no usable key".to_owned(),
    ] {
        assert!(lines.contains(&told), "{told} is not in:\n{lines}");
    }
    assert_eq!(alive.paths().len(), 1, "the command without --online opens no connection");
}
