//! `token decode`.

use std::process::Stdio;

use serde_json::json;
use sts_jose::Algorithm;
use sts_tests::TestKey;
use tokio::io::AsyncWriteExt as _;

use super::Shop;
use crate::process::command;

#[tokio::test]
async fn token_decode_reads_an_argument_a_file_and_standard_input() {
    let shop = Shop::open();
    let token = shop.user_token();
    shop.folder.write("user.jwt", &token);
    for argument in [token.as_str(), "@user.jwt"] {
        let decoded = shop.folder.run(&["token", "decode", argument]).await;
        let lines = decoded.ended_with(0);
        assert!(
            lines.starts_with("not verified: this command only reads\nheader     alg ES256  no typ  kid ")
                && lines.contains("sub        alice\n"),
            "{lines}"
        );

        let decoded = shop.folder.run(&["token", "decode", argument, "--json"]).await;
        decoded.ended_with(0);
        let decoded = decoded.json()[0].clone();
        assert_eq!((&decoded["claims"]["sub"], &decoded["verified"]), (&"alice".into(), &false.into()));
    }

    let mut decode = command(&shop.folder.path("")).await;
    decode.args(["token", "decode"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut decode = decode.spawn().expect("it starts");
    decode.stdin.take().expect("it is piped").write_all(token.as_bytes()).await.expect("it reads");
    let output = decode.wait_with_output().await.expect("it ends");
    assert!(String::from_utf8_lossy(&output.stdout).contains("sub        alice\n"));
}

#[tokio::test]
async fn token_decode_prints_nothing_that_steers_a_terminal() {
    let shop = Shop::open();
    let evil = "\u{1b}]0;x\u{7}\u{9b}31m\u{202e}\n";
    let claims = json!({ "sub": evil, evil: evil, "act": { "sub": evil }, "nested": [{ evil: evil }] });
    let key = TestKey::new(Algorithm::Es256);
    let token = key.sign_with(&json!({ "alg": "ES256", "typ": evil, "kid": "k" }), &claims);
    let is_printable = |line: &str| line.chars().all(|character| !character.is_control() && character != '\u{202e}');
    let text = shop.folder.run(&["token", "decode", &token]).await;
    assert!(text.ended_with(0).lines().all(is_printable), "{text:?}");
    assert_eq!(text.ended_with(0).lines().count(), 7, "one line a claim: {text:?}");
    let json = shop.folder.run(&["token", "decode", &token, "--json"]).await;
    assert!(json.ended_with(0).lines().all(is_printable), "{json:?}");
    assert_eq!(json.json()[0]["claims"], claims, "the same claims");
}

#[tokio::test]
async fn token_decode_of_something_else_is_an_error_that_does_not_repeat_it() {
    let shop = Shop::open();
    let decoded = shop.folder.run(&["token", "decode", "not-a-token"]).await;
    assert_eq!(decoded.ended_with(2), "");
    assert!(decoded.stderr.starts_with("error: ") && !decoded.stderr.contains("not-a-token"), "{decoded:?}");
}

#[tokio::test]
async fn token_decode_shows_what_is_refused_and_says_why_nothing_verifies_it() {
    let shop = Shop::open();
    let part = |value: &serde_json::Value| {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE.encode(value.to_string())
    };
    let token =
        |header: serde_json::Value| format!("{}.{}.c2lnbmF0dXJl", part(&header), part(&json!({ "sub": "alice" })));
    for (token, said) in [
        (token(json!({ "alg": "HS256" })), "no public key verifies it"),
        (token(json!({ "alg": "ES512", "crit": ["x"] })), "signed"),
        (format!("Bearer {}", token(json!({ "alg": "RS256" }))), "signed"),
        (token(json!({ "alg": "none" })), "not signed"),
    ] {
        let decoded = shop.folder.run(&["token", "decode", &token]).await;
        let lines = decoded.ended_with(0);
        assert!(lines.contains(said) && lines.contains("sub        alice\n"), "{said}: {lines}");
    }
    let encrypted = format!("{}.a.b.c.d", part(&json!({ "alg": "RSA-OAEP", "enc": "A256GCM", "kid": "k" })));
    let decoded = shop.folder.run(&["token", "decode", &encrypted]).await;
    assert!(decoded.ended_with(0).contains("encrypted") && decoded.ended_with(0).contains("RSA-OAEP"), "{decoded:?}");
    let decoded = shop.folder.run(&["token", "decode", "gho_16C7e42F292c6912E7710c838347Ae178B4a"]).await;
    assert_eq!(decoded.ended_with(2), "");
    assert!(decoded.stderr.contains("opaque"), "{decoded:?}");
}
