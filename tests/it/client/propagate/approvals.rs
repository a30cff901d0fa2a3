//! Calls that a person must approve first: reported at once, or waited for.

use std::time::Duration;

use http::Method;
use sts_client::outcome::{Halted, Trace};
use sts_client::propagate::OutboundOperation;
use sts_client::test_util::{MockAnswer, MockSts};
use sts_client::{Approver, OnApproval, Tenant as ClientTenant};
use sts_tests::Setup;
use tokio::sync::watch;

use super::*;

const DETAILS: &str = "approval = { scopes = ['stock:write'], by = 'operator', remember = '10m', wait = '5m' }";

async fn start() -> Harness {
    let setup = Setup::default().operators();
    setup.registry(|registry| registry.delegation("coordinator", "inventory", DETAILS)).start().await
}

fn write() -> Route {
    inventory().scope("stock:write".parse().unwrap())
}

/// The way to the STS. It shortens the pause between polls, and counts the answers to polls.
#[derive(Debug)]
struct Hurried {
    http: HttpTransport,
    polls: watch::Sender<usize>,
}

impl Hurried {
    fn new() -> (Arc<Self>, watch::Receiver<usize>) {
        let (polls, answered) = watch::channel(0);
        (Arc::new(Self { http: HttpTransport::new(Duration::from_secs(10)).unwrap(), polls }), answered)
    }
}

#[async_trait]
impl Transport for Hurried {
    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, TransportError> {
        let is_poll = request.body().windows(13).any(|window| window == b"deferral_code");
        let response = self.http.send(request).await?;
        if is_poll {
            self.polls.send_modify(|polls| *polls += 1);
        }
        Ok(response.map(|body| String::from_utf8(body).unwrap().replace("\"interval\":5", "\"interval\":1").into()))
    }
}

async fn decide(harness: &Harness, id: &str, decision: &str) {
    let request = harness.admin("POST", &format!("/approvals/{id}")).by("operator");
    let answer = request.json(&json!({ "decision": decision })).send().await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// The id of the approval that an equal exchange waits for.
async fn awaited(harness: &Harness) -> String {
    let answer = harness.exchange().set("scope", "stock:write").send().await;
    answer.json["approval_id"].as_str().unwrap_or_else(|| panic!("{}", answer.text())).to_owned()
}

#[tokio::test]
async fn an_approval_is_reported_and_the_same_call_passes_once_it_is_granted() {
    let harness = start().await;
    let propagator = builder(&harness, &Gate::new(OPEN)).route(write()).build().await.unwrap();
    let context = CallContext::from(user(&harness, &harness.user_token()).await);
    let (outcome, headers) = apply(&propagator, &context).await;
    let error = outcome.unwrap_err();
    assert_eq!(text(&headers, "authorization"), None);
    assert!(!error.is_retryable());
    let Error::ApprovalRequired(required) = &error else { panic!("{error:?}") };
    let id = awaited(&harness).await;
    assert_eq!((&required.approval_id, required.approver), (&id, Some(Approver::Operator)));
    assert_eq!(required.interaction_uri.as_str(), format!("{}/approvals/{id}", harness.issuer()));

    let answer = Halted::from(&error).answer(&Trace::from(&context));
    assert_eq!(answer.to_response::<Vec<u8>>().status(), 412);
    let body = answer.to_value();
    assert_eq!((&body["type"], &body["approver"]), (&json!("approval_required"), &json!("operator")));
    assert_eq!((&body["approvalId"], &body["approvalToken"]), (&json!(id), &json!(id)));
    assert_eq!(body["interactionUri"], required.interaction_uri.as_str());

    decide(&harness, &id, "grant").await;
    let (outcome, headers) = apply(&propagator, &context).await;
    assert_eq!(outcome.unwrap(), Credential::Exchanged);
    harness.seen.remember(text(&headers, "authorization").unwrap().strip_prefix("Bearer ").unwrap());
}

#[tokio::test]
async fn a_route_that_waits_gets_the_token_or_the_refusal_that_the_person_decides_on() {
    for (decision, is_bound, expected) in
        [("grant", false, "Exchanged"), ("grant", true, "Exchanged"), ("deny", false, "access_denied")]
    {
        let harness = start().await;
        let (transport, mut polls) = Hurried::new();
        let mut sts = harness.sts_of("coordinator").transport(transport);
        if is_bound {
            sts = sts.dpop();
        }
        let builder = Propagator::builder().sts(sts.build().unwrap()).clock(Arc::new(harness.clock.clone()));
        let propagator = builder.route(write().on_approval(OnApproval::Wait)).build().await.unwrap();
        let context = CallContext::from(user(&harness, &harness.user_token()).await);
        let call = tokio::spawn(async move {
            let mut headers = HeaderMap::new();
            let url = "https://inventory.shop.example/stock".parse().unwrap();
            let operation = OutboundOperation::Request { method: &Method::POST, body: None };
            (propagator.apply_as(&context, &url, &mut headers, operation).await, headers)
        });
        polls.wait_for(|answered| *answered == 1).await.unwrap();
        decide(&harness, &awaited(&harness).await, decision).await;
        let (outcome, headers) = call.await.unwrap();
        assert_eq!(class(&outcome), expected, "{decision}");
        let scheme = if is_bound { "DPoP " } else { "Bearer " };
        let token = text(&headers, "authorization").map(|header| header.strip_prefix(scheme).unwrap());
        assert_eq!(token.is_some(), decision == "grant");
        if let Some(token) = token {
            harness.seen.remember(token);
        }
    }
}

#[tokio::test]
async fn a_wait_without_a_decision_ends_in_a_report() {
    let harness = start().await;
    let sts = harness.sts_of("coordinator").approval_deadline(Duration::from_millis(1)).build().unwrap();
    let builder = Propagator::builder().sts(sts).clock(Arc::new(harness.clock.clone()));
    let propagator = builder.route(write().on_approval(OnApproval::Wait)).build().await.unwrap();
    let (outcome, _) = apply(&propagator, &user(&harness, &harness.user_token()).await.into()).await;
    let Err(Error::ApprovalRequired(required)) = outcome else { panic!("{outcome:?}") };
    assert_eq!(required.approval_id, awaited(&harness).await);
}

/// The answers of an STS in memory to one call that waits, the seconds of tokio's time that it took, and the
/// number of requests.
async fn waited(answers: &[MockAnswer], lifetime: u64) -> (String, u64, usize) {
    let sts = MockSts::new();
    sts.service_account_tenants([ClientTenant::new("acme").unwrap()]);
    let route = Route::to("https://inventory.shop.example/".parse().unwrap()).audience("inventory");
    let route = route.on_approval(OnApproval::Wait).on_outage(OnOutage::ServiceAccount);
    let builder = Propagator::builder().sts(sts.sts("coordinator")).service_account(ServiceAccount::Sts);
    let propagator = builder.route(route).build().await.unwrap();
    let before = sts.requests().len();
    for answer in answers {
        sts.answer_next(answer.clone());
    }
    sts.answer_with(answers.last().unwrap().clone());
    let caller = Caller::for_test().tenant("acme").lifetime(Duration::from_secs(lifetime)).build();
    let began = tokio::time::Instant::now();
    let (outcome, headers) = apply(&propagator, &caller.into()).await;
    assert_eq!(outcome.is_ok(), headers.contains_key("authorization"));
    (class(&outcome), began.elapsed().as_secs(), sts.requests().len() - before)
}

#[tokio::test(start_paused = true)]
async fn a_wait_keeps_the_pauses_of_the_sts_and_ends_with_its_decision() {
    use MockAnswer::{Grant, Load, Refuse, RequireApproval as Pending};
    let load = Load { retry_after: None };
    let rows: [(&str, &[MockAnswer], &str, u64, usize); 6] = [
        ("granted at once", &[Grant], "Exchanged", 0, 1),
        ("granted at the second poll", &[Pending, Pending, Grant], "Exchanged", 10, 3),
        ("slower", &[Pending, Refuse("slow_down"), Pending, Grant], "Exchanged", 5 + 10 + 10, 4),
        ("under load", &[Pending, load, Grant], "Exchanged", 5 + 10, 3),
        ("denied", &[Pending, Refuse("access_denied")], "access_denied", 5, 2),
        ("refused before", &[Refuse("invalid_target")], "invalid_target", 0, 1),
    ];
    for (label, answers, expected, seconds, requests) in rows {
        assert_eq!(waited(answers, 3_600).await, (expected.to_owned(), seconds, requests), "{label}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_with_the_request_or_the_users_token_and_an_answer_that_was_lost_is_asked_for_anew() {
    use MockAnswer::{Grant, Outage, Refuse, RequireApproval as Pending};
    let required = "a person must approve the call first, at https://sts.test/approvals/approval-1";
    // 59 polls fit into 300 s, and 11 into a minute. The report is one request more.
    assert_eq!(waited(&[Pending], 3_600).await, (required.to_owned(), 295, 1 + 59 + 1));
    assert_eq!(waited(&[Pending], 60).await.2, 1 + 11 + 1);
    let lost = [Pending, Outage, Refuse("invalid_grant"), Grant];
    assert_eq!(waited(&lost, 3_600).await, ("Exchanged".to_owned(), 10, 4));
}

#[tokio::test(start_paused = true)]
async fn an_outage_while_a_person_decides_never_leads_to_another_credential() {
    let (outcome, _, requests) = waited(&[MockAnswer::RequireApproval, MockAnswer::Outage], 3_600).await;
    assert_eq!(outcome, "unavailable");
    assert!(requests > 2);
    // The same route falls back in an outage before that.
    assert_eq!(waited(&[MockAnswer::Outage], 3_600).await.0, "Fallback");
}

#[tokio::test]
async fn a_wait_on_a_route_without_a_target_is_refused_at_start() {
    let route = Route::to("https://legacy.shop.example/".parse().unwrap()).pass_through();
    let refused = Propagator::builder().route(route.on_approval(OnApproval::Wait)).build().await.unwrap_err();
    assert!(refused.to_string().contains("on_approval"), "{refused}");
}
