//! Checks of every request to the console, before anything is read: the host that it names, and for
//! a form the site that it comes from.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, Method, Uri};

use super::super::{AdminApi, answer};

/// Passes on a request of this site. Refuses the others with a line of text.
pub(super) async fn guard(State(api): State<AdminApi>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let Some(host) = host(headers, api.administration.admin_host()) else {
        return answer::wrong_host();
    };
    if request.method() != Method::GET && request.method() != Method::HEAD && !is_of_this_site(headers, &host) {
        return answer::other_site();
    }
    next.run(request).await
}

/// Returns the host of a request if no other site can have made a browser send it here by changing
/// the address of its own name (DNS rebinding): an address, `localhost`, or the configured name.
fn host(headers: &HeaderMap, configured: Option<&str>) -> Option<Authority> {
    let authority: Authority = headers.get(HOST)?.to_str().ok()?.parse().ok()?;
    let name = authority.host().trim_start_matches('[').trim_end_matches(']');
    let is_configured = configured.is_some_and(|configured| name.eq_ignore_ascii_case(configured));
    let is_local = name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok();
    (is_configured || is_local).then_some(authority)
}

/// Returns true if the form was sent by a page of this site. Browsers send `Origin` with every POST,
/// and no page can change it or `Sec-Fetch-Site`.
fn is_of_this_site(headers: &HeaderMap, host: &Authority) -> bool {
    let is_same_site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin" || site == "none");
    let is_same_origin = |origin: &http::HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok());
        origin.is_some_and(|origin| origin.authority() == Some(host))
    };
    is_same_site && headers.get(ORIGIN).is_none_or(is_same_origin)
}
