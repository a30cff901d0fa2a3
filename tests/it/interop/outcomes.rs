//! Typed outcomes with the SDK of YAAgents: what its server answers, we read; what we answer, its client reads.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use sts_client::outcome::{
    Approval, Clarification, Detail, Halted, InputType, Location, Outcome, PendingOperation, RequiredInput, Trace,
    Validation,
};
use sts_client::{CallContext, SystemEntropy};

use super::python;

fn detail(code: &str) -> Detail {
    Detail::new(code, "why")
}

/// Ours, and what their client calls it.
fn ours() -> Vec<(Halted, &'static str)> {
    let input = RequiredInput {
        name: "sku".to_owned(),
        location: Location::Body,
        input_type: InputType::String,
        required: true,
        question: "Which one?".to_owned(),
        allowed_values: None,
    };
    let operation = PendingOperation {
        detail: detail("OPERATION_ACCEPTED"),
        operation_id: "op-1".to_owned(),
        status_url: "/operations/op-1".to_owned(),
    };
    let approval = Approval {
        detail: detail("APPROVAL_REQUIRED"),
        approval_token: "t".to_owned(),
        approver: None,
        approval_id: None,
        interaction_uri: None,
    };
    vec![
        (Halted::Operation(operation), "payload"),
        (
            Halted::ClarificationRequired(Clarification {
                detail: detail("CLARIFICATION_REQUIRED"),
                required_inputs: vec![input],
            }),
            "ClarificationRequired",
        ),
        (
            Halted::ValidationFailed(Validation { detail: detail("VALIDATION_FAILED"), errors: Vec::new() }),
            "ValidationFailed",
        ),
        (Halted::ApprovalRequired(Box::new(approval)), "AgenticError"),
        (Halted::forbidden("NO", "why"), "AgenticForbidden"),
        (Halted::conflict("TAKEN", "why", None), "AgenticError"),
        (Halted::failed_dependency("DOWN", "why", None), "FailedDependency"),
        (Halted::error("BUG", "why"), "AgenticError"),
    ]
}

#[tokio::test]
async fn outcomes_are_read_both_ways() {
    let trace = Trace::from(&CallContext::without_user(None, &SystemEntropy));
    let answers = ours().into_iter().map(|(halted, _)| {
        let (parts, body) = halted.answer(&trace).to_response::<Vec<u8>>().into_parts();
        let content_type = parts.headers[CONTENT_TYPE].to_str().unwrap();
        json!({ "status": parts.status.as_u16(), "content_type": content_type, "body": String::from_utf8(body).unwrap() })
    });
    let answers = Value::Array(answers.collect()).to_string();
    let printed = python::run("outcomes.py", &[&answers]).await.unwrap();

    for ((halted, kind), read) in ours().into_iter().zip(printed["read"].as_array().unwrap()) {
        assert_eq!(read["kind"], kind, "{halted:?}");
        assert_eq!(read["body"], halted.clone().answer(&trace).to_value(), "{halted:?}");
    }

    let theirs = printed["theirs"].as_array().unwrap();
    let kinds: Vec<String> = theirs.iter().map(kind).collect();
    let expected = [
        "done 200",
        "done 201",
        "operation op-1 /operations/op-1",
        "clarification sku Which one? [\"a\", \"b\"]",
        "validation sku none such",
        "approval the-token",
        "forbidden NO no",
        "conflict TAKEN order-7",
        "failed_dependency DOWN down",
        "error BUG bug",
    ];
    assert_eq!(kinds, expected);
}

/// What we make of an answer of theirs.
fn kind(answer: &Value) -> String {
    let text = |member: &str| answer[member].as_str().unwrap();
    let status = StatusCode::from_u16(answer["status"].as_u64().unwrap().try_into().unwrap()).unwrap();
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_str(text("content_type")).unwrap())]);
    match Outcome::read(status, headers, text("body").as_bytes().to_vec()) {
        Outcome::Done(success) => format!("done {}", success.status.as_u16()),
        Outcome::Halted(halted) => match halted {
            Halted::Operation(operation) => format!("operation {} {}", operation.operation_id, operation.status_url),
            Halted::ClarificationRequired(clarification) => {
                let input = &clarification.required_inputs[0];
                format!("clarification {} {} {:?}", input.name, input.question, input.allowed_values.as_ref().unwrap())
            }
            Halted::ValidationFailed(validation) => {
                format!("validation {} {}", validation.errors[0].field, validation.errors[0].message)
            }
            Halted::ApprovalRequired(approval) => format!("approval {}", approval.approval_token),
            Halted::Forbidden(detail) => format!("forbidden {} {}", detail.code, detail.message),
            Halted::Conflict(conflict) => {
                format!("conflict {} {}", conflict.detail.code, conflict.conflicting_resource_id.unwrap())
            }
            Halted::FailedDependency(failure) => {
                format!("failed_dependency {} {}", failure.detail.code, failure.detail.message)
            }
            Halted::Error(detail) => format!("error {} {}", detail.code, detail.message),
        },
    }
}
