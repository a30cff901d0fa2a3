//! `client_secret_basic`: id and secret in the `Authorization` header (RFC 6749 §2.3.1).
//!
//! RFC 6749 requires both parts to be form-encoded, but most clients send them unencoded. A header
//! may thus mean two pairs.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Failure;
use super::client_secret::Presented;

/// Returns the pairs of id and secret that a header may mean: one or two. The first is
/// form-decoded, as RFC 6749 requires. The second is not decoded, and is left out if it would be
/// the same.
///
/// # Errors
/// [`Failure::Header`] if the header is not valid Basic authentication (RFC 7617).
pub(super) fn decode(header: &HeaderValue) -> Result<Vec<Presented>, Failure> {
    let header = header.to_str().or(Err(Failure::Header))?;
    let (scheme, credentials) = header.split_once(' ').ok_or(Failure::Header)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Failure::Header);
    }
    // No cause is kept below, because it would quote the secret.
    let decoded = Zeroizing::new(STANDARD.decode(credentials.trim_start_matches(' ')).or(Err(Failure::Header))?);
    let text = std::str::from_utf8(&decoded).or(Err(Failure::Header))?;
    let (id, secret) = text.split_once(':').filter(|_| !text.contains('\0')).ok_or(Failure::Header)?;
    let raw = || Presented { id: Some(id.to_owned()), secret: secret.into() };
    if !text.contains(['%', '+', '&']) {
        return Ok(vec![raw()]);
    }
    let decoded = form_decode(id).zip(form_decode(secret));
    let decoded = decoded.map(|(id, secret)| Presented { id: Some(id), secret: SecretString::from(secret) });
    Ok(decoded.into_iter().chain([raw()]).collect())
}

/// Decodes a form-encoded value with the form parser. Returns `None` if it is not form-encoded.
fn form_decode(encoded: &str) -> Option<String> {
    if encoded.contains('&') {
        // The form parser would read two parameters.
        return None;
    }
    let form = sts_protocol::Form::parse(format!("v={encoded}").as_bytes()).ok()?;
    Some(form.get("v").unwrap_or_default().to_owned())
}
