//! The two request headers that identify the caller: `Authorization` and `X-Tenant-ID`.

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};
use sts_protocol::Tenant;

use super::refusal::Why;
use crate::call::X_TENANT_ID;
use crate::header_values;
use crate::net::bearer;

/// Returns the single bearer token of a request (RFC 6750 §2.1). Tokens in a form or a query are
/// ignored.
pub(super) fn bearer_token(headers: &HeaderMap) -> Result<&str, Why> {
    let value = at_most_one(headers, &AUTHORIZATION, Why::AuthorizationRepeated)?.ok_or(Why::NoToken)?;
    // The cause carries no detail.
    let text = value.to_str().or(Err(Why::AuthorizationMalformed))?;
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("Bearer") {
        return Err(Why::OtherScheme);
    }
    let token = rest.trim_start_matches(' ');
    if !bearer::is_token(token) {
        return Err(Why::AuthorizationMalformed);
    }
    Ok(token)
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
        bearer_token(&headers).map(str::to_owned).map_err(|why| why.reason())
    }

    #[test]
    fn exactly_one_bearer_token_is_read_in_any_case_of_the_scheme() {
        for value in ["Bearer a.b.c", "bearer a.b.c", "BEARER a.b.c", "Bearer   a.b.c"] {
            assert_eq!(read(&[value.as_bytes()]).as_deref(), Ok("a.b.c"), "{value}");
        }
        let rows: [(&[&[u8]], &str); 13] = [
            (&[], "token_missing"),
            (&[b""], "token_missing"),
            (&[b" ", b""], "token_missing"),
            (&[b"Basic YTpi"], "other_scheme"),
            (&[b"DPoP a.b.c"], "other_scheme"),
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
