//! The session of a browser, in a cookie.

use http::HeaderMap;
use http::header::COOKIE;

use super::super::AdminApi;
use crate::admin::Session;

/// The path of the sign-in page.
pub(super) const SIGN_IN: &str = "/console/sign-in";
/// The name of the cookie. Browsers accept a `__Host-` cookie of a secure origin alone, for the
/// whole origin and no other (RFC 6265bis §4.1.3.2).
pub(super) const COOKIE_NAME: &str = "__Host-sts-console";

/// Returns the session of a request.
pub(super) fn session(api: &AdminApi, headers: &HeaderMap) -> Option<Session> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = cookies.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let sealed = pairs.find_map(|(name, value)| (name == COOKIE_NAME).then_some(value))?;
    api.administration.session(sealed)
}
