//! The console, driven as a browser drives it: cookies, forms, redirects.

mod approvals;
mod attacks;
mod oidc;
mod pages;
mod sessions;

use http::header::{COOKIE, LOCATION, SET_COOKIE};
use sts_tests::{Answer, Harness, Operators};

/// A browser with the session of one operator.
struct Browser {
    http: reqwest::Client,
    base: String,
    cookie: String,
}

impl Browser {
    /// A browser without a session.
    fn new(harness: &Harness) -> Self {
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
        let http = http.no_proxy().build().expect("a client");
        Self { http, base: format!("http://{}", harness.server.admin()), cookie: String::new() }
    }

    /// A browser in which this operator has signed in.
    async fn signed_in(harness: &Harness, operator: &str) -> Self {
        let mut browser = Self::new(harness);
        let answer = browser.post("/console/sign-in", &[("token", Operators::all().token(operator))]).await;
        assert_eq!((answer.status, answer.header(LOCATION.as_str())), (303, "/console"), "{}", answer.text());
        let (cookie, _) = answer.header(SET_COOKIE.as_str()).split_once(';').expect("attributes");
        browser.cookie = cookie.to_owned();
        browser
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(self.http.get(format!("{}{path}", self.base))).await
    }

    /// A page that is served, as text.
    async fn page(&self, path: &str) -> String {
        let answer = self.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        answer.text()
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).form(form)).await
    }

    /// A form of a page of this session.
    async fn submit(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        let token = self.form_token().await;
        let form: Vec<(&str, &str)> = form.iter().copied().chain([("form_token", token.as_str())]).collect();
        self.post(path, &form).await
    }

    async fn form_token(&self) -> String {
        let page = self.page("/console/why").await;
        let (_, rest) = page.split_once(r#"name="form_token" value=""#).expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let request = if self.cookie.is_empty() { request } else { request.header(COOKIE, &self.cookie) };
        Answer::of(request.send().await.expect("an answer")).await
    }
}
