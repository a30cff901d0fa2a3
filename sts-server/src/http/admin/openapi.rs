//! The OpenAPI document, built from the descriptions of the routes.

use std::collections::BTreeMap;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use serde_json::Value;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, Info, OpenApi, Ref, RefOr, Response as Described, ResponseBuilder, ResponsesBuilder, Server,
};
use utoipa::{IntoResponses, PartialSchema as _};

use super::answer::{self, Problem};
use super::call;
use super::{AdminApi, BASE};
use crate::document::FieldFault;

/// The name of the only security scheme.
const BEARER: &str = "bearer";

/// The refusals of an endpoint that reads.
pub(super) struct ReadProblems;

/// The refusals of an endpoint that takes a body or makes a change.
pub(super) struct WriteProblems;

/// Returns this document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "get_openapi",
    tag = "openapi",
    security(()),
    responses((status = 200, description = "The description of this API (OpenAPI 3.1).", body = Object))
)]
pub(super) async fn openapi(State(api): State<AdminApi>, request: Request) -> Response {
    call::open(&api, &request, answer::document(api.document.clone()))
}

/// Builds the document of these routes.
pub(super) fn document(mut routes: OpenApi) -> Bytes {
    let mut info = Info::new("The admin API of agent-sts", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "Reads and changes the registry, the signing keys and the revocations of a security token service, and searches its audit log."
            .to_owned(),
    );
    routes.info = info;
    routes.servers = Some(vec![Server::new(BASE)]);
    routes.security = Some(vec![SecurityRequirement::new(BEARER, Vec::<String>::new())]);
    let components = routes.components.get_or_insert_default();
    let bearer = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An admin token, or an access token of the issuer that the configuration names."));
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer.build()));
    components.schemas.insert("Problem".to_owned(), Problem::schema());
    components.schemas.insert("FieldFault".to_owned(), FieldFault::schema());
    let mut document = serde_json::to_value(&routes).unwrap_or_default();
    if let Some(Value::Object(schemas)) = document.pointer_mut("/components/schemas") {
        // Absent values are omitted. Only an explanation contains null, for a missing tenant.
        for (_, schema) in schemas.iter_mut().filter(|(name, _)| *name != "Outcome") {
            refuse_null(schema);
        }
    }
    if let Some(paths) = document.get_mut("paths") {
        refuse_null(paths);
    }
    Bytes::from(document.to_string())
}

/// Removes null from the values that a schema allows.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(members) => {
            for alternatives in ["type", "oneOf"] {
                let Some(Value::Array(types)) = members.get_mut(alternatives) else { continue };
                types.retain(|kind| kind != "null" && kind.get("type").is_none_or(|kind| kind != "null"));
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    members.remove(alternatives);
                    match only {
                        Value::Object(only) => members.extend(only),
                        only => drop(members.insert(alternatives.to_owned(), only)),
                    }
                }
            }
            if members.get("default").is_some_and(Value::is_null) {
                members.remove("default");
            }
            members.values_mut().for_each(refuse_null);
        }
        Value::Array(elements) => elements.iter_mut().for_each(refuse_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl IntoResponses for ReadProblems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        problems(&[400, 401, 403, 404, 408, 413, 429, 503])
    }
}

impl IntoResponses for WriteProblems {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        problems(&[400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 428, 429, 503])
    }
}

fn problems(statuses: &[u16]) -> BTreeMap<String, RefOr<Described>> {
    let mut responses = ResponsesBuilder::new();
    for status in statuses {
        responses = responses.response(status.to_string(), problem(*status));
    }
    responses.build().responses
}

fn problem(status: u16) -> Described {
    let description = match status {
        400 => "The path, the query, a header or the body cannot be read.",
        401 => "No operator: the bearer token is missing or not accepted.",
        403 => "The operator's role is insufficient.",
        404 => "The object does not exist.",
        408 => "The body took too long.",
        409 => "The request conflicts with the present state. Nothing was changed.",
        412 => "The entry has changed since the client read it.",
        413 => "The body is too large.",
        415 => "The body is not declared as JSON.",
        422 => "The body has faults, all of which are listed. Nothing was changed.",
        428 => "The request does not say which state it changes.",
        429 => "Too many requests or failed attempts.",
        _ => "The service cannot do this now.",
    };
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    ResponseBuilder::new().description(description).content("application/problem+json", content).build()
}
