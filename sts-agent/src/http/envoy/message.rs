//! The messages of the service, read and written.

use std::collections::HashMap;

use envoy_types::ext_authz::v3::pb::{
    Address, CheckResponse, DeniedHttpResponse, HeaderAppendAction, HeaderValue as Header, HeaderValueOption,
    HttpResponse, HttpStatus, OkHttpResponse,
};
use envoy_types::pb::envoy::config::core::v3::HeaderMap as RawHeaders;
use envoy_types::pb::envoy::service::auth::v3::AttributeContext;
use envoy_types::pb::google::rpc;
use sts_client::http::uri::Authority;
use sts_client::http::{HeaderMap, HeaderName, HeaderValue};
use sts_client::url::Url;
use tonic::Code;

use super::CheckedHeaders;
use crate::http::answer::{AgentResponse, Failure};
use crate::http::asked;

/// A request that a proxy is about to pass on.
pub(super) struct ProxiedRequest {
    pub(super) method: String,
    /// The path and query.
    pub(super) path: String,
    pub(super) headers: HeaderMap,
    /// The address of the peer of the proxy.
    pub(super) peer: Option<String>,
    scheme: String,
    host: String,
}

impl ProxiedRequest {
    pub(super) fn read(attributes: AttributeContext) -> Result<Self, Failure> {
        let request = attributes.request.and_then(|request| request.http);
        let request = request.ok_or_else(|| Failure::invalid("the question has no HTTP request"))?;
        let peer = attributes.source.and_then(|peer| peer.address?.address).and_then(|address| match address {
            Address::SocketAddress(address) => Some(address.address),
            Address::Pipe(_) | Address::EnvoyInternalAddress(_) => None,
        });
        let headers = match request.header_map {
            Some(raw) => read_raw(raw),
            None => read_joined(request.headers),
        };
        Ok(Self {
            method: request.method,
            path: request.path,
            headers: headers?,
            peer,
            scheme: request.scheme,
            host: request.host,
        })
    }

    /// Returns the URL of the request. It is read as the target reads it, or not at all: a path that
    /// a URL parser would change could choose another route than the one that the request takes.
    pub(super) fn url(&self) -> Result<Url, Failure> {
        let authority = self.host.parse::<Authority>().ok().filter(|host| !host.as_str().contains('@'));
        let authority = authority.ok_or_else(|| Failure::invalid("the host of the call is malformed"))?;
        let url = asked::url(&format!("{}://{authority}{}", self.scheme, self.path))?;
        let path = self.path.split('?').next().unwrap_or_default();
        if url.path() != path || url.fragment().is_some() {
            return Err(Failure::invalid("the path of the call is not in its normal form: set normalize_path"));
        }
        Ok(url)
    }
}

/// Reads headers that the proxy gave as they arrived (`encode_raw_headers`).
fn read_raw(raw: RawHeaders) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for Header { key, value, raw_value } in raw.headers {
        let value = if raw_value.is_empty() { value.into_bytes() } else { raw_value };
        append(&mut headers, &key, &value)?;
    }
    Ok(headers)
}

/// Reads headers whose repetitions the proxy has joined by commas.
fn read_joined(joined: HashMap<String, String>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    for (name, value) in joined {
        append(&mut headers, &name, value.as_bytes())?;
    }
    Ok(headers)
}

fn append(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), Failure> {
    // The method, the path and the host come with them as pseudo-headers.
    if name.starts_with(':') {
        return Ok(());
    }
    let malformed = || Failure::invalid("a header of the request is malformed");
    let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value)) else {
        return Err(malformed());
    };
    headers.try_append(name, value).map_err(|_full| malformed())?;
    Ok(())
}

/// Passes the request on, with its headers changed.
pub(super) fn allowed(CheckedHeaders { before, after, reserved }: CheckedHeaders) -> CheckResponse {
    let mut ok = OkHttpResponse::default();
    // A proxy with `allowed_headers` does not show all headers that it passes on.
    let unseen = reserved.iter().filter(|name| !before.contains_key(*name));
    let removed = before.keys().chain(unseen).filter(|name| !after.contains_key(*name));
    ok.headers_to_remove.extend(removed.map(ToString::to_string));
    for name in after.keys() {
        if before.get_all(name) == after.get_all(name) {
            continue;
        }
        let mut action = HeaderAppendAction::OverwriteIfExistsOrAdd;
        for value in after.get_all(name) {
            ok.headers.push(header(name.as_str(), String::from_utf8_lossy(value.as_bytes()).into_owned(), action));
            action = HeaderAppendAction::AppendIfExistsOrAdd;
        }
    }
    response(Code::Ok, HttpResponse::OkResponse(ok))
}

/// Answers in the place of the target.
pub(super) fn denied(AgentResponse { status, headers, body }: AgentResponse) -> CheckResponse {
    let headers =
        headers.into_iter().map(|[name, value]| header(&name, value, HeaderAppendAction::AppendIfExistsOrAdd));
    let status = Some(HttpStatus { code: i32::from(status) });
    let denied = DeniedHttpResponse { status, headers: headers.collect(), body };
    response(Code::PermissionDenied, HttpResponse::DeniedResponse(denied))
}

fn header(name: &str, value: String, action: HeaderAppendAction) -> HeaderValueOption {
    HeaderValueOption {
        header: Some(Header { key: name.to_owned(), value, raw_value: Vec::new() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    }
}

fn response(code: Code, answer: HttpResponse) -> CheckResponse {
    let status = Some(rpc::Status { code: code.into(), ..rpc::Status::default() });
    CheckResponse { status, http_response: Some(answer), ..CheckResponse::default() }
}
