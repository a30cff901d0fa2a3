//! Issuers: the parties whose tokens we accept.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::{Algorithm, ClaimError, ClaimSelector, ClaimSelectors, Claims, Slot, TrustDomain};
use sts_protocol::Tenant;
use url::Url;
use utoipa::ToSchema;
use utoipa::openapi::{ArrayBuilder, Object, OneOfBuilder, Schema, Type};

use super::Tenants;
use crate::ttl::Ttl;

/// An outside issuer, as its registry entry describes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The exact `iss` claim. `{tenantid}` stands for one path segment, which is the tenant.
    /// `spiffe://trust-domain` is a SPIFFE trust domain.
    pub issuer: String,
    /// Other `iss` values of the same issuer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The URL of its keys. At most one of `jwks_uri`, `jwks` and `jwks_file` may be set. Without
    /// any, the keys are discovered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_uri: Option<Url>,
    /// The keys, inline.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Map<String, Value>>,
    /// A file with its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_file: Option<PathBuf>,
    /// The URL of the bundle of a SPIFFE trust domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub bundle_uri: Option<Url>,
    /// A file with the bundle of a SPIFFE trust domain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub bundle_file: Option<PathBuf>,
    /// The algorithms that it signs with; asymmetric only.
    #[serde(default = "default_algorithms")]
    #[schema(value_type = Vec<String>)]
    pub algorithms: Vec<Algorithm>,
    /// The claim that holds the tenant. Excludes `tenant`. Each `…_claim` key takes one selector or
    /// several. A selector is the literal name of a claim, or a JSON Pointer to a value inside a
    /// claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = selectors)]
    pub tenant_claim: Option<ClaimSelectors>,
    /// The tenant of all its tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub tenant: Option<Tenant>,
    /// The tenants that it may assert.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub tenants: Tenants,
    /// The source of the scope that its tokens hold before a first hop.
    #[serde(default)]
    pub scopes_from: ScopesFrom,
    /// The claim that holds the scope, a string or an array. Requires `scopes_from = "token"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = selectors)]
    pub scope_claim: Option<ClaimSelectors>,
    /// The maximum age of a token, by `iat`. Without `iat`, the maximum time until its `exp`.
    #[serde(default = "default_max_token_age")]
    #[schema(value_type = String)]
    pub max_token_age: Ttl,
    /// The claim that holds the audience of its tokens.
    #[serde(default = "default_audience_claim")]
    #[schema(schema_with = selectors)]
    pub audience_claim: ClaimSelectors,
    /// The claim that names the user or the workload. The principal is the pair of `iss` and this
    /// value.
    #[serde(default = "default_subject_claim", skip_serializing_if = "is_sub")]
    #[schema(schema_with = selectors)]
    pub subject_claim: ClaimSelectors,
    /// The claim that holds the roles of the user.
    #[serde(default = "default_roles_claim", skip_serializing_if = "is_roles")]
    #[schema(schema_with = selectors)]
    pub roles_claim: ClaimSelectors,
    /// The prefix that minted tokens put before its subjects in `sub`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_prefix: String,
    /// The CA certificates for its URLs, in PEM. Without them, those of the system apply.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// A file with the bearer token for fetching its key set. The file is read again for every
    /// fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_bearer_token_file: Option<PathBuf>,
    /// True if its URLs may use `http:` beyond the loopback interface.
    #[serde(default)]
    pub allow_http: bool,
    /// True if its tokens are refused.
    #[serde(default)]
    pub disabled: bool,
}

/// The source of the scope that a subject token of an outside issuer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopesFrom {
    /// All plain scopes of the delegation.
    #[default]
    Delegation,
    /// The scope claim of the token.
    Token,
}

impl Issuer {
    /// Returns the claim that holds the scope, for `scopes_from = "token"`. The default is `scope`.
    #[must_use]
    pub fn scope_claim(&self) -> &ClaimSelectors {
        static SCOPE: LazyLock<ClaimSelectors> = LazyLock::new(|| claim("scope"));
        self.scope_claim.as_ref().unwrap_or(&SCOPE)
    }

    /// The name of the user or the workload in a token.
    ///
    /// # Errors
    /// [`ClaimError`] if the claim is not a single value.
    pub fn subject<'a>(&self, claims: &'a Claims) -> Result<Option<Cow<'a, str>>, ClaimError> {
        self.subject_claim.subject(claims)
    }

    /// Returns the trust domain, if the issuer is a SPIFFE trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> Option<TrustDomain<'_>> {
        TrustDomain::of_issuer(&self.issuer)
    }

    /// Returns the slot that decides about the `typ` of its tokens where `slot` is asked for. The
    /// tokens of a trust domain are JWT-SVIDs everywhere.
    #[must_use]
    pub fn slot(&self, slot: Slot) -> Slot {
        if self.trust_domain().is_some() { Slot::JwtSvid } else { slot }
    }

    /// Returns the own name of the issuer, under which its users are known, then its aliases.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.issuer.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

fn default_algorithms() -> Vec<Algorithm> {
    vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
}

fn default_max_token_age() -> Ttl {
    Ttl::from_minutes(24 * 60)
}

fn default_audience_claim() -> ClaimSelectors {
    claim("aud")
}

fn default_subject_claim() -> ClaimSelectors {
    claim("sub")
}

fn default_roles_claim() -> ClaimSelectors {
    claim("roles")
}

fn is_sub(selectors: &ClaimSelectors) -> bool {
    selectors.is_claim("sub")
}

fn is_roles(selectors: &ClaimSelectors) -> bool {
    selectors.is_claim("roles")
}

/// Returns the selector of a claim name that is known to be valid.
fn claim(name: &'static str) -> ClaimSelectors {
    ClaimSelectors::from(ClaimSelector::claim(name))
}

/// The schema of a string or an array of strings.
fn selectors() -> Schema {
    let text = || Object::with_type(Type::String);
    OneOfBuilder::new().item(text()).item(ArrayBuilder::new().items(text()).min_items(Some(1))).build().into()
}
