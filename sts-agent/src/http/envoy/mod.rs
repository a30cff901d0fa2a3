//! `envoy.service.auth.v3.Authorization`: the same questions, asked by a proxy.
//!
//! Envoy asks before it passes a request on. The context extension `direction` of its configuration
//! says whether the request comes to the agent or from it. A request without it is refused.

mod message;
mod reserved;

use std::sync::Arc;

use envoy_types::ext_authz::v3::pb::{Authorization, AuthorizationServer, CheckRequest, CheckResponse};
use sts_client::http::{HeaderMap, HeaderName, HeaderValue};
use sts_client::propagate::OutboundOperation;
use sts_client::{CallContext, Caller, Kind, X_CORRELATION_ID, X_DELEGATION_FALLBACK, X_TENANT_ID};
use tonic::{Request, Response, Status};

use self::message::ProxiedRequest;
use self::reserved::{CLAIMS, OF_THIS_PROCESS, STRIPPED, remove_twins};
use super::Api;
use super::answer::{self, AgentResponse, Failure};
use super::{asked, verify};
use crate::header_pairs;
use crate::live::Live;
use crate::traces;

/// The path of the one method.
pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// The maximum size of a question, in bytes.
const MAX_QUESTION_BYTES: usize = 512 * 1024;

/// The context extension that says the direction of a request.
const DIRECTION: &str = "direction";

/// The service that proxies ask.
pub(super) struct Envoy(Arc<Live>);

/// Returns the service.
pub(super) fn service(api: &Api) -> AuthorizationServer<Envoy> {
    AuthorizationServer::new(Envoy(Arc::clone(&api.live))).max_decoding_message_size(MAX_QUESTION_BYTES)
}

#[tonic::async_trait]
impl Authorization for Envoy {
    async fn check(&self, request: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        let attributes = request.into_inner().attributes.unwrap_or_default();
        let direction = attributes.context_extensions.get(DIRECTION).map(String::as_str);
        let answer = match direction {
            Some("inbound") => {
                let checked = answer::counted("envoy_inbound", self.inbound(ProxiedRequest::read(attributes))).await;
                checked.map_err(Failure::for_caller)
            }
            Some("outbound") => {
                let checked = answer::counted("envoy_outbound", self.outbound(ProxiedRequest::read(attributes))).await;
                checked.map_err(|failure| failure.for_agent())
            }
            Some(_) | None => {
                let message = "the context extension direction of the proxy is neither inbound nor outbound";
                tracing::warn!("{message}: the request is refused");
                let undirected = async { Err(Failure::misconfigured(message)) };
                answer::counted("envoy", undirected).await.map_err(Failure::for_caller)
            }
        };
        Ok(Response::new(answer.map_or_else(|refusal: AgentResponse| message::denied(refusal), message::allowed)))
    }
}

/// The headers of a request before and after the check.
struct CheckedHeaders {
    /// The headers that the proxy showed, which may not be all.
    before: HeaderMap,
    after: HeaderMap,
    /// The headers that pass only if `after` has them, also if the proxy did not show them.
    reserved: &'static [HeaderName],
}

impl Envoy {
    /// Verifies a request to the agent. What passes has the verified tenant and the correlation id, and
    /// none of the headers that only this process sets.
    async fn inbound(&self, request: Result<ProxiedRequest, Failure>) -> Result<CheckedHeaders, Failure> {
        let ProxiedRequest { method, path, headers, peer, .. } = request?;
        let presented = verify::presented(Some(method), Some(path), peer)?;
        let pairs = header_pairs::write(&headers);
        traces::join([&pairs]);
        let (caller, inbound) = self.0.current().verify(pairs, presented).await?;
        let after = served(headers.clone(), &caller)?;
        self.0.matches().keep(inbound, &caller, &after);
        Ok(CheckedHeaders { before: headers, after, reserved: &CLAIMS })
    }

    /// Makes the headers of a call of the agent.
    async fn outbound(&self, request: Result<ProxiedRequest, Failure>) -> Result<CheckedHeaders, Failure> {
        let request = request?;
        let (method, url) = (asked::method(&request.method)?, request.url()?);
        let headers = request.headers;
        let pairs = header_pairs::write(&headers);
        traces::join([&pairs]);
        let inbound = self.0.matches().find(&headers, self.0.now())?;
        let loaded = self.0.current();
        let context: CallContext = loaded.context(&inbound).await?;
        let mut after = headers.clone();
        for name in OF_THIS_PROCESS {
            after.remove(name);
        }
        remove_twins(&mut after);
        let operation = OutboundOperation::Request { method: &method, body: None };
        let applied = loaded.propagator().apply_as(&context, &url, &mut after, operation).await;
        applied.map_err(|error| Failure::call(&error, &context))?;
        Ok(CheckedHeaders { before: headers, after, reserved: &STRIPPED })
    }
}

/// Returns the headers of a verified request as the agent gets them.
fn served(mut headers: HeaderMap, caller: &Caller) -> Result<HeaderMap, Failure> {
    for name in OF_THIS_PROCESS {
        headers.remove(name);
    }
    remove_twins(&mut headers);
    // A service account that stands in for a user says so; a user has nothing to stand in for.
    if caller.kind() == Kind::User {
        headers.remove(X_DELEGATION_FALLBACK);
    }
    let value = |text: &str| HeaderValue::from_str(text).or(Err(Failure::invalid("the request cannot be passed on")));
    headers.insert(X_CORRELATION_ID, value(caller.correlation_id().as_str())?);
    match caller.tenant() {
        Some(tenant) => headers.insert(X_TENANT_ID, value(tenant.as_str())?),
        None => headers.remove(X_TENANT_ID),
    };
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use envoy_types::ext_authz::v3::pb::HttpResponse;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    /// The names of the headers that the proxy removes.
    fn removed(checked: CheckedHeaders) -> Vec<String> {
        let Some(HttpResponse::OkResponse(ok)) = message::allowed(checked).http_response else {
            panic!("it is refused")
        };
        ok.headers_to_remove
    }

    #[test]
    fn a_verified_request_has_no_header_that_an_agent_could_take_for_one_of_ours() {
        let alice = Caller::for_test().subject("alice").tenant("acme").correlation_id("a").build();
        let forged = headers(&[
            ("x_tenant_id", "evil"),
            ("x-tenant_id", "evil"),
            ("x_correlation_id", "evil"),
            ("x_delegation-fallback", "service-account"),
            ("x_sts_agent_context", "1"),
            ("x_forwarded_client_cert", "evil"),
            ("x_note", "kept"),
            ("x-delegation-fallback", "service-account"),
        ]);
        let expected = headers(&[("x_note", "kept"), ("x-tenant-id", "acme"), ("x-correlation-id", "a")]);
        assert_eq!(served(forged, &alice).ok(), Some(expected));
    }

    #[test]
    fn a_reserved_header_that_the_proxy_does_not_show_is_removed_as_well() {
        let bob = Caller::for_test().subject("bob").correlation_id("a").build();
        let after = served(HeaderMap::new(), &bob).ok().unwrap();
        let checked = CheckedHeaders { before: HeaderMap::new(), after, reserved: &CLAIMS };
        let expected = ["x-tenant-id", "x-delegation-fallback", "x-sts-verified", "x-sts-agent-context"];
        assert_eq!(removed(checked), expected);

        let before = headers(&[("cookie", "session=1"), ("accept", "text/plain")]);
        let after = headers(&[("authorization", "Bearer b"), ("x-correlation-id", "a"), ("accept", "text/plain")]);
        let names = removed(CheckedHeaders { before, after: after.clone(), reserved: &STRIPPED });
        for name in STRIPPED.iter() {
            let count = names.iter().filter(|removed| **removed == name.as_str()).count();
            assert_eq!(count, usize::from(!after.contains_key(name)), "{name}");
        }
    }
}
