//! The rules that issuers and agents share, for key sets and their URLs.

use serde_json::{Map, Value};
use sts_jose::{FetchError, KeySet, LostKey, MAX_KEYS, check_url};
use url::Url;

/// The hosts that plain `http` may reach: all, or the loopback interface only.
#[derive(Clone, Copy)]
pub(super) enum PlainHttp {
    Allowed,
    LoopbackOnly,
}

/// Checks an inline key set. Returns the unusable keys, or an error if the key set is unusable.
pub(super) fn check_key_set(jwks: &Map<String, Value>) -> Result<Vec<String>, String> {
    let bytes = serde_json::to_vec(jwks).map_err(|error| error.to_string())?;
    check_key_set_bytes(&bytes)
}

/// Checks a key set. Returns the unusable keys, or an error if the key set is unusable.
pub(super) fn check_key_set_bytes(bytes: &[u8]) -> Result<Vec<String>, String> {
    let keys = KeySet::parse(bytes).map_err(|error| error.to_string())?;
    let mut lost: Vec<String> = keys.lost().iter().map(lost_key).collect();
    if keys.is_empty() {
        let reasons = if lost.is_empty() { String::new() } else { format!(": {}", lost.join("; ")) };
        return Err(format!("it contains no usable key{reasons}"));
    }
    if keys.entries() > MAX_KEYS {
        lost.push(format!("it has {} entries, and the first {MAX_KEYS} are read", keys.entries()));
    }
    Ok(lost)
}

fn lost_key(LostKey { kid, index, reason }: &LostKey) -> String {
    match kid {
        Some(kid) => format!("the key {kid:?} cannot be used: {reason}"),
        None => format!("the key number {} cannot be used: {reason}", index + 1),
    }
}

/// Checks a URL that keys are fetched from.
pub(super) fn check_key_url(url: &Url, plain_http: PlainHttp) -> Result<(), String> {
    let allow_http = match plain_http {
        PlainHttp::Allowed => true,
        PlainHttp::LoopbackOnly => false,
    };
    check_url(url, allow_http).map_err(|error| match error {
        FetchError::NotHttps if url.scheme() == "http" => "http is only for the loopback interface".to_owned(),
        error => error.to_string(),
    })
}
