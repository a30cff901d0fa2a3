//! The OpenAPI document, built from the descriptions of the routes.

use axum::response::Response;
use utoipa::openapi::Info;

use super::answer;

/// Returns this document.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    operation_id = "openapi",
    responses((status = 200, description = "The description of this API (OpenAPI 3.1).", body = Object))
)]
pub(super) async fn document() -> Response {
    answer::text("application/json", openapi())
}

/// Returns the OpenAPI document as JSON.
#[must_use]
pub fn openapi() -> String {
    let mut document = super::routes().into_openapi();
    let mut info = Info::new("sts-agent", env!("CARGO_PKG_VERSION"));
    info.description = Some(
        "The local process of an agent: verifies its callers, and makes the headers of its calls. On a loopback address every request but `GET /healthz` needs `Authorization: Bearer` with the content of the bearer file."
            .to_owned(),
    );
    document.info = info;
    serde_json::to_string_pretty(&document).unwrap_or_default()
}
