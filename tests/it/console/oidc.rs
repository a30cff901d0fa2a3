//! Signing in at the issuer of operators: at a real OpenID provider, and where the way back is wrong.

use std::path::Path;
use std::process::Stdio;

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use serde_json::json;
use sts_tests::{Answer, Harness, Setup, TestIssuer};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use url::Url;

use super::Browser;

const AUDIENCE: &str = "https://sts.example.com/admin";
const URL: &str = "https://sts-admin.example.com";
const CALLBACK: &str = "/console/sign-in/callback";
const SECRET: &str = "q+7/Zk3b %26+cD&=100%==";

/// A provider at which the operator is signed in already.
struct Provider {
    issuer: String,
    /// Its output stays open: it writes there, and would end.
    _child: (Child, Lines<BufReader<ChildStdout>>),
}

impl Provider {
    /// `None` where the machine has no npm.
    async fn start() -> Option<Self> {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console-provider");
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/console/provider");
        let files = ["package.json", "package-lock.json", "provider.mjs"];
        if !sts_tests::node_packages(&directory, &sources, &files, "the sign-in at an OpenID provider").await {
            return None;
        }
        let mut child = Command::new("node")
            .arg("provider.mjs")
            .current_dir(&directory)
            .env("CLIENT_ID", "sts-console")
            .env("CLIENT_SECRET", SECRET)
            .env("REDIRECT_URI", format!("{URL}{CALLBACK}"))
            .env("AUDIENCE", AUDIENCE)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let issuer = lines.next_line().await.expect("text").expect("the address of the provider");
        Some(Self { issuer, _child: (child, lines) })
    }
}

fn setup(issuer: &str) -> Setup {
    let secret = tempfile::NamedTempFile::new().expect("a file").into_temp_path().keep().expect("a file");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("our file");
    Setup::default()
        .option("ADMIN__URL", URL)
        .option("ADMIN__OIDC__ISSUER", issuer)
        .option("ADMIN__OIDC__AUDIENCE", AUDIENCE)
        .option("ADMIN__OIDC__OPERATORS", "on-call")
        .option("ADMIN__OIDC__CLIENT_ID", "sts-console")
        .option("ADMIN__OIDC__CLIENT_SECRET_FILE", secret.to_str().expect("a name"))
}

/// A sign-in that has begun: the URL at the issuer, and the cookie.
async fn begun(browser: &Browser) -> (Url, String) {
    let answer = browser.get("/console/sign-in/issuer").await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let (cookie, attributes) = answer.header(SET_COOKIE.as_str()).split_once("; ").expect("attributes");
    assert_eq!(attributes, "Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=600");
    (answer.header(LOCATION.as_str()).parse().expect("a URL"), cookie.to_owned())
}

/// Follows the provider until it sends the browser back. Returns the path with the code.
async fn returned(mut url: Url) -> String {
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    let http = http.build().expect("a client");
    let mut cookies: Vec<String> = Vec::new();
    for _ in 0..5 {
        if url.path() == CALLBACK {
            return format!("{CALLBACK}?{}", url.query().unwrap_or_default());
        }
        let answer = http.get(url.clone()).header(COOKIE, cookies.join("; ")).send().await.expect("an answer");
        for cookie in answer.headers().get_all(SET_COOKIE) {
            let pair = cookie.to_str().expect("text").split(';').next().unwrap_or_default();
            cookies.push(pair.to_owned());
        }
        let location = answer.headers().get(LOCATION).and_then(|location| location.to_str().ok());
        url = url.join(location.expect("a redirect")).expect("a URL");
    }
    panic!("the provider does not send the browser back: {url}");
}

fn session(answer: &Answer) -> Option<String> {
    let cookies = answer.headers.get_all(SET_COOKIE).iter().filter_map(|cookie| cookie.to_str().ok());
    let pairs = cookies.filter_map(|cookie| cookie.split(';').next());
    pairs.filter(|pair| pair.starts_with("__Host-sts-console=")).map(str::to_owned).next()
}

#[tokio::test]
async fn an_operator_signs_in_at_an_openid_provider_until_the_operator_is_revoked() {
    let Some(provider) = Provider::start().await else { return };
    let harness = setup(&provider.issuer).operators().start().await;
    let mut browser = Browser::new(&harness);
    let page = browser.page("/console/sign-in").await;
    assert!(page.contains(&format!("Sign in at {}", provider.issuer)), "{page}");
    let (url, cookie) = begun(&browser).await;
    let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
    for (name, value) in [
        ("response_type", "code"),
        ("code_challenge_method", "S256"),
        ("scope", "openid"),
        ("resource", AUDIENCE),
        ("redirect_uri", &format!("{URL}{CALLBACK}")),
    ] {
        assert!(query.contains(&(name.to_owned(), value.to_owned())), "{name}: {url}");
    }
    let path = returned(url).await;
    browser.cookie = cookie;
    let answer = browser.get(&path).await;
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), harness.log());
    assert!(answer.text().contains(r#"content="0; url=/console""#), "{}", answer.text());
    let pending = browser.cookie.clone();
    browser.cookie = session(&answer).expect("a session");
    let name = format!("carol of {}", provider.issuer);
    let page = browser.page("/console/why").await;
    assert!(page.contains(&name) && page.contains("(operator)"), "{page}");

    let mut replayed = Browser::new(&harness);
    replayed.cookie = pending;
    let answer = replayed.get(&path).await;
    assert_eq!((answer.status, session(&answer)), (401, None), "a code is for one sign-in: {}", answer.text());

    let body = json!({ "sub": "carol", "issuer": provider.issuer, "unknown": true });
    let revoked = harness.admin("POST", "/revocations").by("admin").json(&body).send().await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    harness.refresh().await;
    let answer = browser.get("/console").await;
    assert_eq!((answer.status, answer.header(LOCATION.as_str())), (303, "/console/sign-in"), "the session has ended");
}

#[tokio::test]
async fn a_wrong_way_back_begins_no_session() {
    let issuer = TestIssuer::start().await;
    let document = json!({
        "issuer": issuer.url(),
        "jwks_uri": format!("{}/jwks", issuer.url()),
        "authorization_endpoint": format!("{}/authorize", issuer.url()),
        "token_endpoint": format!("{}/token", issuer.url()),
    });
    let harness = setup(issuer.url()).start().await;
    issuer.fail(sts_tests::Fault::Body(document.to_string().into_bytes()));
    let mut browser = Browser::new(&harness);
    let (url, cookie) = begun(&browser).await;
    let state = url.query_pairs().find(|(name, _)| name == "state").expect("a state").1.into_owned();
    let foreign = harness_cookie(&issuer).await;
    for (cookie, query) in [
        ("", format!("code=c&state={state}")),
        (foreign.as_str(), format!("code=c&state={state}")),
        ("__Host-sts-console-sign-in=AAAA", format!("code=c&state={state}")),
        (&cookie, "code=c".to_owned()),
        (&cookie, "code=c&state=".to_owned()),
        (&cookie, "code=c&state=other".to_owned()),
        (&cookie, format!("code=c&state={state}&iss=https%3A%2F%2Fother.example")),
        (&cookie, format!("state={state}")),
        (&cookie, format!("error=access_denied&state={state}")),
        (&cookie, format!("code=c&code=d&state={state}")),
        (&cookie, format!("code=%3Cscript%3E&error=%3Cscript%3E&state={state}")),
        // The answer of this token endpoint is not a token.
        (&cookie, format!("code=c&state={state}")),
    ] {
        browser.cookie = cookie.to_owned();
        let answer = browser.get(&format!("{CALLBACK}?{query}")).await;
        assert_eq!((answer.status, session(&answer)), (401, None), "{cookie} {query}: {}", answer.text());
        assert!(!answer.text().contains("<script"), "{}", answer.text());
        let ended = answer.header(SET_COOKIE.as_str());
        assert!(ended.starts_with("__Host-sts-console-sign-in=;"), "a sign-in is tried once: {ended}");
    }
    harness.advance(601);
    browser.cookie = cookie;
    let answer = browser.get(&format!("{CALLBACK}?error=access_denied&state={state}")).await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("took more than 10 minutes"), "{}", answer.text());
}

/// The cookie of a sign-in that began at another service with the same issuer.
async fn harness_cookie(issuer: &TestIssuer) -> String {
    let other = setup(issuer.url()).start().await;
    begun(&Browser::new(&other)).await.1
}

#[tokio::test]
async fn without_a_client_or_an_issuer_that_answers_the_form_is_what_remains() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::new(&harness);
    for path in ["/console/sign-in/issuer", CALLBACK] {
        assert_eq!(browser.get(path).await.status, 404, "{path}");
    }
    assert!(!browser.page("/console/sign-in").await.contains("/console/sign-in/issuer"));

    let issuer = TestIssuer::start().await;
    let harness: Harness = setup(issuer.url()).start().await;
    issuer.fail(sts_tests::Fault::Status(503));
    let answer = Browser::new(&harness).get("/console/sign-in/issuer").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.text().contains("cannot be reached") && answer.text().contains("<form"), "{}", answer.text());
}

#[tokio::test]
async fn the_discovery_document_is_fetched_once_until_it_is_old_and_an_outage_is_not_remembered() {
    let issuer = TestIssuer::start().await;
    let document = json!({
        "issuer": issuer.url(),
        "jwks_uri": format!("{}/jwks", issuer.url()),
        "authorization_endpoint": format!("{}/authorize", issuer.url()),
    });
    let harness = setup(issuer.url()).start().await;
    issuer.fail(sts_tests::Fault::Status(503));
    let browser = Browser::new(&harness);
    assert_eq!(browser.get("/console/sign-in/issuer").await.status, 503);
    issuer.fail(sts_tests::Fault::Body(document.to_string().into_bytes()));
    let fetches = || issuer.paths().iter().filter(|path| path.ends_with("openid-configuration")).count();
    let before = fetches();
    let (first, second) = tokio::join!(begun(&browser), begun(&browser));
    assert_ne!(first.0, second.0, "each has a state of its own");
    begun(&browser).await;
    assert_eq!(fetches() - before, 1);
    harness.advance(5 * 60);
    begun(&browser).await;
    assert_eq!(fetches() - before, 2);
}
