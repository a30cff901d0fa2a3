//! What the log says of refused requests.

use serde_json::json;

use super::{Agent, Row, bearer};

/// The lines of the log that name this text.
fn lines(agent: &Agent, text: &str) -> Vec<String> {
    agent.log.text().lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

#[tokio::test]
async fn the_first_refusal_of_a_reason_and_an_issuer_is_a_warning_with_what_was_expected() {
    let agent = Agent::start().await;
    let idp = agent.idp.url().to_owned();
    let slash = format!("{idp}/");
    for _ in 0..3 {
        agent.refused("a slash", agent.request(&json!({ "iss": slash })), Row::Token, "issuer_unknown").await;
    }
    let other = agent.request(&json!({ "aud": ["web-app", "another"] }));
    agent.refused("another aud", other, Row::Token, "not_addressed").await;
    let warned = |text: &str| -> Vec<String> {
        lines(&agent, text).into_iter().filter(|line| line.contains(" WARN ")).collect()
    };
    let unknown = warned(&format!("token_iss=\"{slash}\""));
    assert_eq!(unknown.len(), 1, "{unknown:#?}");
    for part in ["reason=\"issuer_unknown\"".to_owned(), format!("expected_iss=[\"{idp}\"]")] {
        assert!(unknown[0].contains(&part), "{part}: {}", unknown[0]);
    }
    let others = warned(&format!("token_iss=\"{idp}\""));
    assert_eq!(others.len(), 1, "{others:#?}");
    for part in [
        "reason=\"not_addressed\"",
        "token_aud=\"web-app another\"",
        "expected_aud=[\"inventory-agent\", \"https://inventory.shop.example/\"]",
    ] {
        assert!(others[0].contains(part), "{part}: {}", others[0]);
    }
    let debug = lines(&agent, &format!("token_iss=\"{slash}\""));
    assert_eq!(debug.iter().filter(|line| line.contains("DEBUG")).count(), 5, "each request is verified twice");

    agent.clock.advance(std::time::Duration::from_secs(600));
    agent.refused("later", agent.request(&json!({ "iss": slash })), Row::Token, "issuer_unknown").await;
    assert_eq!(warned(&format!("token_iss=\"{slash}\"")).len(), 2);
}

#[tokio::test]
async fn a_sender_that_makes_up_issuers_cannot_fill_the_log() {
    let agent = Agent::start().await;
    let prefix = format!("{}/made-up-", agent.idp.url());
    for index in 0..100 {
        let token = agent.idp.sign(&agent.claims_with(&json!({ "iss": format!("{prefix}{index}") })));
        agent.verifier.verify(&bearer(&token)).await.unwrap_err();
    }
    let warnings = lines(&agent, &prefix).into_iter().filter(|line| line.contains(" WARN "));
    assert_eq!(warnings.count(), 32);
    let long = format!("{prefix}\n{}", "x".repeat(1000));
    agent.clock.advance(std::time::Duration::from_secs(600));
    agent.refused("long", agent.request(&json!({ "iss": long })), Row::Token, "issuer_unknown").await;
    let warned = lines(&agent, "xxxx").into_iter().find(|line| line.contains(&prefix)).unwrap();
    assert!(warned.len() < 1_500 && warned.contains("made-up-\\n"), "{warned}");
}
