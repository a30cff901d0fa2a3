//! Who is believed.

/// An issuer whose tokens are believed.
#[derive(Debug, Clone)]
pub struct Issuer {}

impl Issuer {
    /// The STS: its tokens are RFC 9068 access tokens with `act`, `tenant_id`, or `tenant_ids`. Keys by its metadata.
    #[must_use]
    pub fn sts(_issuer: impl Into<String>) -> Self {
        Self {}
    }

    /// Any other issuer, byte for byte its `iss`. Keys by its metadata.
    #[must_use]
    pub fn new(_issuer: impl Into<String>) -> Self {
        Self {}
    }

    /// Where its keys are, instead of where its metadata says.
    #[must_use]
    pub fn jwks_uri(self, _jwks_uri: url::Url) -> Self {
        self
    }

    /// Its keys themselves.
    #[must_use]
    pub fn jwks(self, _keys: sts_jose::KeySet) -> Self {
        self
    }

    /// The claim that holds the tenant, by its literal name. Without one its tokens have no tenant.
    #[must_use]
    pub fn tenant_claim(self, _claim: impl Into<String>) -> Self {
        self
    }

    /// Lets its keys be fetched over plain http, though it is not loopback.
    #[must_use]
    pub fn allow_http(self) -> Self {
        self
    }
}
