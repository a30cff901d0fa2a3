//! Typed outcomes: their form on the wire, how answers are read, and what an agent in the middle makes of them.

use std::time::Duration;

use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use sts_client::outcome::{
    Approval, Clarification, Conflict, Detail, FieldError, Halted, InputType, Location, MAX_OUTCOME_BYTES, Outcome,
    PendingOperation, RequiredInput, Success, Trace, Translator, Validation,
};
use sts_client::{CallContext, CorrelationId, Error, RefusalCode, SystemEntropy};

const TYPES: &str = "application/vnd.yaagents.";

fn trace() -> Trace {
    let context = CallContext::without_user(None, &SystemEntropy);
    Trace::from(&context.with_correlation_id(CorrelationId::from_text("corr-1").unwrap()))
}

fn detail(code: &str) -> Detail {
    Detail::new(code, "it says why")
}

fn input(name: &str, required: bool) -> RequiredInput {
    RequiredInput {
        name: name.to_owned(),
        location: Location::Query,
        input_type: InputType::String,
        required,
        question: "Which one?".to_owned(),
        allowed_values: Some(vec!["a".to_owned(), "b".to_owned()]),
    }
}

fn clarification(inputs: Vec<RequiredInput>) -> Halted {
    Halted::ClarificationRequired(Clarification { detail: detail("CLARIFICATION_REQUIRED"), required_inputs: inputs })
}

fn validation(fields: &[&str]) -> Halted {
    let error = |field: &&str| FieldError { field: (*field).to_owned(), message: "no".to_owned() };
    Halted::ValidationFailed(Validation {
        detail: detail("VALIDATION_FAILED"),
        errors: fields.iter().map(error).collect(),
    })
}

fn approval() -> Halted {
    Halted::ApprovalRequired(Box::new(Approval {
        detail: detail("APPROVAL_REQUIRED"),
        approval_token: "the-approval-token".to_owned(),
        approver: Some("finance".to_owned()),
        approval_id: Some("approval-7".to_owned()),
        interaction_uri: Some("https://sts.example.com/approvals/approval-7".parse().unwrap()),
    }))
}

fn conflict() -> Halted {
    Halted::Conflict(Conflict {
        detail: detail("TAKEN"),
        conflicting_resource_id: Some("order-7".to_owned()),
        retry_after: Some(Duration::from_secs(3)),
    })
}

fn operation() -> Halted {
    Halted::Operation(PendingOperation {
        detail: detail("OPERATION_ACCEPTED"),
        operation_id: "op/1".to_owned(),
        status_url: "/operations/op%2F1".to_owned(),
    })
}

/// Every kind: status, `type`, what follows [`TYPES`].
fn kinds() -> Vec<(Halted, u16, &'static str, &'static str)> {
    let failed = Halted::failed_dependency("DOWN", "it says why", Some(Duration::from_secs(7)));
    vec![
        (operation(), 202, "operation_accepted", "operation+json"),
        (clarification(vec![input("sku", true)]), 400, "clarification_required", "clarification+json"),
        (Halted::forbidden("NO", "it says why"), 403, "forbidden", "error+json"),
        (conflict(), 409, "conflict", "conflict+json"),
        (approval(), 412, "approval_required", "approval-required+json"),
        (validation(&["sku"]), 422, "validation_failed", "validation-error+json"),
        (failed, 424, "failed_dependency", "error+json"),
        (Halted::error("BUG", "it says why"), 500, "error", "error+json"),
    ]
}

fn read(status: u16, media_type: &str, body: &[u8]) -> Outcome<Success> {
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(media_type).unwrap())]);
    Outcome::read(StatusCode::from_u16(status).unwrap(), headers, body.to_vec())
}

#[track_caller]
fn halted<T: std::fmt::Debug>(outcome: Outcome<T>) -> Halted {
    match outcome {
        Outcome::Halted(halted) => halted,
        Outcome::Done(value) => panic!("a success: {value:?}"),
    }
}

#[track_caller]
fn assert_unreadable(outcome: Outcome<Success>, label: &str) {
    match halted(outcome) {
        Halted::FailedDependency(failure) => assert_eq!(failure.detail.code, "UNREADABLE_ANSWER", "{label}"),
        other => panic!("{label}: {other:?}"),
    }
}

#[test]
fn every_kind_is_written_in_its_form_and_read_back() {
    for (outcome, status, name, media_type) in kinds() {
        let response = outcome.clone().answer(&trace()).to_response::<Vec<u8>>();
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], format!("{TYPES}{media_type}"));
        assert_eq!(response.headers()["cache-control"], "no-store");
        let (parts, body) = response.into_parts();
        let json: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(json["type"], name);
        assert_eq!(json["code"], outcome.detail().code);
        assert_eq!(json["message"], "it says why");
        assert_eq!(json["trace"], json!({ "correlationId": "corr-1", "requestId": "corr-1" }));
        assert_eq!(halted(Outcome::read(parts.status, parts.headers, body)), outcome);
        let value = outcome.clone().answer(&trace()).to_value();
        assert_eq!(Halted::from_value(&value).detail(), outcome.detail(), "by another way than HTTP");
    }
}

#[test]
fn an_approval_without_page_is_read_and_one_whose_page_is_none_is_not() {
    let mut body = approval().answer(&trace()).to_value();
    let mut read_with = |page: Value| {
        body["interactionUri"] = page;
        Halted::from_value(&body)
    };
    let Halted::ApprovalRequired(without) = read_with(Value::Null) else { panic!() };
    assert_eq!(without.interaction_uri, None);
    for page in ["javascript:alert(1)", "https://bank.example@evil.example/", "/approvals/7"] {
        let halted = read_with(json!(page));
        assert_eq!(halted.detail().code, "UNREADABLE_ANSWER", "{page}: {halted:?}");
    }
}

#[test]
fn the_words_that_others_use_for_a_kind_are_read_too() {
    let approval = approval().answer(&trace()).to_value();
    let other =
        halted(read(412, "Application/vnd.yaagents.approval+json; charset=utf-8", approval.to_string().as_bytes()));
    let Halted::ApprovalRequired(read_back) = other else { panic!("{other:?}") };
    assert_eq!(
        (read_back.approval_token.as_str(), read_back.approver.as_deref()),
        ("the-approval-token", Some("finance"))
    );
    for (outcome, status, media_type, name) in [
        (validation(&["sku"]), 422, "validation-error+json", "validation_error"),
        (operation(), 202, "operation+json", "operation"),
    ] {
        let mut body = outcome.clone().answer(&trace()).to_value();
        body["type"] = json!(name);
        assert_eq!(halted(read(status, &format!("{TYPES}{media_type}"), body.to_string().as_bytes())), outcome);
    }
}

#[test]
fn what_does_not_agree_with_itself_is_never_a_success() {
    for (outcome, status, name, media_type) in kinds() {
        let body = outcome.answer(&trace()).to_value();
        let media_type = format!("{TYPES}{media_type}");
        for other in [200, 201, 204, 500, 400, 424].into_iter().filter(|other| *other != status) {
            assert_unreadable(read(other, &media_type, body.to_string().as_bytes()), &format!("{name} with {other}"));
        }
        assert_unreadable(read(200, &format!("{TYPES}other+json"), body.to_string().as_bytes()), name);
        for member in ["type", "code", "message", "trace"] {
            let mut without = body.clone();
            without.as_object_mut().unwrap().remove(member);
            assert_unreadable(
                read(status, &media_type, without.to_string().as_bytes()),
                &format!("{name} without {member}"),
            );
        }
        for (member, value) in [
            ("type", json!("success")),
            ("code", json!("a b")),
            ("code", json!("x".repeat(129))),
            ("message", json!("x".repeat(4_097))),
            ("message", json!("a\rb")),
            ("trace", json!({ "correlationId": "c" })),
            ("trace", json!("c")),
        ] {
            let mut changed = body.clone();
            changed[member] = value;
            assert_unreadable(read(status, &media_type, changed.to_string().as_bytes()), &format!("{name} {member}"));
        }
    }
    let error = format!("{TYPES}error+json");
    let bodies: [&[u8]; 5] = [b"", b"[]", b"{", b"\xff", br#"{"type":"error","type":"forbidden"}"#];
    for body in bodies {
        assert_unreadable(read(500, &error, body), &String::from_utf8_lossy(body));
    }
    let mut long = Halted::error("BUG", "x").answer(&trace()).to_value();
    long["padding"] = json!("x".repeat(MAX_OUTCOME_BYTES));
    assert_unreadable(read(500, &error, long.to_string().as_bytes()), "too long");
    let many: Vec<RequiredInput> = (0..257).map(|number| input(&number.to_string(), true)).collect();
    for inputs in [Vec::new(), many] {
        let body = clarification(inputs).answer(&trace()).to_value();
        assert_unreadable(read(400, &format!("{TYPES}clarification+json"), body.to_string().as_bytes()), "inputs");
    }
}

#[test]
fn answers_that_are_no_outcomes_are_read_by_their_status() {
    let plain = |status| read(status, "application/json", b"{\"left\": 3}");
    assert!(matches!(plain(200), Outcome::Done(_)) && matches!(plain(201), Outcome::Done(_)));
    assert!(matches!(plain(204), Outcome::Done(_)));
    assert_unreadable(plain(202), "202 says that it is not done");
    assert!(matches!(halted(plain(403)), Halted::Forbidden(_)));
    assert!(matches!(halted(plain(409)), Halted::Conflict(_)));
    // The target refused what this agent sent: no fault of its caller, whatever the target says of it.
    let forbidden = Halted::forbidden("NO", "x").answer(&trace()).to_value().to_string();
    for answer in [plain(401), read(401, &format!("{TYPES}error+json"), forbidden.as_bytes())] {
        match halted(answer) {
            Halted::FailedDependency(failure) => assert_eq!(failure.detail.code, "UPSTREAM_REFUSED_CREDENTIAL"),
            other => panic!("{other:?}"),
        }
    }
    for status in [302, 400, 404, 418, 422, 424, 429, 500, 502, 503] {
        assert!(matches!(halted(plain(status)), Halted::FailedDependency(_)), "{status}");
    }
    let retry = |value: &'static str| {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(value))]);
        match halted(Outcome::read(StatusCode::SERVICE_UNAVAILABLE, headers, Vec::new())) {
            Halted::FailedDependency(failure) => failure.retry_after,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(retry("17"), Some(Duration::from_secs(17)));
    assert_eq!(retry("999999999"), Some(Duration::from_secs(3_600)), "nobody makes us wait for ever");
    assert_eq!(retry("soon"), None);
}

#[test]
fn a_body_that_is_not_what_was_expected_is_a_failed_dependency() {
    let json = |body: &[u8]| read(200, "application/json", body).json::<u32>();
    assert_eq!(json(b"7"), Outcome::Done(7));
    let Halted::FailedDependency(failure) = halted(json(b"\"secret\"")) else { panic!() };
    assert!(!failure.detail.message.contains("secret"));
}

#[test]
fn an_approval_token_stands_in_no_debug_output() {
    let text = format!("{:?} {:?}", approval(), approval().answer(&trace()));
    assert!(text.contains("finance") && !text.contains("the-approval-token"), "{text}");
}

#[test]
fn text_that_could_forge_a_line_of_a_log_is_not_sent() {
    let body = Halted::error("A CODE\n", "one\r\u{1b}two").answer(&trace()).to_value();
    assert_eq!((&body["code"], &body["message"]), (&json!("ACODE"), &json!("one  two")));
}

fn translator() -> Translator {
    Translator::of("inventory").field("sku", "product", Location::Body).field("n", "count", Location::Body)
}

fn translated(halted: Halted) -> Halted {
    translator().translate(halted)
}

#[test]
fn in_the_middle_424_stays_424_and_500_becomes_424_with_their_own_detail() {
    let failed = Halted::failed_dependency("DOWN", "no power", Some(Duration::from_secs(7)));
    for (halted, retry_after) in [(failed, Some(7)), (Halted::error("DOWN", "no power"), None)] {
        let Halted::FailedDependency(failure) = translated(halted) else { panic!() };
        assert_eq!(failure.detail, Detail::new("DOWN", "inventory: no power"));
        assert_eq!(failure.retry_after, retry_after.map(Duration::from_secs));
    }
}

#[test]
fn in_the_middle_an_approval_a_refusal_and_a_conflict_stay_as_they_are() {
    for halted in [approval(), Halted::forbidden("NO", "no"), conflict()] {
        assert_eq!(translated(halted.clone()), halted);
    }
}

#[test]
fn in_the_middle_fields_have_this_agents_names() {
    let Halted::ClarificationRequired(mapped) =
        translated(clarification(vec![input("sku", true), input("trim", false), input("n", true)]))
    else {
        panic!()
    };
    let fields: Vec<_> = mapped.required_inputs.iter().map(|input| (input.name.as_str(), input.location)).collect();
    assert_eq!(fields, [("product", Location::Body), ("count", Location::Body)]);
    assert_eq!(mapped.required_inputs[0].question, "Which one?");
    assert_eq!(mapped.required_inputs[0].allowed_values.as_ref().unwrap().len(), 2);
    let Halted::ValidationFailed(mapped) = translated(validation(&["n", "sku"])) else { panic!() };
    assert_eq!(mapped.errors.iter().map(|error| error.field.as_str()).collect::<Vec<_>>(), ["count", "product"]);
}

#[test]
fn in_the_middle_what_the_caller_never_said_is_not_asked_of_it() {
    let rows = [
        clarification(vec![input("sku", true), input("warehouse_id", true)]),
        clarification(vec![input("trim", false)]),
        validation(&["sku", "warehouse_id"]),
        validation(&[]),
    ];
    for halted in rows {
        let Halted::FailedDependency(failure) = translated(halted.clone()) else { panic!("{halted:?}") };
        assert_eq!(failure.detail.code, "FIELD_NOT_MAPPED", "{halted:?}");
    }
}

#[test]
fn in_the_middle_an_operation_is_asked_after_here_or_not_at_all() {
    let Halted::FailedDependency(failure) = translated(operation()) else { panic!() };
    assert_eq!(failure.detail.code, "OPERATION_NOT_FOLLOWED");
    for below in ["https://me.example/operations/", "https://me.example/operations"] {
        let Halted::Operation(mapped) = translator().operations(below.parse().unwrap()).translate(operation()) else {
            panic!()
        };
        assert_eq!(mapped.status_url, "https://me.example/operations/op%2F1");
    }
}

#[test]
fn an_outage_of_the_sts_is_424_and_never_500_and_a_refusal_is_403() {
    let status = |error: Error| Halted::from(error).answer(&trace()).to_response::<Vec<u8>>().status().as_u16();
    for code in ["invalid_scope", "invalid_target", "invalid_token", "login_required"] {
        assert_eq!(status(Error::Refused { code: RefusalCode::from_answer(code) }), 403, "{code}");
    }
    let outage = Error::Unavailable { retry_after: Some(Duration::from_secs(9)), outage: None };
    let response = Halted::from(&outage).answer(&trace()).to_response::<Vec<u8>>();
    assert_eq!((response.status().as_u16(), &response.headers()[RETRY_AFTER]), (424, &HeaderValue::from_static("9")));
    assert_eq!(status(Error::Unavailable { retry_after: None, outage: None }), 424);
    let secret = Error::NoRoute {
        url: Box::new("https://internal.example/".parse().unwrap()),
        routes: ["https://internal.example/v1".parse().unwrap()].into(),
    };
    let body = Halted::from(&secret).answer(&trace()).to_value().to_string();
    assert!(!body.contains("internal.example"), "{body}");
    assert_eq!(status(secret), 500);
}

#[test]
fn settling_gives_the_value_or_this_agents_own_answer() {
    assert_eq!(Outcome::Done(7).settle(&translator(), &trace()), Ok(7));
    let failed: Outcome<u32> = Outcome::Halted(Halted::error("BUG", "x"));
    let answer = failed.settle(&translator(), &trace()).unwrap_err();
    assert!(matches!(answer.halted(), Halted::FailedDependency(_)));
    assert_eq!(answer.to_string(), "BUG: inventory: x");
}
