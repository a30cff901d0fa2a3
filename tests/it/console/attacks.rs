//! What the console withstands: forms of other sites, names that lead here, frames, and markup in
//! every text that it shows.

use http::header::HOST;
use serde_json::json;
use sts_tests::{Answer, Operators, Setup};

use super::Browser;

#[tokio::test]
async fn a_form_without_the_token_of_its_session_changes_nothing() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "operator").await;
    let other = Browser::signed_in(&harness, "operator").await.form_token().await;
    let stop = [("kind", "agent"), ("name", "coordinator"), ("confirm", "coordinator")];
    for token in [None, Some(""), Some("AAAAAAAAAAAAAAAAAAAAAA"), Some(other.as_str())] {
        let form: Vec<(&str, &str)> = stop.into_iter().chain(token.map(|token| ("form_token", token))).collect();
        for path in ["/console/stop", "/console/stop/lift", "/console/why", "/console/agents/coordinator/disabled"] {
            let answer = browser.post(path, &form).await;
            assert_eq!(answer.status, 403, "{path} {token:?}: {}", answer.text());
        }
    }
    assert!(harness.store.revocations().await.expect("a database").all().is_empty());
    assert_eq!(browser.submit("/console/stop", &stop).await.status, 303);
    assert_eq!(harness.store.revocations().await.expect("a database").all().len(), 1);
}

#[tokio::test]
async fn a_form_of_another_site_is_refused_before_it_is_read() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "operator").await;
    let token = browser.form_token().await;
    let form = [("kind", "agent"), ("name", "coordinator"), ("confirm", "coordinator"), ("form_token", &token)];
    let cases = [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("origin", "http://127.0.0.1:1", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-site", 403),
        ("origin", &browser.base, 303),
        ("sec-fetch-site", "same-origin", 303),
    ];
    for (name, value, status) in cases {
        let request = browser.http.post(format!("{}/console/stop", browser.base)).form(&form).header(name, value);
        let answer = browser.send(request).await;
        assert_eq!(answer.status, status, "{name}: {value}: {}", answer.text());
        let sign_in = browser.http.post(format!("{}/console/sign-in", browser.base));
        let sign_in = sign_in.form(&[("token", Operators::all().token("admin"))]).header(name, value);
        assert_eq!(browser.send(sign_in).await.status, status, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_name_that_leads_here_is_refused_unless_it_is_configured() {
    for (configured, host, status) in [
        (None, "evil.example", 421),
        (None, "localhost.evil.example", 421),
        (None, "127.0.0.1.evil.example", 421),
        (None, "localhost:8081", 200),
        (None, "[::1]:8081", 200),
        (None, "192.0.2.7", 200),
        (Some("https://sts-admin.example.com"), "sts-admin.example.com", 200),
        (Some("https://sts-admin.example.com"), "STS-admin.example.com:443", 200),
        (Some("https://sts-admin.example.com"), "evil.example", 421),
    ] {
        let setup = Setup::default().operators();
        let setup = configured.into_iter().fold(setup, |setup, url| setup.option("ADMIN__URL", url));
        let harness = setup.start().await;
        let browser = Browser::new(&harness);
        let request = browser.http.get(format!("{}/console/sign-in", browser.base)).header(HOST, host);
        let answer = browser.send(request).await;
        assert_eq!(answer.status, status, "{configured:?} {host}: {}", answer.text());
    }
}

/// The headers that keep a page from running anything, from being framed, stored or named elsewhere.
fn assert_sealed(label: &str, answer: &Answer) {
    for (name, value) in [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
        ("referrer-policy", "same-origin"),
        ("cache-control", "no-store"),
    ] {
        assert_eq!(answer.header(name), value, "{label}: {name}");
    }
}

#[tokio::test]
async fn every_page_forbids_scripts_frames_and_stores() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    for path in ["/console", "/console/chains", "/console/nothing", "/console/agents/nothing", "/console/sign-in"] {
        assert_sealed(path, &browser.get(path).await);
    }
    assert_sealed("without a session", &Browser::new(&harness).get("/console").await);
}

/// Texts that would act in a page, an attribute, a URL or a terminal, and what a page shows of each.
const HOSTILE: [(&str, &str); 5] = [
    ("<script>alert(1)</script>", "&#60;script&#62;alert(1)"),
    ("\"><img src=x onerror=alert(1)>", "&#34;&#62;&#60;img"),
    ("javascript:alert(1)", ">javascript:alert(1)<"),
    ("{{7*7}}${7*7}", "{{7*7}}${7*7}"),
    ("\u{202e}evil\u{2066}", "[U+202E]evil[U+2066]"),
];

#[tokio::test]
async fn hostile_texts_are_shown_as_text() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    for (hostile, shown) in HOSTILE {
        // The name of a user reaches the audit log.
        let token = harness.user_token_with(&json!({ "sub": hostile }));
        let _ = harness.exchange_by("coordinator", &token, "inventory").send().await;
        let query = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("agent", hostile), ("tenant", hostile)])
            .finish();
        for path in
            [format!("/console/graph?{query}"), format!("/console/chains?{query}"), "/console/chains".to_owned()]
        {
            let page = browser.get(&path).await.text();
            for obeyed in ["<script", "<img", "href=\"javascript:", "\u{202e}", "\u{2066}"] {
                assert!(!page.contains(obeyed), "{path}: {obeyed}: {page}");
            }
        }
        let chains = browser.page("/console/chains").await;
        assert!(chains.contains(shown), "{hostile}: {chains}");
        let id = url::form_urlencoded::byte_serialize(hostile.as_bytes()).collect::<String>().replace('+', "%20");
        let page = browser.get(&format!("/console/agents/{id}")).await;
        assert!(page.status == 404 && !page.text().contains("<script"), "{}", page.text());
    }
}

#[tokio::test]
async fn a_pasted_token_is_neither_shown_nor_logged_nor_recorded() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    let token = harness.user_token();
    let before = harness.audit_count().await;
    let form = [("actor", "coordinator"), ("target", "inventory"), ("subject_token", token.as_str())];
    let answer = browser.submit("/console/why", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("Allowed by the delegation coordinator-&#62;inventory"), "{}", answer.text());
    let signature = token.rsplit('.').next().expect("a signature");
    assert!(!answer.text().contains(signature) && !harness.log().contains(signature));
    assert_eq!(harness.audit_count().await, before);
}
