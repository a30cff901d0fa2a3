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
        assert!(lines.starts_with("not verified\n") && lines.contains("sub        alice\n"), "{lines}");

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
    assert_eq!(text.ended_with(0).lines().count(), 6, "one line a claim: {text:?}");
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
