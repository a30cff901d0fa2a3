//! The metadata of this agent as a protected resource: the issuers it trusts, for clients that have
//! no token yet (RFC 9728).

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sts_protocol::Scope;
use url::Url;

use super::Verifier;
use super::certificate::TrustedProxies;
use super::dpop::{ALGORITHMS, Dpop};

/// The path component between the host and the path of a resource (RFC 9728 §3).
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";

/// Protected resource metadata (RFC 9728 §2). Empty lists are omitted.
///
/// ```
/// # use sts_client::{Verifier, inbound::Issuer};
/// # fn main() -> Result<(), sts_client::BuildError> {
/// let verifier = Verifier::builder(["inventory-agent"])
///     .issuer(Issuer::sts("https://sts.example.com"))
///     .resource("https://inventory.shop.example/".parse().expect("a url"))
///     .build()?;
/// let metadata = verifier.resource_metadata().expect("a resource");
/// assert_eq!(metadata.well_known_path(), "/.well-known/oauth-protected-resource");
/// # println!("{}", metadata.to_json());
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceMetadata {
    /// The resource identifier: the URL of this agent.
    pub resource: Url,
    /// The issuers whose tokens are accepted. Issuers whose identifiers are not http(s) URLs are
    /// omitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_servers: Vec<String>,
    /// The scopes that every request needs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes_supported: Vec<String>,
    /// The methods for sending a token: only the header.
    pub bearer_methods_supported: Vec<String>,
    /// The algorithms of accepted proofs (RFC 9449). Empty if proofs are not accepted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dpop_signing_alg_values_supported: Vec<String>,
    /// True if every token must be bound to a key (RFC 9449). Omitted if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dpop_bound_access_tokens_required: bool,
    /// True if trusted proxies pass on client certificates, so that tokens may be bound to them (RFC
    /// 8705). Omitted if false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tls_client_certificate_bound_access_tokens: bool,
}

impl ResourceMetadata {
    /// Returns the path at which the document is served (RFC 9728 §3.1).
    ///
    /// ```
    /// # use sts_client::{Verifier, inbound::Issuer};
    /// # fn main() -> Result<(), sts_client::BuildError> {
    /// let verifier = Verifier::builder(["inventory-agent"])
    ///     .issuer(Issuer::sts("https://sts.example.com"))
    ///     .resource("https://inventory.shop.example/".parse().expect("a url"))
    ///     .build()?;
    /// let metadata = verifier.resource_metadata().expect("a resource");
    /// assert_eq!(metadata.well_known_path(), "/.well-known/oauth-protected-resource");
    /// # println!("{}", metadata.to_json());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn well_known_path(&self) -> String {
        // Drop the path only if it is a single slash.
        let path = if self.resource.path() == "/" { "" } else { self.resource.path() };
        format!("{WELL_KNOWN}{path}")
    }

    /// Returns the document as JSON.
    ///
    /// ```
    /// # use sts_client::{Verifier, inbound::Issuer};
    /// # fn main() -> Result<(), sts_client::BuildError> {
    /// let verifier = Verifier::builder(["inventory-agent"])
    ///     .issuer(Issuer::sts("https://sts.example.com"))
    ///     .resource("https://inventory.shop.example/".parse().expect("a url"))
    ///     .build()?;
    /// let metadata = verifier.resource_metadata().expect("a resource");
    /// assert!(metadata.to_json().contains("https://inventory.shop.example/"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::json!(self).to_string()
    }
}

impl Verifier {
    /// Returns the metadata of this agent as a protected resource; `None` if the verifier has no
    /// [`resource`](super::VerifierBuilder::resource).
    ///
    /// ```
    /// # use sts_client::{Verifier, inbound::Issuer};
    /// # fn main() -> Result<(), sts_client::BuildError> {
    /// let verifier = Verifier::builder(["inventory-agent"])
    ///     .issuer(Issuer::sts("https://sts.example.com"))
    ///     .resource("https://inventory.shop.example/".parse().expect("a url"))
    ///     .build()?;
    /// let metadata = verifier.resource_metadata().expect("a resource");
    /// assert_eq!(metadata.well_known_path(), "/.well-known/oauth-protected-resource");
    /// # println!("{}", metadata.to_json());
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn resource_metadata(&self) -> Option<&ResourceMetadata> {
        self.0.resource.as_ref().map(|resource| &resource.metadata)
    }
}

/// The metadata of this agent, with the URL at which it is served.
#[derive(Debug)]
pub(super) struct ProtectedResource {
    metadata: ResourceMetadata,
    metadata_url: Arc<str>,
}

impl ProtectedResource {
    /// Builds the metadata. The caller has checked that `resource` is an http(s) URL without query
    /// and fragment.
    pub(super) fn new<'a>(
        resource: Url,
        issuers: impl Iterator<Item = &'a str>,
        required: &Scope,
        (dpop, proxies): (Option<&Dpop>, &TrustedProxies),
    ) -> Self {
        let is_url = |issuer: &&str| Url::parse(issuer).is_ok_and(|url| matches!(url.scheme(), "https" | "http"));
        let metadata = ResourceMetadata {
            authorization_servers: issuers.filter(is_url).map(str::to_owned).collect(),
            scopes_supported: required.iter().map(ToString::to_string).collect(),
            bearer_methods_supported: vec!["header".to_owned()],
            dpop_signing_alg_values_supported: dpop
                .iter()
                .flat_map(|_| ALGORITHMS)
                .map(|alg| alg.to_string())
                .collect(),
            dpop_bound_access_tokens_required: dpop.is_some_and(|dpop| dpop.is_required),
            tls_client_certificate_bound_access_tokens: proxies.are_named(),
            resource,
        };
        let mut url = metadata.resource.clone();
        url.set_path(&metadata.well_known_path());
        Self { metadata, metadata_url: url.as_str().into() }
    }

    /// Returns the URL of the document.
    pub(super) fn metadata_url(&self) -> Arc<str> {
        Arc::clone(&self.metadata_url)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_9728_section_3_1_the_well_known_path_stands_before_that_of_the_resource() {
        for (resource, url) in [
            ("https://a.example", "https://a.example/.well-known/oauth-protected-resource"),
            ("https://a.example/", "https://a.example/.well-known/oauth-protected-resource"),
            ("https://a.example:81/mcp", "https://a.example:81/.well-known/oauth-protected-resource/mcp"),
            ("https://a.example/a%7Bb/c/", "https://a.example/.well-known/oauth-protected-resource/a%7Bb/c/"),
        ] {
            let issuers = ["https://sts.example", "spiffe://a.example"];
            let bindings = (None, &TrustedProxies::default());
            let resource =
                ProtectedResource::new(resource.parse().unwrap(), issuers.into_iter(), &Scope::default(), bindings);
            assert_eq!(&*resource.metadata_url(), url);
            assert_eq!(resource.metadata.authorization_servers, ["https://sts.example"]);
        }
    }
}
