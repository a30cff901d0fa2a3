//! The session of a browser, in a cookie, and the sign-in that it has begun.

use http::HeaderMap;
use http::header::COOKIE;

use super::super::AdminApi;
use crate::admin::Session;

/// The path of the sign-in page.
pub(super) const SIGN_IN: &str = "/console/sign-in";
/// The name of the cookie. Browsers accept a `__Host-` cookie of a secure origin alone, for the
/// whole origin and no other (RFC 6265bis §4.1.3.2).
pub(super) const COOKIE_NAME: &str = "__Host-sts-console";

/// The name of the cookie of a sign-in at the issuer that has begun.
pub(super) const SIGN_IN_COOKIE_NAME: &str = "__Host-sts-console-sign-in";

/// Returns the session of a request.
pub(super) fn session(api: &AdminApi, headers: &HeaderMap) -> Option<Session> {
    api.administration.session(cookie(headers, COOKIE_NAME)?)
}

/// Returns the value of a cookie.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find_map(|(found, value)| (found == name).then_some(value))
}
