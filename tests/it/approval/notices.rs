//! Notices of approvals that wait: what a receiver gets, and that nothing waits for one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use serde_json::{Value, json};
use sts_jose::UnverifiedToken;
use sts_tests::Harness;
use tokio::net::TcpListener;
use tokio::sync::{Notify, OwnedRwLockWriteGuard, RwLock};

use super::{BY_OPERATOR, awaited, decided, setup, write};

/// More than a notice may take to go.
const PATIENCE: Duration = Duration::from_secs(30);

/// A receiver of notices, and the answers that it gives to the first ones.
#[derive(Debug, Clone, Default)]
struct Receiver {
    notices: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    answers: Arc<Mutex<Vec<u16>>>,
    got: Arc<Notify>,
    /// Held while the receiver does not answer.
    gate: Arc<RwLock<()>>,
    held: Arc<Mutex<Option<OwnedRwLockWriteGuard<()>>>>,
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    let text = String::from_utf8(body.to_vec()).expect("a JWT");
    receiver.notices.lock().expect("no test panics here").push((headers, text));
    receiver.got.notify_one();
    let _open = receiver.gate.read().await;
    let answer = receiver.answers.lock().expect("no test panics here").pop().unwrap_or(202);
    let status = StatusCode::from_u16(answer).expect("a status");
    (status, [("location", "/elsewhere")]).into_response()
}

impl Receiver {
    /// A receiver, and its URL. It answers with these statuses, the last one first, and then takes everything.
    async fn start(answers: &[u16]) -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/approvals", listener.local_addr().expect("an address"));
        let receiver = Self { answers: Arc::new(Mutex::new(answers.to_vec())), ..Self::default() };
        let router =
            Router::new().route("/approvals", post(take)).route("/elsewhere", post(take)).with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.expect("a receiver") });
        (receiver, url)
    }

    /// Answers nothing from now on.
    fn hold(&self) {
        let gate = Arc::clone(&self.gate).try_write_owned().expect("no request is here yet");
        *self.held.lock().expect("no test panics here") = Some(gate);
    }

    /// Answers what has waited, and all that comes.
    fn answer_all(&self) {
        self.held.lock().expect("no test panics here").take();
    }

    /// The notices, as soon as there are so many.
    async fn notices(&self, least: usize) -> Vec<(HeaderMap, String)> {
        let waited = tokio::time::timeout(PATIENCE, async {
            loop {
                let notices = self.notices.lock().expect("no test panics here").clone();
                if notices.len() >= least {
                    return notices;
                }
                self.got.notified().await;
            }
        });
        waited.await.unwrap_or_else(|_| panic!("no {least} notices"))
    }
}

/// Waits until so many notices have ended so. Returns their number.
async fn counted(harness: &Harness, outcome: &str, least: usize) -> usize {
    let name = format!("sts_approval_notices_total{{outcome=\"{outcome}\"}} ");
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            let url = format!("http://{}/metrics", harness.server.admin());
            let text = reqwest::get(url).await.expect("an answer").text().await.expect("metrics");
            let count = text.lines().find_map(|line| line.strip_prefix(&name)).unwrap_or("0");
            let count = count.parse().expect("a number");
            if count >= least {
                return count;
            }
            tokio::task::yield_now().await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("no notice is {outcome}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_8935_a_receiver_gets_a_signed_event_of_each_approval_that_waits() {
    let (receiver, url) = Receiver::start(&[]).await;
    let harness = setup(BY_OPERATOR).option("APPROVALS__NOTIFY_URL", &url).start().await;
    let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": 50 } }]);
    let request = write(&harness).set("authorization_details", details.to_string());
    let id = awaited(request.clone()).await;
    let (headers, notice) = receiver.notices(1).await.remove(0);
    assert_eq!(headers["content-type"], "application/secevent+jwt");
    let token = UnverifiedToken::parse(&notice).expect("a JWT");
    assert_eq!(token.header().typ.as_deref(), Some("secevent+jwt"));
    let claims = harness.verify(&notice).await;
    let shown = harness.admin("GET", &format!("/approvals/{id}")).by("reader").send().await.json;
    let uri = format!("{}/approvals/{id}", harness.issuer());
    let event = json!({ "approval": shown, "interaction_uri": uri });
    let expected = json!({
        "iss": harness.issuer(), "aud": url, "iat": harness.now(), "jti": id,
        "sub_id": { "format": "iss_sub", "iss": harness.idp.url(), "sub": "alice" },
        "events": { "urn:agent-sts:event:approval-waiting": event },
    });
    assert_eq!(claims, expected);
    assert_eq!(shown["authorization_details"], details);
    // An equal request waits for the same decision.
    awaited(request).await;
    let other = awaited(write(&harness)).await;
    let notices = receiver.notices(2).await;
    assert_eq!((notices.len(), harness.verify(&notices[1].1).await["jti"].clone()), (2, json!(other)));
    assert_eq!(counted(&harness, "sent", 2).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notice_is_no_token() {
    let (receiver, url) = Receiver::start(&[]).await;
    let harness = setup(BY_OPERATOR).option("APPROVALS__NOTIFY_URL", &url).start().await;
    awaited(write(&harness)).await;
    let (_, notice) = receiver.notices(1).await.remove(0);
    let answer = harness.exchange().set("subject_token", &notice).send().await;
    assert_eq!((answer.status, answer.error()), (400, "invalid_request"), "{}", answer.text());
    let introspected = harness.introspect("inventory", &notice).send().await;
    assert_eq!(introspected.json, json!({ "active": false }));
}

/// The repetitions after other answers take seconds: the tests of the module have them.
#[tokio::test(flavor = "multi_thread")]
async fn a_notice_that_is_refused_is_sent_once_and_follows_no_redirect() {
    for answers in [&[400][..], &[307]] {
        let (receiver, url) = Receiver::start(answers).await;
        let harness = setup(BY_OPERATOR).option("APPROVALS__NOTIFY_URL", &url).start().await;
        awaited(write(&harness)).await;
        assert_eq!(counted(&harness, "failed", 1).await, 1, "{answers:?}");
        assert_eq!(receiver.notices(1).await.len(), 1, "{answers:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_exchange_waits_for_a_receiver() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", silent.local_addr().expect("an address"));
    let harness = setup(BY_OPERATOR).option("APPROVALS__NOTIFY_URL", &url).start().await;
    let users = (0..12).map(|number| format!("user-{number}"));
    for user in users {
        for amount in 0..25 {
            let token = harness.user_token_with(&json!({ "sub": user }));
            let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]);
            let request = write(&harness).set("subject_token", token).set("authorization_details", details.to_string());
            awaited(request).await;
        }
    }
    // Eight are on their way, and 256 wait for them.
    counted(&harness, "dropped", 1).await;
    let granted: Value = harness.exchange().set("scope", "stock:read").send().await.json;
    assert!(granted["access_token"].is_string(), "{granted}");
}

/// Eight notices are on their way to a receiver that does not answer. The ninth is about an approval that ends meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_notice_of_an_approval_that_has_ended_is_dropped_when_its_turn_comes() {
    let (receiver, url) = Receiver::start(&[]).await;
    receiver.hold();
    let harness = setup(BY_OPERATOR).option("APPROVALS__NOTIFY_URL", &url).start().await;
    let mut ids = Vec::new();
    for amount in 0..9 {
        let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]);
        ids.push(awaited(write(&harness).set("authorization_details", details.to_string())).await);
    }
    receiver.notices(8).await;
    decided(&harness, &ids[8], "deny").await;
    receiver.answer_all();
    assert_eq!(counted(&harness, "dropped", 1).await, 1);
    assert_eq!(counted(&harness, "sent", 8).await, 8);
    for (_, notice) in receiver.notices(8).await {
        assert_ne!(harness.verify(&notice).await["jti"], json!(ids[8]));
    }
}
