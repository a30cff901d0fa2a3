//! The thumbprint of a public key (RFC 7638): one name that every holder of the key computes alike.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use crate::sha256::sha256;

/// Returns the RFC 7638 SHA-256 thumbprint of a JWK, in base64url with 43 characters. Reads the required members of
/// its key type (RFC 7638 §3.2, RFC 8037 §2) and ignores the others. Returns `None` for another key type, and if a
/// required member is missing or not a string.
///
/// The text of the members is taken as it stands. Padding or a missing leading zero yields another thumbprint.
///
/// ```
/// let jwk = serde_json::json!({
///     "kty": "EC",
///     "crv": "P-256",
///     "x": "l8tFrhx-34tV3hRICRDY9zCkDlpBhF42UQUfWVAWBFs",
///     "y": "9VE4jf_Ok_o64zbTTlcuNJajHmt6v9TDVrU0CdvGRDA",
///     "kid": "not a required member",
/// });
/// let thumbprint = sts_jose::thumbprint(jwk.as_object().unwrap());
/// assert_eq!(thumbprint.as_deref(), Some("0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"));
/// ```
#[must_use]
pub fn thumbprint(jwk: &Map<String, Value>) -> Option<String> {
    let required: &[&str] = match jwk.get("kty")?.as_str()? {
        "EC" => &["crv", "kty", "x", "y"],
        "OKP" => &["crv", "kty", "x"],
        "RSA" => &["e", "kty", "n"],
        _ => return None,
    };
    let text = |name: &&'static str| Some((*name, jwk.get(*name)?.as_str()?));
    // This map is sorted, regardless of the features that serde_json was built with.
    let members: BTreeMap<&str, &str> = required.iter().map(text).collect::<Option<_>>()?;
    let members: Vec<String> =
        members.into_iter().map(|(name, text)| format!("\"{name}\":{}", Value::from(text))).collect();
    Some(URL_SAFE_NO_PAD.encode(sha256(format!("{{{}}}", members.join(",")).as_bytes())))
}
