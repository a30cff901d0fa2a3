//! Secrets in files are read again when they have changed.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;
use sts_client::Propagator;
use sts_jose::{Algorithm, SigningKey, UnverifiedToken};
use url::form_urlencoded;

use super::class;
use super::hostile::{HostileSts, exchange, json_reply};

/// A file with that content in it; returns the STS of a configuration that names it as its credential.
async fn sts_with(sts: &HostileSts, file: &tempfile::NamedTempFile, credential: &str) -> sts_client::Sts {
    let path = file.path().display();
    let text = format!("[sts]\nissuer = \"{}\"\nclient_id = \"coordinator\"\n{credential} = \"{path}\"", sts.url);
    let text = if credential == "private_key_file" { text + "\nsigning_alg = \"ES256\"" } else { text };
    let builder = Propagator::from_toml(&text).unwrap().clock(Arc::new(sts.clock.clone()));
    builder.build().await.unwrap().sts().unwrap().clone()
}

/// The secret of the latest request, out of its header.
fn secret_of(sts: &HostileSts) -> String {
    let request = sts.requests("/token").pop().unwrap();
    let basic = request.lines().find_map(|line| line.strip_prefix("authorization: Basic ")).unwrap().to_owned();
    let credentials = String::from_utf8(STANDARD.decode(basic).unwrap()).unwrap();
    credentials.strip_prefix("coordinator:").unwrap().to_owned()
}

/// The key that signed the assertion of the latest request.
fn key_of(sts: &HostileSts) -> String {
    let request = sts.requests("/token").pop().unwrap();
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let mut form = form_urlencoded::parse(body.as_bytes());
    let (_, assertion) = form.find(|(name, _)| name == "client_assertion").unwrap();
    UnverifiedToken::parse(&assertion).unwrap().header().kid.clone().unwrap()
}

#[tokio::test]
async fn a_client_secret_that_was_replaced_is_sent_with_the_next_request() {
    let sts = HostileSts::start().await;
    let (user, file) = (sts.user().await, tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), "first\n").unwrap();
    let client = sts_with(&sts, &file, "client_secret_file").await;
    sts.answer([sts.honest()]);
    // What is there meanwhile is no secret: the one from before stays.
    for (content, expected) in [("first\n", "first"), ("the-second", "the-second"), (" \n", "the-second"), ("3", "3")] {
        std::fs::write(file.path(), content).unwrap();
        assert_eq!(class(&exchange(&client, &user).await), "ok");
        assert_eq!(secret_of(&sts), expected, "{content:?}");
    }
    let path = file.path().to_owned();
    drop(file);
    assert!(!path.exists());
    assert_eq!((class(&exchange(&client, &user).await).as_str(), secret_of(&sts).as_str()), ("ok", "3"));
}

#[tokio::test]
async fn a_replaced_secret_is_tried_at_once_though_the_one_before_was_refused() {
    let sts = HostileSts::start().await;
    let (user, file) = (sts.user().await, tempfile::NamedTempFile::new().unwrap());
    std::fs::write(file.path(), "revoked").unwrap();
    let client = sts_with(&sts, &file, "client_secret_file").await;
    sts.answer([json_reply(401, &json!({ "error": "invalid_client" })), sts.honest()]);
    for _ in 0..2 {
        assert_eq!(class(&exchange(&client, &user).await), "refused: invalid_client");
    }
    std::fs::write(file.path(), "new").unwrap();
    assert_eq!((class(&exchange(&client, &user).await).as_str(), sts.count("/token")), ("ok", 2));
}

#[tokio::test]
async fn a_private_key_that_was_replaced_signs_the_next_assertion() {
    let sts = HostileSts::start().await;
    let (user, file) = (sts.user().await, tempfile::NamedTempFile::new().unwrap());
    let keys = [(); 2].map(|()| SigningKey::generate(Algorithm::Es256).unwrap());
    std::fs::write(file.path(), &*keys[0].to_pkcs8()).unwrap();
    let client = sts_with(&sts, &file, "private_key_file").await;
    sts.answer([sts.honest()]);
    for (content, expected) in
        [(keys[0].to_pkcs8().to_vec(), 0), (keys[1].to_pkcs8().to_vec(), 1), (b"no key".to_vec(), 1)]
    {
        std::fs::write(file.path(), content).unwrap();
        assert_eq!(class(&exchange(&client, &user).await), "ok");
        assert_eq!(key_of(&sts), keys[expected].kid());
    }
}
