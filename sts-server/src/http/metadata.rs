//! Authorization server metadata (RFC 8414 §3), under both well-known names.

use axum::extract::State;
use axum::response::Response;
use sts_jose::Algorithm;
use sts_protocol::{Metadata, parameter};

use super::{App, answer};
use crate::client_auth::Method;
use crate::config::Config;

/// Answers with the metadata.
pub(super) async fn metadata(State(app): State<App>) -> Response {
    answer::document(&*app.metadata)
}

/// What is served, and nothing else.
pub(super) fn describe(config: &Config) -> Metadata {
    let at = |path: &str| format!("{}{path}", config.issuer);
    let strings = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let methods = strings(&Method::REGISTERED);
    let algorithms: Vec<String> = Algorithm::ALL.iter().map(ToString::to_string).collect();
    Metadata {
        issuer: config.issuer.clone(),
        token_endpoint: at("/oauth2/token"),
        jwks_uri: at("/oauth2/jwks"),
        grant_types_supported: strings(&[parameter::GRANT_TOKEN_EXCHANGE, parameter::GRANT_CLIENT_CREDENTIALS]),
        response_types_supported: if config.metadata.response_types_none { strings(&["none"]) } else { Vec::new() },
        token_endpoint_auth_methods_supported: methods.clone(),
        token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        introspection_endpoint: at("/oauth2/introspect"),
        introspection_endpoint_auth_methods_supported: methods.clone(),
        introspection_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        revocation_endpoint: at("/oauth2/revoke"),
        revocation_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_signing_alg_values_supported: algorithms,
    }
}
