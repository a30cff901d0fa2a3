//! Issuers: who signs tokens that we believe.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sts_jose::{Algorithm, ClaimError, ClaimSelector, ClaimSelectors, Claims, TrustDomain};
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
    /// Byte for byte the `iss` claim. `{tenantid}` stands for one segment of its path that is the tenant; `spiffe://trust-domain` is a
    /// SPIFFE trust domain.
    pub issuer: String,
    /// Other `iss` values of the same issuer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// Where its keys are; at most one of `jwks_uri`, `jwks` and `jwks_file`, and none for discovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_uri: Option<Url>,
    /// Its keys themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Map<String, Value>>,
    /// A file with its keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_file: Option<PathBuf>,
    /// Where the bundle of a SPIFFE trust domain is.
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
    /// The claim that holds the tenant; not together with `tenant`. This and the other `…_claim` keys are one selector or several: the
    /// literal name of a claim, or a JSON Pointer to a value inside of one.
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
    /// What its tokens hold before a first hop.
    #[serde(default)]
    pub scopes_from: ScopesFrom,
    /// The claim that holds the scope, a string or an array; only with `scopes_from = "token"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(schema_with = selectors)]
    pub scope_claim: Option<ClaimSelectors>,
    /// How old, by `iat`, a token may be; without `iat`, how far off its `exp` may lie.
    #[serde(default = "default_max_token_age")]
    #[schema(value_type = String)]
    pub max_token_age: Ttl,
    /// The claim that says whom its tokens are addressed to.
    #[serde(default = "default_audience_claim")]
    #[schema(schema_with = selectors)]
    pub audience_claim: ClaimSelectors,
    /// The claim that names the user or the workload. The principal of its tokens is (`iss`, that value).
    #[serde(default = "default_subject_claim", skip_serializing_if = "is_sub")]
    #[schema(schema_with = selectors)]
    pub subject_claim: ClaimSelectors,
    /// The claim that holds the roles.
    #[serde(default = "default_roles_claim", skip_serializing_if = "is_roles")]
    #[schema(schema_with = selectors)]
    pub roles_claim: ClaimSelectors,
    /// What is put before its subjects in `sub`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subject_prefix: String,
    /// The certificates of its authority, in PEM; absent for those of the system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub ca_file: Option<PathBuf>,
    /// A file with the bearer token that its key set asks for; read again for every fetch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub jwks_bearer_token_file: Option<PathBuf>,
    /// Whether its URLs may be `http:` beyond the loopback interface.
    #[serde(default)]
    pub allow_http: bool,
    /// Whether its tokens are refused.
    #[serde(default)]
    pub disabled: bool,
}

/// What a subject token of an outside issuer is taken to hold.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScopesFrom {
    /// All plain scopes of the delegation.
    #[default]
    Delegation,
    /// What its scope claim says.
    Token,
}

impl Issuer {
    /// The claim that holds the scope where the token says it.
    #[must_use]
    pub fn scope_claim(&self) -> &ClaimSelectors {
        static SCOPE: LazyLock<ClaimSelectors> = LazyLock::new(|| claim("scope"));
        self.scope_claim.as_ref().unwrap_or(&SCOPE)
    }

    /// The name of the user or the workload in a token.
    ///
    /// # Errors
    /// [`ClaimError`] if it is not one value.
    pub fn subject<'a>(&self, claims: &'a Claims) -> Result<Option<Cow<'a, str>>, ClaimError> {
        self.subject_claim.subject(claims)
    }

    /// The trust domain, if the issuer is one of SPIFFE.
    #[must_use]
    pub fn trust_domain(&self) -> Option<TrustDomain<'_>> {
        TrustDomain::of_issuer(&self.issuer)
    }

    /// The name under which the issuer's users are known, and what each of its other names stands for.
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

/// The claim of a name that is known to be one.
fn claim(name: &'static str) -> ClaimSelectors {
    ClaimSelectors::from(ClaimSelector::claim(name))
}

/// A string or an array of strings.
fn selectors() -> Schema {
    let text = || Object::with_type(Type::String);
    OneOfBuilder::new().item(text()).item(ArrayBuilder::new().items(text()).min_items(Some(1))).build().into()
}
