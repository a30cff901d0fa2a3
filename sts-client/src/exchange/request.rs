//! The requests to the STS: forms and headers.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sts_protocol::parameter::{
    AUDIENCE, AUTHORIZATION_DETAILS, COMPLETION_MODE, DEFERRAL_CODE, GRANT_CLIENT_CREDENTIALS, GRANT_DEFERRED,
    GRANT_TOKEN_EXCHANGE, GRANT_TYPE, REQUESTED_TOKEN_TYPE, RESOURCE, SCOPE, SUBJECT_TOKEN, SUBJECT_TOKEN_TYPE, TOKEN,
};
use sts_protocol::{Tenant, TokenType};
use url::form_urlencoded::Serializer;

use super::{ExchangeRequest, ServiceAccountRequest};
use crate::call::{CorrelationId, Route, X_CORRELATION_ID, X_TENANT_ID};

/// A form POST without client authentication. It has no Debug, because it holds tokens.
#[derive(Clone)]
pub(super) struct Post {
    pub(super) form: String,
    pub(super) headers: HeaderMap,
}

/// The answers that a request allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Completion {
    /// The STS decides at once.
    Immediate,
    /// The STS may defer its answer until a person has decided.
    Deferred,
}

/// The value of `completion_mode` that allows a deferred answer.
const DEFERRED: &str = "deferred";

/// Makes the request of RFC 8693 §2.1.
pub(super) fn exchange(sts_issuer: &str, request: &ExchangeRequest<'_>, completion: Completion) -> Post {
    let subject = request.subject.verified();
    let subject_token_type = if subject.issuer == sts_issuer { TokenType::AccessToken } else { TokenType::Jwt };
    let mut form = Serializer::new(String::new());
    form.append_pair(GRANT_TYPE, GRANT_TOKEN_EXCHANGE)
        .append_pair(SUBJECT_TOKEN, subject.token.expose_secret())
        .append_pair(SUBJECT_TOKEN_TYPE, subject_token_type.as_str())
        .append_pair(REQUESTED_TOKEN_TYPE, TokenType::AccessToken.as_str());
    append_target(&mut form, request.route);
    if completion == Completion::Deferred {
        form.append_pair(COMPLETION_MODE, DEFERRED);
    }
    Post { form: form.finish(), headers: headers(request.correlation_id, subject.tenant.as_ref()) }
}

/// Makes the request for the answer that the STS has deferred.
pub(super) fn poll(code: &SecretString, correlation_id: &CorrelationId) -> Post {
    let mut form = Serializer::new(String::new());
    form.append_pair(GRANT_TYPE, GRANT_DEFERRED).append_pair(DEFERRAL_CODE, code.expose_secret());
    Post { form: form.finish(), headers: headers(correlation_id, None) }
}

/// Makes the request of RFC 6749 §4.4.2.
pub(super) fn client_credentials(request: &ServiceAccountRequest<'_>) -> Post {
    let mut form = Serializer::new(String::new());
    form.append_pair(GRANT_TYPE, GRANT_CLIENT_CREDENTIALS);
    append_target(&mut form, request.route);
    Post { form: form.finish(), headers: headers(request.correlation_id, None) }
}

/// Makes the request of RFC 7662 §2.1.
pub(super) fn introspection(token: &str, correlation_id: &CorrelationId) -> Post {
    let form = Serializer::new(String::new()).append_pair(TOKEN, token).finish();
    Post { form, headers: headers(correlation_id, None) }
}

fn append_target(form: &mut Serializer<'_, String>, route: &Route) {
    if let Some(audience) = &route.audience {
        form.append_pair(AUDIENCE, audience);
    }
    if let Some(resource) = &route.resource {
        form.append_pair(RESOURCE, resource);
    }
    if !route.scope.is_empty() {
        form.append_pair(SCOPE, &route.scope.to_string());
    }
    if !route.authorization_details.is_empty() {
        form.append_pair(AUTHORIZATION_DETAILS, &json!(route.authorization_details).to_string());
    }
}

fn headers(correlation_id: &CorrelationId, tenant: Option<&Tenant>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    headers.insert(X_CORRELATION_ID, correlation_id.header());
    if let Some(tenant) = tenant.and_then(|tenant| HeaderValue::from_str(tenant.as_str()).ok()) {
        headers.insert(X_TENANT_ID, tenant);
    }
    headers
}
