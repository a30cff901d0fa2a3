//! SPIFFE: trust domains and the identities in them (SPIFFE-ID §2).

use crate::claims::Claims;

/// The scheme of trust domain names and of identities.
const SCHEME: &str = "spiffe://";

/// The longest identity, in bytes (SPIFFE-ID §2.3).
const MAX_ID_BYTES: usize = 2048;

/// A SPIFFE trust domain: the issuer of the identities in it.
///
/// ```
/// use sts_jose::TrustDomain;
///
/// let domain = TrustDomain::of_id("spiffe://shop.example/ns/shop/sa/a").unwrap();
/// assert_eq!(domain.issuer(), "spiffe://shop.example");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrustDomain<'a>(&'a str);

impl<'a> TrustDomain<'a> {
    /// Returns the trust domain that an issuer names: `spiffe://trust-domain`.
    #[must_use]
    pub fn of_issuer(issuer: &'a str) -> Option<Self> {
        let name = issuer.strip_prefix(SCHEME)?;
        is_trust_domain(name).then_some(Self(name))
    }

    /// Returns the trust domain of an identity: `spiffe://trust-domain/path`.
    #[must_use]
    pub fn of_id(id: &'a str) -> Option<Self> {
        let (name, path) = id.strip_prefix(SCHEME)?.split_once('/')?;
        let is_segment = |segment: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !matches!(segment, "" | "." | "..") && segment.bytes().all(fits)
        };
        let is_id = id.len() <= MAX_ID_BYTES && is_trust_domain(name) && path.split('/').all(is_segment);
        is_id.then_some(Self(name))
    }

    /// Returns the trust domain of the identity in a token's `sub`. Verifies nothing.
    #[must_use]
    pub fn of_claims(claims: &'a Claims) -> Option<Self> {
        Self::of_id(claims.string("sub").ok().flatten()?)
    }

    /// Returns the name of the issuer for this trust domain.
    #[must_use]
    pub fn issuer(self) -> String {
        format!("{SCHEME}{}", self.0)
    }

    /// Returns the prefix of every identity in the trust domain.
    #[must_use]
    pub fn prefix(self) -> String {
        format!("{SCHEME}{}/", self.0)
    }
}

/// True for 1 to 255 lower-case letters, digits, `.`, `-` and `_` (SPIFFE-ID §2.1).
fn is_trust_domain(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'_');
    (1..=255).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_a_trust_domain_with_a_path() {
        for (id, domain) in [
            ("spiffe://shop.example/ns/shop/sa/a", Some("spiffe://shop.example")),
            ("spiffe://td/a", Some("spiffe://td")),
            ("spiffe://td", None),
            ("spiffe://td/", None),
            ("spiffe://td/a/", None),
            ("spiffe://td//a", None),
            ("spiffe://td/../a", None),
            ("spiffe://td/%41", None),
            ("spiffe://TD/a", None),
            ("spiffe://td:80/a", None),
            ("spiffe://user@td/a", None),
            ("spiffe:///a", None),
            ("SPIFFE://td/a", None),
            ("https://td/a", None),
        ] {
            assert_eq!(TrustDomain::of_id(id).map(TrustDomain::issuer).as_deref(), domain, "{id}");
        }
        assert!(TrustDomain::of_issuer("spiffe://td").is_some());
        for issuer in ["spiffe://td/", "spiffe://", "spiffe://t d", "https://td"] {
            assert_eq!(TrustDomain::of_issuer(issuer), None, "{issuer}");
        }
    }
}
