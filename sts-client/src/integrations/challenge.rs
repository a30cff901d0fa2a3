//! The challenge with which a target refuses a token (RFC 6750 §3).

#[cfg(any(feature = "reqwest", feature = "tower"))]
use http::{HeaderMap, StatusCode, header::WWW_AUTHENTICATE};

/// The gRPC status `UNAUTHENTICATED`. The HTTP status of a gRPC answer is always 200.
#[cfg(any(feature = "reqwest", feature = "tower"))]
const GRPC_UNAUTHENTICATED: &str = "16";

/// Returns true if the target refused the call because the token is invalid. The answer is then
/// 401, or the gRPC equivalent, with a challenge that names `invalid_token`.
#[cfg(any(feature = "reqwest", feature = "tower"))]
pub(super) fn refuses_token(status: StatusCode, headers: &HeaderMap) -> bool {
    let is_grpc = || headers.get("grpc-status").is_some_and(|status| status == GRPC_UNAUTHENTICATED);
    let mut challenges = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    (status == 401 || is_grpc()) && challenges.any(names_invalid_token)
}

/// Returns true if a challenge of a `WWW-Authenticate` header is for bearer tokens and has
/// `error="invalid_token"`. Challenges that cannot be parsed are ignored.
pub(super) fn names_invalid_token(challenges: &str) -> bool {
    let challenges = http_auth::parse_challenges(challenges).unwrap_or_default();
    challenges.iter().filter(|challenge| challenge.scheme.eq_ignore_ascii_case("Bearer")).any(|challenge| {
        let mut parameters = challenge.params.iter();
        parameters.any(|(name, value)| name.eq_ignore_ascii_case("error") && value.to_unescaped() == "invalid_token")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_challenge_that_names_invalid_token_counts() {
        let rows = [
            (r#"Bearer error="invalid_token""#, true),
            (r#"bearer realm="a, b", ERROR=invalid_token, error_description="x""#, true),
            (r#"Basic realm="x", Bearer realm="y", error="invalid_token""#, true),
            (r#"Bearer resource_metadata="https://a.example/", error="invalid_token""#, true),
            ("Bearer", false),
            (r#"Bearer error="insufficient_scope""#, false),
            (r#"Bearer error_description="invalid_token""#, false),
            (r#"Bearer realm="error=invalid_token""#, false),
            (r#"Basic error="invalid_token""#, false),
            (r#"Bearer error="invalid_token"#, false),
            ("", false),
        ];
        for (challenge, expected) in rows {
            assert_eq!(names_invalid_token(challenge), expected, "{challenge}");
        }
    }
}
