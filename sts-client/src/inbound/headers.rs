//! The request headers that identify the caller: `Authorization`, `DPoP` and `X-Tenant-ID`.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use sts_protocol::Tenant;

use super::why::Why;
use crate::call::{Scheme, X_TENANT_ID};
use crate::header_values;
use crate::net::bearer;
use crate::possession::DPOP;

/// Returns the single token of a request, with its scheme (RFC 6750 §2.1, RFC 9449 §7.1). Tokens in a
/// form or a query are ignored.
pub(super) fn token(headers: &HeaderMap) -> Result<(Scheme, &str), Why> {
    let value = at_most_one(headers, &AUTHORIZATION, Why::AuthorizationRepeated)?.ok_or(Why::NoToken)?;
    // The cause carries no detail.
    let text = value.to_str().or(Err(Why::AuthorizationMalformed))?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    let known = [Scheme::Bearer, Scheme::Dpop].into_iter().find(|known| scheme.eq_ignore_ascii_case(known.as_str()));
    let scheme = known.ok_or(Why::OtherScheme)?;
    let token = rest.trim_start_matches(' ');
    if !bearer::is_token(token) {
        return Err(Why::AuthorizationMalformed);
    }
    Ok((scheme, token))
}

/// Returns the single proof of a request (RFC 9449 §4.3, check 1).
pub(super) fn proof(headers: &HeaderMap) -> Result<&str, Why> {
    let value = at_most_one(headers, &DPOP, Why::ProofRepeated)?.ok_or(Why::ProofMissing)?;
    // The cause carries no detail.
    value.to_str().or(Err(Why::ProofMissing))
}

/// Returns the tenant that a request names.
pub(super) fn tenant(headers: &HeaderMap) -> Result<Option<Tenant>, Why> {
    let Some(value) = at_most_one(headers, &X_TENANT_ID, Why::TenantHeaderMalformed)? else { return Ok(None) };
    // Neither cause carries more detail than the variant.
    let text = value.to_str().or(Err(Why::TenantHeaderMalformed))?;
    Tenant::new(text).map(Some).or(Err(Why::TenantHeaderMalformed))
}

fn at_most_one<'a>(headers: &'a HeaderMap, name: &HeaderName, repeated: Why) -> Result<Option<&'a HeaderValue>, Why> {
    let mut values = header_values::of(headers, name);
    match (values.next(), values.next()) {
        (first, None) => Ok(first),
        (_, Some(_)) => Err(repeated),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, &'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers).map(|(scheme, token)| format!("{} {token}", scheme.as_str())).map_err(|why| why.reason())
    }

    #[test]
    fn exactly_one_token_is_read_in_any_case_of_the_scheme() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c"] {
            assert_eq!(read(&[value.as_bytes()]).as_deref(), Ok("Bearer a.b.c"), "{value}");
        }
        assert_eq!(read(&[b"dpop a.b.c"]).as_deref(), Ok("DPoP a.b.c"));
        let rows: [(&[&[u8]], &str); 13] = [
            (&[], "token_missing"),
            (&[b""], "token_missing"),
            (&[b" ", b""], "token_missing"),
            (&[b"Basic YTpi"], "other_scheme"),
            (&[b"DPoP"], "authorization_malformed"),
            (&[b"Bearera.b.c"], "other_scheme"),
            (&[b"Bearer"], "authorization_malformed"),
            (&[b"Bearer  "], "authorization_malformed"),
            (&[b"Bearer a b"], "authorization_malformed"),
            (&[b"Bearer a.b.c, Bearer d.e.f"], "authorization_malformed"),
            (&[b"Bearer a\tb"], "authorization_malformed"),
            (&[b"Bearer \xff"], "authorization_malformed"),
            (&[b"Bearer a.b.c", b"Bearer a.b.c"], "authorization_repeated"),
        ];
        for (values, reason) in rows {
            assert_eq!(read(values), Err(reason), "{values:?}");
        }
    }
}
