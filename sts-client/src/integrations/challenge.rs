//! The challenges with which a target refuses a call (RFC 6750 §3, RFC 9449 §7.1).

use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};

use crate::possession::USE_DPOP_NONCE;
use crate::propagate::again::TargetRefusal;

/// The gRPC status `UNAUTHENTICATED`. The HTTP status of a gRPC answer is always 200.
const GRPC_UNAUTHENTICATED: &str = "16";

/// Returns the reason why the target refused the call, if the call may be repeated. The answer is
/// then 401, or the gRPC equivalent, with a challenge that names the reason.
pub(super) fn refusal(status: StatusCode, headers: &HeaderMap) -> Option<TargetRefusal> {
    let is_grpc = || headers.get("grpc-status").is_some_and(|status| status == GRPC_UNAUTHENTICATED);
    if status != 401 && !is_grpc() {
        return None;
    }
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    challenges.find_map(named)
}

/// Returns the reason that the challenges of a `WWW-Authenticate` header name. They must be for
/// tokens: `Bearer` or `DPoP`. Challenges that cannot be parsed are ignored.
pub(super) fn named(challenges: &str) -> Option<TargetRefusal> {
    let challenges = http_auth::parse_challenges(challenges).unwrap_or_default();
    challenges.iter().find_map(|challenge| {
        let is_bound = challenge.scheme.eq_ignore_ascii_case("DPoP");
        if !is_bound && !challenge.scheme.eq_ignore_ascii_case("Bearer") {
            return None;
        }
        let error = challenge.params.iter().find(|(name, _)| name.eq_ignore_ascii_case("error"));
        match error?.1.to_unescaped().as_str() {
            "invalid_token" => Some(TargetRefusal::InvalidToken),
            error if is_bound && error == USE_DPOP_NONCE => Some(TargetRefusal::NonceWanted),
            _ => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_challenge_for_tokens_that_names_a_reason_counts() {
        let rows = [
            (r#"DPoP error="use_dpop_nonce", algs="ES256""#, "nonce"),
            (r#"Bearer realm="x", dpop algs="ES256 EdDSA", error=use_dpop_nonce"#, "nonce"),
            (r#"DPoP error="invalid_token", algs="ES256""#, "token"),
            (r#"DPoP error="invalid_dpop_proof""#, ""),
            (r#"Bearer error="use_dpop_nonce""#, ""),
            ("DPoP", ""),
            (r#"Bearer error="invalid_token""#, "token"),
            (r#"bearer realm="a, b", ERROR=invalid_token, error_description="x""#, "token"),
            (r#"Basic realm="x", Bearer realm="y", error="invalid_token""#, "token"),
            (r#"Bearer resource_metadata="https://a.example/", error="invalid_token""#, "token"),
            ("Bearer", ""),
            (r#"Bearer error="insufficient_scope""#, ""),
            (r#"Bearer error_description="invalid_token""#, ""),
            (r#"Bearer realm="error=invalid_token""#, ""),
            (r#"Basic error="invalid_token""#, ""),
            (r#"Bearer error="invalid_token"#, ""),
            ("", ""),
        ];
        for (challenge, expected) in rows {
            let found = match named(challenge) {
                None => "",
                Some(TargetRefusal::InvalidToken) => "token",
                Some(TargetRefusal::NonceWanted) => "nonce",
            };
            assert_eq!(found, expected, "{challenge}");
        }
    }
}
