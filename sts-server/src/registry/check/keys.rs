//! The rules of key sets and of the URLs that they come from, which issuers and agents share.

use serde_json::{Map, Value};
use sts_jose::{FetchError, KeySet, MAX_KEYS, check_url};
use url::Url;

/// Whether `http` may go beyond the loopback interface.
#[derive(Clone, Copy)]
pub(super) enum PlainHttp {
    Allowed,
    LoopbackOnly,
}

/// Says what is wrong with an inline key set.
pub(super) fn check_key_set(jwks: &Map<String, Value>) -> Result<(), String> {
    let bytes = serde_json::to_vec(jwks).map_err(|error| error.to_string())?;
    check_key_set_bytes(&bytes)
}

/// Says what is wrong with a key set.
pub(super) fn check_key_set_bytes(bytes: &[u8]) -> Result<(), String> {
    let keys = KeySet::parse(bytes).map_err(|error| error.to_string())?;
    if keys.is_empty() {
        return Err("no key in it can be used".to_owned());
    }
    Ok(())
}

/// Says what of a key set is not read, if it is one.
pub(super) fn cut(bytes: &[u8]) -> Option<String> {
    let entries = KeySet::parse(bytes).ok()?.entries();
    (entries > MAX_KEYS).then(|| format!("has {entries} entries, and the first {MAX_KEYS} are read"))
}

/// Says what is wrong with a URL that keys are to come from.
pub(super) fn check_key_url(url: &Url, plain_http: PlainHttp) -> Result<(), String> {
    let allow_http = match plain_http {
        PlainHttp::Allowed => true,
        PlainHttp::LoopbackOnly => false,
    };
    check_url(url, allow_http).map_err(|error| match error {
        FetchError::NotHttps if url.scheme() == "http" => "http goes no further than the loopback interface".to_owned(),
        error => error.to_string(),
    })
}
