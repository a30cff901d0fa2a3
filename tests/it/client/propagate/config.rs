//! Routes, STS and service account as they are written in TOML.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sts_client::{BuildError, Propagator};
use sts_jose::{Algorithm, SigningKey};

/// Files as a configuration names them, beside each other.
fn files() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let der = SigningKey::generate(Algorithm::Es256).unwrap().to_pkcs8();
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(&*der));
    let write = |name: &str, content: &[u8]| std::fs::write(directory.path().join(name), content).unwrap();
    write("secret", b"secret\n");
    write("empty", b" \n");
    write("key.der", &der);
    write("key.pem", pem.as_bytes());
    directory
}

/// What is read of a text in which `DIR` stands for the directory of the files.
fn read(directory: &Path, text: &str) -> Result<(), Box<BuildError>> {
    Propagator::from_toml(&text.replace("DIR", &directory.display().to_string())).map(drop).map_err(Box::new)
}

fn sts(credential: &str) -> String {
    format!("[sts]\nissuer = \"https://sts.example.com\"\nclient_id = \"coordinator\"\n{credential}\n")
}

#[tokio::test]
async fn a_whole_configuration_is_read_and_built() {
    let files = files();
    let text = sts("client_secret_file = \"DIR/secret\"\ndeadline_ms = 3000\nattempt_timeout_ms = 1000\nattempts = 2")
        + r#"
[service_account]
from = "sts"

[[routes]]
url = "https://inventory.shop.example/"
audience = "inventory"
scopes = ["stock:read"]
without_user = "service_account"
forward_headers = ["x-request-priority"]
"#;
    let text = text.replace("DIR", &files.path().display().to_string());
    let propagator = Propagator::from_toml(&text).unwrap().build().await.unwrap();
    let sts = propagator.sts().unwrap();
    assert_eq!((sts.issuer(), sts.client_id()), ("https://sts.example.com", "coordinator"));
}

#[test]
fn each_credential_is_read_from_its_file() {
    let files = files();
    for credential in [
        "client_secret_file = \"DIR/secret\"",
        "private_key_file = \"DIR/key.pem\"\nsigning_alg = \"ES256\"",
        "private_key_file = \"DIR/key.der\"\nsigning_alg = \"ES256\"",
        "token_file = \"DIR/not-there-yet\"",
    ] {
        read(files.path(), &sts(credential)).unwrap();
    }
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let files = files();
    let rows = [
        ("no credential", sts("")),
        ("two credentials", sts("client_secret_file = \"DIR/secret\"\ntoken_file = \"DIR/token\"")),
        ("a key without algorithm", sts("private_key_file = \"DIR/key.pem\"")),
        ("an algorithm without key", sts("client_secret_file = \"DIR/secret\"\nsigning_alg = \"ES256\"")),
        ("an empty secret", sts("client_secret_file = \"DIR/empty\"")),
        ("no source", "[service_account]".to_owned()),
        ("two sources", "[service_account]\nfrom = \"sts\"\ntoken_file = \"DIR/token\"".to_owned()),
        ("a secret for the sts", "[service_account]\nfrom = \"sts\"\nclient_id = \"agent\"".to_owned()),
        ("an issuer alone", "[service_account]\nissuer = \"https://idp.example.com\"".to_owned()),
    ];
    for (what, text) in rows {
        let error = read(files.path(), &text).unwrap_err();
        assert!(matches!(*error, BuildError::Contradiction(_)), "{what}: {error:?}");
    }
}

#[test]
fn what_nobody_knows_is_refused_everywhere() {
    let files = files();
    let rows = [
        "colour = \"red\"".to_owned(),
        sts("client_secret_file = \"DIR/secret\"\nclient_secret = \"secret\""),
        "[service_account]\nfrom = \"elsewhere\"".to_owned(),
        "[service_account]\nfrom = \"sts\"\nscope = \"all\"".to_owned(),
        "[[routes]]\nurl = \"https://a.example/\"\non_outage = \"allow\"".to_owned(),
        "[[routes]]\nurl = \"https://a.example/\"\nretries = 3".to_owned(),
        "[[routes]]\nurl = \"a.example\"".to_owned(),
        sts("private_key_file = \"DIR/key.pem\"\nsigning_alg = \"none\""),
    ];
    for text in rows {
        let error = read(files.path(), &text).unwrap_err();
        assert!(matches!(*error, BuildError::Toml(_)), "{text}: {error:?}");
    }
}

#[test]
fn a_file_that_is_not_there_or_holds_no_key_is_named() {
    let files = files();
    let absent = read(files.path(), &sts("client_secret_file = \"DIR/absent\"")).unwrap_err();
    assert!(matches!(&*absent, BuildError::File { path, .. } if path.ends_with("absent")), "{absent:?}");
    let no_key = sts("private_key_file = \"DIR/secret\"\nsigning_alg = \"ES256\"");
    let no_key = read(files.path(), &no_key).unwrap_err();
    assert!(matches!(&*no_key, BuildError::Key { path, .. } if path.ends_with("secret")), "{no_key:?}");
    let other = sts("private_key_file = \"DIR/key.pem\"\nsigning_alg = \"RS256\"");
    assert!(matches!(*read(files.path(), &other).unwrap_err(), BuildError::Key { .. }));
}
