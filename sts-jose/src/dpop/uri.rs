//! The URL of a request as a proof names it.

use url::Url;

use crate::hex::unhex;

/// The normalised form of a URL that a proof is compared by: without query and fragment (RFC 9449 §4.2), normalised by
/// syntax and scheme (RFC 3986 §6.2.2, §6.2.3). Two spellings of one URL are equal.
///
/// ```
/// use sts_jose::dpop::ProofUri;
///
/// let uri = ProofUri::parse("HTTPS://Sts.Example.com:443/oauth2/./token?x#y")?;
/// assert_eq!(uri, ProofUri::parse("https://sts.example.com/oauth2/%74oken")?);
/// assert_eq!(uri.as_str(), "https://sts.example.com/oauth2/token");
/// # Ok::<(), sts_jose::dpop::ProofUriError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofUri(String);

/// The reason a text is not the URL of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofUriError {
    /// The text has a character that no URI has (RFC 3986 §2), or is no absolute URL. The cause is dropped, because
    /// it says less.
    #[error("not an absolute url")]
    Malformed,
    /// The scheme is not `http` or `https`.
    #[error("not an http or https url")]
    Scheme,
}

impl ProofUri {
    /// Normalises a URL.
    ///
    /// # Errors
    /// See [`ProofUriError`].
    pub fn parse(url: &str) -> Result<Self, ProofUriError> {
        // A URL parser drops some of these and rewrites others, and another reader would not.
        if !url.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\') {
            return Err(ProofUriError::Malformed);
        }
        Self::of(&Url::parse(url).or(Err(ProofUriError::Malformed))?)
    }

    /// Normalises a URL that has been parsed.
    ///
    /// # Errors
    /// [`ProofUriError::Scheme`].
    pub fn of(url: &Url) -> Result<Self, ProofUriError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(ProofUriError::Scheme);
        }
        let mut url = url.clone();
        url.set_query(None);
        url.set_fragment(None);
        let path = without_needless_escapes(url.path());
        url.set_path(&path);
        Ok(Self(url.into()))
    }

    /// Returns the normalised URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Decodes the escapes of unreserved characters, and writes the others in upper case (RFC 3986 §6.2.2.1, §6.2.2.2).
fn without_needless_escapes(path: &str) -> String {
    let mut parts = path.split('%');
    let mut normal = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let escaped = part.split_at_checked(2).and_then(|(hex, rest)| Some((unhex(hex)?.pop()?, rest)));
        match escaped {
            Some((byte, rest)) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                normal.push(char::from(byte));
                normal.push_str(rest);
            }
            Some((byte, rest)) => {
                normal.push_str(&format!("%{byte:02X}"));
                normal.push_str(rest);
            }
            None => {
                normal.push('%');
                normal.push_str(part);
            }
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_url_are_equal() {
        let expected = ProofUri::parse("https://a.example/b/c~d%2Fe").unwrap();
        for spelling in [
            "https://A.EXAMPLE/b/c~d%2Fe",
            "https://a.example:443/b/c~d%2fe",
            "hTTps://a.example/x/../b/./c%7Ed%2Fe",
            "https://a.example/%62/c%7ed%2fe?query=1#fragment",
        ] {
            assert_eq!(ProofUri::parse(spelling).as_ref(), Ok(&expected), "{spelling}");
        }
        assert_eq!(ProofUri::parse("http://a.example").unwrap().as_str(), "http://a.example/");
    }

    #[test]
    fn an_escape_has_two_digits() {
        let [escape, none] = ["%0B", "%+B"].map(|path| ProofUri::parse(&format!("https://a.example/{path}")).unwrap());
        assert_ne!(escape, none);
    }

    #[test]
    fn other_urls_differ() {
        let expected = ProofUri::parse("https://a.example/b").unwrap();
        for other in [
            "http://a.example/b",
            "https://a.example:8443/b",
            "https://a.example/b/",
            "https://a.example/B",
            "https://a.example/%2Fb",
            "https://b.example/b",
            "https://user@a.example/b",
            "https://a.example./b",
        ] {
            assert_ne!(ProofUri::parse(other).as_ref(), Ok(&expected), "{other}");
        }
    }

    #[test]
    fn what_is_no_url_of_a_request_is_refused() {
        for malformed in
            ["", "/b", "a.example/b", " https://a.example/b", "https://a.example/b\n", "https:\\\\a.example\\b"]
        {
            assert_eq!(ProofUri::parse(malformed), Err(ProofUriError::Malformed), "{malformed:?}");
        }
        for scheme in ["ftp://a.example/b", "urn:a", "file:///b"] {
            assert_eq!(ProofUri::parse(scheme), Err(ProofUriError::Scheme), "{scheme}");
        }
    }
}
