//! The check of the issuer URL that an operator configures.

use sts_jose::is_loopback;
use url::Url;

/// Checks the issuer identifier of this service.
///
/// It is an `http(s)` URL of a host and an optional port, with nothing after it. It is written in
/// the form in which URLs are compared: lower-case host, no default port. `http` is for the
/// loopback interface only.
///
/// # Errors
/// Returns the reason if the text is not such a URL.
pub fn check_issuer(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    match url.scheme() {
        "https" => {}
        "http" if is_loopback(&url) => {}
        "http" => return Err("an http URL is for the loopback interface only; use https".to_owned()),
        _ => return Err("must be an https URL".to_owned()),
    }
    if !sts_protocol::is_name(text) {
        return Err("must be at most 255 characters long".to_owned());
    }
    let canonical = url.origin().ascii_serialization();
    if canonical == text {
        return Ok(());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user or password".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() || url.path() != "/" || text.ends_with('/') {
        return Err(format!("must end with the host or port, without path, query or fragment: {canonical:?}"));
    }
    Err(format!("must be written {canonical:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_origin() {
        for issuer in [
            "https://sts.example.com",
            "https://sts.example.com:8443",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://[::1]:8080",
        ] {
            assert_eq!(check_issuer(issuer), Ok(()), "{issuer}");
        }
    }

    #[test]
    fn what_is_no_issuer_is_refused() {
        let path = "must end with the host or port, without path, query or fragment: \"https://sts.example.com\"";
        for (issuer, reason) in [
            ("sts.example.com", "not a URL: relative URL without a base"),
            ("https://", "not a URL: empty host"),
            ("spiffe://example.com", "must be an https URL"),
            ("http://sts.example.com", "an http URL is for the loopback interface only; use https"),
            ("https://sts.example.com/", path),
            ("https://sts.example.com/a", path),
            ("https://sts.example.com?a", path),
            ("https://sts.example.com#a", path),
            ("https://a:b@sts.example.com", "must not hold a user or password"),
            ("https://STS.example.com", "must be written \"https://sts.example.com\""),
            ("HTTPS://sts.example.com", "must be written \"https://sts.example.com\""),
            ("https://sts.example.com:443", "must be written \"https://sts.example.com\""),
            (" https://sts.example.com", "must be written \"https://sts.example.com\""),
        ] {
            assert_eq!(check_issuer(issuer), Err(reason.to_owned()), "{issuer}");
        }
    }
}
