//! `client_secret_basic`: id and secret in the `Authorization` header (RFC 6749 §2.3.1).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::Failure;

/// The id and the secret, both form-decoded, which is how RFC 6749 has them encoded.
pub(super) fn decode(header: &HeaderValue) -> Result<(String, SecretString), Failure> {
    let header = header.to_str().or(Err(Failure::Header))?;
    let (scheme, credentials) = header.split_once(' ').ok_or(Failure::Header)?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return Err(Failure::Header);
    }
    // No cause is kept below: it would quote the secret.
    let decoded = Zeroizing::new(STANDARD.decode(credentials.trim_start_matches(' ')).or(Err(Failure::Header))?);
    let text = std::str::from_utf8(&decoded).or(Err(Failure::Header))?;
    let (id, secret) = text.split_once(':').ok_or(Failure::Header)?;
    Ok((form_decode(id)?, form_decode(secret)?.into()))
}

/// Decodes one form-encoded value by reading it as the value of a form.
fn form_decode(encoded: &str) -> Result<String, Failure> {
    if encoded.contains('&') {
        // A client that did not encode its secret; the form parser would read two parameters.
        return Err(Failure::Header);
    }
    if !encoded.contains(['%', '+', '\0']) {
        return Ok(encoded.to_owned());
    }
    let form = sts_protocol::Form::parse(format!("v={encoded}").as_bytes()).or(Err(Failure::Header))?;
    Ok(form.get("v").unwrap_or_default().to_owned())
}
