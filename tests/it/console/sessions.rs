//! Sessions: how they begin, what they carry, how they end.

use http::header::{LOCATION, SET_COOKIE};
use sts_tests::{Operators, Setup};

use super::Browser;

const PAGES: [&str; 7] = [
    "/console",
    "/console/graph",
    "/console/why",
    "/console/chains",
    "/console/approvals",
    "/console/stop",
    "/console/health",
];

#[tokio::test]
async fn without_a_session_every_page_leads_to_the_sign_in() {
    let harness = Setup::default().operators().start().await;
    let mut browser = Browser::new(&harness);
    for cookie in ["", "__Host-sts-console=", "__Host-sts-console=AAAA", "other=1"] {
        browser.cookie = cookie.to_owned();
        for path in PAGES {
            let answer = browser.get(path).await;
            assert_eq!((answer.status, answer.header(LOCATION.as_str())), (303, "/console/sign-in"), "{cookie} {path}");
        }
        let answer = browser.post("/console/stop", &[("kind", "agent"), ("name", "coordinator")]).await;
        assert_eq!((answer.status, answer.header(LOCATION.as_str())), (303, "/console/sign-in"), "{cookie}");
    }
    assert!(harness.store.revocations().await.expect("a database").all().is_empty());
}

#[tokio::test]
async fn the_cookie_is_for_this_host_and_scripts_cannot_read_it() {
    let harness = Setup::default().operators().start().await;
    let token = Operators::all().token("reader");
    let browser = Browser::new(&harness);
    let answer = browser.post("/console/sign-in", &[("token", token)]).await;
    let cookie = answer.header(SET_COOKIE.as_str());
    let (pair, attributes) = cookie.split_once("; ").expect("attributes");
    assert!(pair.starts_with("__Host-sts-console=") && !pair.contains(token), "{cookie}");
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Strict");
    // Each session is another, so that none can be planted before the sign-in.
    let again = browser.post("/console/sign-in", &[("token", token)]).await;
    assert_ne!(again.header(SET_COOKIE.as_str()), cookie);

    let browser = Browser::signed_in(&harness, "reader").await;
    let ended = browser.post("/console/sign-out", &[]).await;
    assert_eq!(ended.header(SET_COOKIE.as_str()), format!("__Host-sts-console=; {attributes}; Max-Age=0"));
}

#[tokio::test]
async fn a_wrong_token_begins_no_session_and_counts_as_a_failed_attempt() {
    let harness = Setup::default().operators().option("LIMITS__FAILED_ATTEMPTS_PER_MINUTE", "10").start().await;
    let browser = Browser::new(&harness);
    for (token, status) in [("stsadmin_reader.wrong", 401), ("", 401), ("a b", 400), ("stsadmin_nobody.x", 401)] {
        let answer = browser.post("/console/sign-in", &[("token", token)]).await;
        assert_eq!((answer.status, answer.header(SET_COOKIE.as_str())), (status, ""), "{token}: {}", answer.text());
    }
    let mut status = 401;
    for _ in 0..20 {
        status = browser.post("/console/sign-in", &[("token", "stsadmin_reader.wrong")]).await.status;
    }
    assert_eq!(status, 429);
    let answer = browser.post("/console/sign-in", &[("token", Operators::all().token("reader"))]).await;
    assert_eq!(answer.status, 429, "{}", answer.text());
}

#[tokio::test]
async fn a_session_ends_after_an_hour_and_no_server_stores_it() {
    let harness = Setup::default().operators().postgres().start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    let replica = harness.replica().await;
    let other = Browser {
        http: browser.http.clone(),
        base: format!("http://{}", replica.server.admin()),
        cookie: browser.cookie.clone(),
    };
    other.page("/console").await;
    harness.advance(59 * 60);
    browser.page("/console").await;
    harness.advance(61);
    let answer = browser.get("/console").await;
    assert_eq!((answer.status, answer.header(LOCATION.as_str())), (303, "/console/sign-in"));
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let harness = Setup::default().operators().start().await;
    let offer =
        || harness.server.sign_in_link(Operators::all().token("admin").to_owned().into(), &sts_jose::SystemEntropy);
    let replaced = offer();
    let link = offer();
    let browser = Browser::new(&harness);
    let path = |link: &str| link.strip_prefix(&browser.base).expect("a link to the console").to_owned();
    let request = browser.http.head(format!("{}{}", browser.base, path(&link)));
    assert_eq!(browser.send(request).await.status, 200, "a HEAD request spends no code");
    for (link, is_accepted) in [(&replaced, false), (&link, true), (&link, false)] {
        let answer = browser.get(&path(link)).await;
        let begun = !answer.header(SET_COOKIE.as_str()).is_empty();
        assert_eq!((answer.status, begun), (if is_accepted { 303 } else { 200 }, is_accepted), "{link}");
    }
}

#[tokio::test]
async fn an_operator_does_what_the_role_allows() {
    let harness = Setup::default().operators().start().await;
    let reader = Browser::signed_in(&harness, "reader").await;
    for path in PAGES {
        let page = reader.page(path).await;
        assert!(page.contains("reader <span class=\"quiet\">(reader)</span>"), "{path}");
    }
    let stop = [("kind", "agent"), ("name", "coordinator"), ("confirm", "coordinator")];
    let answer = reader.submit("/console/stop", &stop).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(answer.text().contains("role_insufficient"), "{}", answer.text());
    let answer = reader.submit("/console/agents/coordinator/disabled", &[("disabled", "true")]).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    harness.exchange().send().await.token();

    let operator = Browser::signed_in(&harness, "operator").await;
    assert_eq!(operator.submit("/console/agents/coordinator/disabled", &[("disabled", "true")]).await.status, 303);
    assert_eq!(harness.exchange().send().await.status, 401);
    assert!(operator.page("/console/agents/coordinator").await.contains("by an operator"));
    assert_eq!(operator.submit("/console/agents/coordinator/disabled", &[("disabled", "false")]).await.status, 303);
    harness.exchange().send().await.token();
}
