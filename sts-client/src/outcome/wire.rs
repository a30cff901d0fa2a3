//! The format of outcomes: statuses, media types and members, for reading and writing.

use http::StatusCode;
use serde_json::{Map, Value, json};

use super::members::{MAX_CODE_CHARS, Unreadable, items, message, optional, text};
use super::trace::Trace;
use super::{
    Approval, Clarification, Conflict, Detail, Failure, FieldError, Halted, InputType, Location, PendingOperation,
    RequiredInput, Validation,
};
use crate::call::page;

/// The common start of all media types of outcomes.
pub(super) const VENDOR: &str = "application/vnd.yaagents.";

/// The names of an outcome in the format. If there are several, the first is sent.
pub(super) struct Row {
    pub(super) status: StatusCode,
    pub(super) media_types: &'static [&'static str],
    types: &'static [&'static str],
    read: fn(&Map<String, Value>, Detail) -> Result<Halted, Unreadable>,
}

const OPERATION: Row = Row {
    status: StatusCode::ACCEPTED,
    media_types: &["application/vnd.yaagents.operation+json"],
    types: &["operation_accepted", "operation"],
    read: |body, detail| {
        let (operation_id, status_url) = (text(body, "operationId")?, text(body, "statusUrl")?);
        Ok(Halted::Operation(PendingOperation { detail, operation_id, status_url }))
    },
};
const CLARIFICATION: Row = Row {
    status: StatusCode::BAD_REQUEST,
    media_types: &["application/vnd.yaagents.clarification+json"],
    types: &["clarification_required"],
    read: |body, detail| {
        let required_inputs = items(body, "requiredInputs", required_input)?;
        if required_inputs.is_empty() {
            return Err(Unreadable("requiredInputs is absent or empty"));
        }
        Ok(Halted::ClarificationRequired(Clarification { detail, required_inputs }))
    },
};
const VALIDATION: Row = Row {
    status: StatusCode::UNPROCESSABLE_ENTITY,
    media_types: &["application/vnd.yaagents.validation-error+json"],
    types: &["validation_failed", "validation_error"],
    read: |body, detail| {
        let errors = items(body, "errors", field_error)?;
        Ok(Halted::ValidationFailed(Validation { detail, errors }))
    },
};
const APPROVAL: Row = Row {
    status: StatusCode::PRECONDITION_FAILED,
    media_types: &["application/vnd.yaagents.approval-required+json", "application/vnd.yaagents.approval+json"],
    types: &["approval_required"],
    read: |body, detail| {
        let (approval_token, approver) = (text(body, "approvalToken")?, optional(body, "approver")?);
        let approval_id = optional(body, "approvalId")?;
        let interaction_uri = match optional(body, "interactionUri")? {
            None => None,
            Some(uri) => Some(page(&uri).ok_or(Unreadable("interactionUri is not the url of a page"))?),
        };
        let approval = Approval { detail, approval_token, approver, approval_id, interaction_uri };
        Ok(Halted::ApprovalRequired(Box::new(approval)))
    },
};
const CONFLICT: Row = Row {
    status: StatusCode::CONFLICT,
    media_types: &["application/vnd.yaagents.conflict+json"],
    types: &["conflict"],
    read: |body, detail| {
        let conflicting_resource_id = optional(body, "conflictingResourceId")?;
        Ok(Halted::Conflict(Conflict { detail, conflicting_resource_id, retry_after: None }))
    },
};
const ERROR_TYPES: &[&str] = &["application/vnd.yaagents.error+json"];
const FORBIDDEN: Row = Row {
    status: StatusCode::FORBIDDEN,
    media_types: ERROR_TYPES,
    types: &["forbidden"],
    read: |_, detail| Ok(Halted::Forbidden(detail)),
};
const FAILED_DEPENDENCY: Row = Row {
    status: StatusCode::FAILED_DEPENDENCY,
    media_types: ERROR_TYPES,
    types: &["failed_dependency"],
    read: |_, detail| Ok(Halted::FailedDependency(Failure { detail, retry_after: None })),
};
const ERROR: Row = Row {
    status: StatusCode::INTERNAL_SERVER_ERROR,
    media_types: ERROR_TYPES,
    types: &["error"],
    read: |_, detail| Ok(Halted::Error(detail)),
};

static ROWS: [Row; 8] = [OPERATION, CLARIFICATION, VALIDATION, APPROVAL, CONFLICT, FORBIDDEN, FAILED_DEPENDENCY, ERROR];

impl Halted {
    pub(super) fn row(&self) -> Row {
        match self {
            Self::Operation(_) => OPERATION,
            Self::ClarificationRequired(_) => CLARIFICATION,
            Self::ValidationFailed(_) => VALIDATION,
            Self::ApprovalRequired(_) => APPROVAL,
            Self::Conflict(_) => CONFLICT,
            Self::Forbidden(_) => FORBIDDEN,
            Self::FailedDependency(_) => FAILED_DEPENDENCY,
            Self::Error(_) => ERROR,
        }
    }
}

/// Reads a body. `http` holds the status and media type of an HTTP answer, which must match the
/// body.
pub(super) fn read(body: &Map<String, Value>, http: Option<(StatusCode, &str)>) -> Result<Halted, Unreadable> {
    let name = text(body, "type")?;
    let row = ROWS.iter().find(|row| row.types.contains(&name.as_str())).ok_or(Unreadable("an unknown type"))?;
    if let Some((status, media_type)) = http
        && !(row.status == status && row.media_types.iter().any(|own| own.eq_ignore_ascii_case(media_type)))
    {
        return Err(Unreadable("type, status and media type do not agree"));
    }
    let trace = body.get("trace").and_then(Value::as_object).ok_or(Unreadable("trace is absent"))?;
    text(trace, "correlationId")?;
    text(trace, "requestId")?;
    let detail = Detail { code: text(body, "code")?, message: message(body)? };
    let is_code = |char: char| char.is_ascii_alphanumeric() || "_.:-".contains(char);
    if detail.code.len() > MAX_CODE_CHARS || !detail.code.chars().all(is_code) {
        return Err(Unreadable("code is none"));
    }
    (row.read)(body, detail)
}

/// Writes the body of an outcome.
pub(super) fn write(halted: &Halted, trace: &Trace) -> Value {
    let name = halted.row().types.first().copied().unwrap_or_default();
    let Detail { code, message } = halted.detail();
    let mut body = Map::new();
    for (member, value) in [("type", json!(name)), ("code", json!(code)), ("message", json!(message))] {
        body.insert(member.to_owned(), value);
    }
    let mut put = |member: &str, value: Value| body.insert(member.to_owned(), value);
    match halted {
        Halted::Operation(operation) => {
            put("operationId", json!(operation.operation_id));
            put("statusUrl", json!(operation.status_url));
        }
        Halted::ClarificationRequired(clarification) => {
            put("requiredInputs", clarification.required_inputs.iter().map(write_input).collect());
        }
        Halted::ValidationFailed(Validation { errors, .. }) => {
            let error = |error: &FieldError| json!({ "field": error.field, "message": error.message });
            put("errors", errors.iter().map(error).collect());
        }
        Halted::ApprovalRequired(approval) => {
            put("approvalToken", json!(approval.approval_token));
            if let Some(approver) = &approval.approver {
                put("approver", json!(approver));
            }
            if let Some(id) = &approval.approval_id {
                put("approvalId", json!(id));
            }
            if let Some(uri) = &approval.interaction_uri {
                put("interactionUri", json!(uri.as_str()));
            }
        }
        Halted::Conflict(conflict) => {
            if let Some(id) = &conflict.conflicting_resource_id {
                put("conflictingResourceId", json!(id));
            }
        }
        Halted::Forbidden(_) | Halted::FailedDependency(_) | Halted::Error(_) => {}
    }
    put("trace", json!({ "correlationId": trace.correlation_id(), "requestId": trace.request_id() }));
    Value::Object(body)
}

fn write_input(input: &RequiredInput) -> Value {
    let mut value = json!({
        "name": input.name,
        "location": name_of(&LOCATIONS, input.location),
        "type": name_of(&INPUT_TYPES, input.input_type),
        "required": input.required,
        "question": input.question,
    });
    if let (Some(allowed), Value::Object(members)) = (&input.allowed_values, &mut value) {
        members.insert("allowedValues".to_owned(), json!(allowed));
    }
    value
}

const LOCATIONS: [(&str, Location); 4] =
    [("body", Location::Body), ("query", Location::Query), ("path", Location::Path), ("header", Location::Header)];
const INPUT_TYPES: [(&str, InputType); 5] = [
    ("string", InputType::String),
    ("integer", InputType::Integer),
    ("boolean", InputType::Boolean),
    ("array", InputType::Array),
    ("object", InputType::Object),
];

fn name_of<T: Copy + PartialEq>(names: &[(&'static str, T)], value: T) -> &'static str {
    names.iter().find(|(_, named)| *named == value).map_or("", |(name, _)| name)
}

fn named<T: Copy>(names: &[(&'static str, T)], body: &Map<String, Value>, member: &str) -> Result<T, Unreadable> {
    let name = text(body, member)?;
    let found = names.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| *value).ok_or(Unreadable("a member has a value that it cannot have"))
}

fn required_input(value: &Value) -> Result<RequiredInput, Unreadable> {
    let body = value.as_object().ok_or(Unreadable("an item is not an object"))?;
    let allowed =
        |value: &Value| value.as_str().map(str::to_owned).ok_or(Unreadable("an allowed value is not a string"));
    let allowed_values = match body.get("allowedValues") {
        None | Some(Value::Null) => None,
        Some(_) => Some(items(body, "allowedValues", allowed)?),
    };
    Ok(RequiredInput {
        name: text(body, "name")?,
        location: named(&LOCATIONS, body, "location")?,
        input_type: named(&INPUT_TYPES, body, "type")?,
        required: body.get("required").and_then(Value::as_bool).ok_or(Unreadable("required is not a boolean"))?,
        question: text(body, "question")?,
        allowed_values,
    })
}

fn field_error(value: &Value) -> Result<FieldError, Unreadable> {
    let body = value.as_object().ok_or(Unreadable("an item is not an object"))?;
    Ok(FieldError { field: text(body, "field")?, message: text(body, "message")? })
}
