//! Authorization server metadata (RFC 8414 §3), also served under the name of OpenID Connect
//! Discovery.
//!
//! Common parsers require members that RFC 8414 makes optional. SDKs of MCP require an
//! authorization endpoint, and verifiers require the algorithms of ID tokens. The documents have
//! them unless `metadata.minimal` is set.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::response::Response;
use sts_jose::Algorithm;
use sts_protocol::{Metadata, parameter};

use super::{App, answer};
use crate::client_auth::{INTROSPECTION_PATH, Method, REVOCATION_PATH, TOKEN_PATH};
use crate::config::Config;
use crate::keys::KeyRing;

/// The path of `authorization_endpoint` below our issuer.
pub(super) const AUTHORIZATION_PATH: &str = "/oauth2/authorize";

/// Answers with the metadata.
pub(super) async fn metadata(State(app): State<App>) -> Response {
    answer::document(&present(&app))
}

/// Returns the metadata with what the registry says now.
fn present(app: &App) -> Metadata {
    let snapshot = app.sts.snapshot();
    let types = snapshot.registry.detail_types().map(str::to_owned).collect();
    Metadata { authorization_details_types_supported: types, ..(*app.metadata).clone() }
}

/// Answers with the OpenID document: the metadata, and the algorithms that sign tokens now.
pub(super) async fn openid(State(app): State<App>) -> Response {
    let metadata = present(&app);
    if metadata.authorization_endpoint.is_none() {
        return answer::document(&metadata);
    }
    answer::document(&Metadata {
        subject_types_supported: vec!["public".to_owned()],
        id_token_signing_alg_values_supported: algorithms(&app.sts.snapshot().ring),
        ..metadata
    })
}

/// Refuses every authorization request.
pub(super) async fn authorize() -> Response {
    answer::unsupported_response_type()
}

/// Returns the algorithms of the published keys.
fn algorithms(ring: &KeyRing) -> Vec<String> {
    let names: BTreeSet<String> = ring.lives().iter().map(|life| life.algorithm.to_string()).collect();
    names.into_iter().collect()
}

/// Returns the metadata: exactly what the server supports.
pub(super) fn describe(config: &Config) -> Metadata {
    let at = |path: &str| format!("{}{path}", config.issuer);
    let strings = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
    let mut methods = strings(&Method::REGISTERED);
    if config.verifies_client_certificates() {
        methods.push(Method::TLS_CLIENT_AUTH.to_owned());
    }
    let algorithms: Vec<String> = Algorithm::ALL.iter().map(ToString::to_string).collect();
    let minimal = config.metadata.minimal;
    let response_types: &[&str] = if minimal || !config.metadata.response_types_none { &[] } else { &["none"] };
    Metadata {
        issuer: config.issuer.clone(),
        authorization_endpoint: (!minimal).then(|| at(AUTHORIZATION_PATH)),
        token_endpoint: at(TOKEN_PATH),
        jwks_uri: at("/oauth2/jwks"),
        grant_types_supported: strings(&[
            parameter::GRANT_TOKEN_EXCHANGE,
            parameter::GRANT_CLIENT_CREDENTIALS,
            parameter::GRANT_DEFERRED,
        ]),
        response_types_supported: strings(response_types),
        subject_types_supported: Vec::new(),
        id_token_signing_alg_values_supported: Vec::new(),
        token_endpoint_auth_methods_supported: methods.clone(),
        token_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        tls_client_certificate_bound_access_tokens: config.takes_client_certificates(),
        dpop_signing_alg_values_supported: algorithms.clone(),
        authorization_details_types_supported: Vec::new(),
        deferred_token_response_supported: true,
        introspection_endpoint: at(INTROSPECTION_PATH),
        introspection_endpoint_auth_methods_supported: methods.clone(),
        introspection_endpoint_auth_signing_alg_values_supported: algorithms.clone(),
        revocation_endpoint: at(REVOCATION_PATH),
        revocation_endpoint_auth_methods_supported: methods,
        revocation_endpoint_auth_signing_alg_values_supported: algorithms,
    }
}
