//! The keys of the registry file and the grammar of each value.
//!
//! Entries are deserialized from values that pass this schema, so a key that is missing here cannot
//! be used. A test compares the two.

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use sts_jose::{Algorithm, ClaimSelector};
use sts_protocol::{DetailText, DetailValues, ScopeToken, Tenant};
use url::Url;

use super::tenants::ANY;
use super::{AssertionAudience, Decider, ScopesFrom, Tenants};
use crate::document::{Key, Schema, Shape, reads};
use crate::ttl::Ttl;

/// The longest `owner` and `purpose`, in characters.
const MAX_WORDS_CHARS: usize = 255;

/// The top-level keys of the file: the generation, and the arrays.
pub(super) const TOP_LEVEL: [&str; 4] = [GENERATION, "issuers", "agents", "delegations"];

/// The key of the generation, and its values.
pub(super) const GENERATION: &str = "generation";
pub(super) const GENERATIONS: Shape = Shape::Integer { least: 1, most: i64::MAX };

/// The keys of an issuer that name files on the server. An agent has one such key: `auth.ca_file`.
pub const FILE_KEYS: [&str; 4] = ["jwks_file", "bundle_file", "ca_file", "jwks_bearer_token_file"];

pub(super) static ISSUER: Schema = Schema {
    label: "[[issuers]]",
    keys: &[
        required("issuer", TEXT),
        optional("aliases", TEXTS),
        optional("jwks_uri", URL),
        optional("jwks", Shape::Object),
        optional("jwks_file", TEXT),
        optional("bundle_uri", URL),
        optional("bundle_file", TEXT),
        optional("algorithms", Shape::Texts(reads::<Algorithm>)),
        optional("tenant_claim", SELECTORS),
        optional("tenant", Shape::Text(reads::<Tenant>)),
        optional("tenants", TENANTS),
        optional("scopes_from", Shape::Text(reads::<ScopesFrom>)),
        optional("scope_claim", SELECTORS),
        optional("max_token_age", TTL),
        optional("audience_claim", SELECTORS),
        optional("subject_claim", SELECTORS),
        optional("roles_claim", SELECTORS),
        optional("subject_prefix", TEXT),
        optional("ca_file", TEXT),
        optional("jwks_bearer_token_file", TEXT),
        optional("allow_http", Shape::Boolean),
        optional("disabled", Shape::Boolean),
    ],
};

pub(super) static AGENT: Schema = Schema {
    label: "[[agents]]",
    keys: &[
        required("id", TEXT),
        optional("audience", TEXTS),
        optional("accepts", TEXTS),
        optional("tenants", TENANTS),
        optional("forward_tenants", Shape::Texts(reads::<Tenant>)),
        optional("default_target", TEXT),
        optional("token_ttl", TTL),
        optional("signing_alg", Shape::Text(reads::<Algorithm>)),
        optional("dpop_bound_access_tokens", Shape::Boolean),
        optional("tls_client_certificate_bound_access_tokens", Shape::Boolean),
        optional("dpop_bound_access_tokens_required", Shape::Boolean),
        optional("bearer_only", Shape::Boolean),
        optional("auth", Shape::Table(&AUTH)),
        optional("owner", WORDS),
        optional("purpose", WORDS),
        optional("expires_at", Shape::Text(time)),
        optional("disabled", Shape::Boolean),
    ],
};

pub(super) static AUTH: Schema = Schema {
    label: "[agents.auth]",
    keys: &[
        optional("client_secret_hash", TEXT_OR_TEXTS),
        optional("client_secret_sha256", TEXT_OR_TEXTS),
        optional("jwks_uri", URL),
        optional("jwks", Shape::Object),
        optional("assertion_audience", Shape::Text(reads::<AssertionAudience>)),
        optional("max_assertion_lifetime", TTL),
        optional("ca_file", TEXT),
        optional("tls_client_auth_san_uri", TEXT),
        optional("tls_client_auth_san_dns", TEXT),
        optional("tls_client_auth_subject_dn", TEXT),
        optional("workload", Shape::Tables(&WORKLOAD)),
    ],
};

pub(super) static WORKLOAD: Schema = Schema {
    label: "workload of [agents.auth]",
    keys: &[
        required("issuer", TEXT),
        required("subject", TEXT),
        optional("audience", TEXT),
        optional("claims", Shape::Object),
    ],
};

pub(super) static DELEGATION: Schema = Schema {
    label: "[[delegations]]",
    keys: &[
        required("actor", TEXT),
        required("target", TEXT),
        required("scopes", Shape::TextsOrTables(reads::<ScopeToken>, &DERIVED_SCOPE)),
        optional("issuers", TEXTS),
        optional("tenants", TENANTS),
        optional("roles", TEXTS),
        optional("details", Shape::Tables(&DETAIL)),
        optional("approval", Shape::Table(&APPROVAL)),
        optional("max_ttl", TTL),
        optional("service_account", Shape::Boolean),
        optional("reentrant", Shape::Boolean),
        optional("owner", WORDS),
        optional("purpose", WORDS),
        optional("expires_at", Shape::Text(time)),
        optional("disabled", Shape::Boolean),
    ],
};

pub(super) static DERIVED_SCOPE: Schema = Schema {
    label: "scopes of [[delegations]]",
    keys: &[required("scope", Shape::Text(reads::<ScopeToken>)), required("from", Shape::Texts(reads::<ScopeToken>))],
};

pub(super) static DETAIL: Schema = Schema {
    label: "details of [[delegations]]",
    keys: &[
        required("type", Shape::Text(reads::<DetailText>)),
        optional("locations", DETAIL_TEXTS),
        optional("actions", DETAIL_TEXTS),
        optional("datatypes", DETAIL_TEXTS),
        optional("identifier", Shape::Text(reads::<DetailText>)),
        optional("limits", Shape::Object),
    ],
};

pub(super) static APPROVAL: Schema = Schema {
    label: "approval of [[delegations]]",
    keys: &[
        optional("scopes", Shape::Texts(reads::<ScopeToken>)),
        optional("actions", Shape::Texts(reads::<DetailText>)),
        required("by", Shape::Text(reads::<Decider>)),
        optional("remember", TTL),
        optional("wait", TTL),
    ],
};

const DETAIL_TEXTS: Shape = Shape::TextsTogether(reads::<DetailText>, detail_values);
const TEXT: Shape = Shape::Text(reads::<String>);
const TEXT_OR_TEXTS: Shape = Shape::TextOrTexts(reads::<String>);
const TEXTS: Shape = Shape::Texts(reads::<String>);
const WORDS: Shape = Shape::Text(words);
const URL: Shape = Shape::Text(url);
const TTL: Shape = Shape::Text(reads::<Ttl>);
const SELECTORS: Shape = Shape::TextOrTexts(reads::<ClaimSelector>);
const TENANTS: Shape = Shape::TextsTogether(tenant_or_any, tenants);

const fn required(name: &'static str, shape: Shape) -> Key {
    Key { name, required: true, shape }
}

const fn optional(name: &'static str, shape: Shape) -> Key {
    Key { name, required: false, shape }
}

/// Checks the grammar of [`Url`]. The message of its deserializer would repeat the text.
fn url(text: &str) -> Result<(), String> {
    Url::parse(text).map(drop).map_err(|error| error.to_string())
}

/// Checks a text for persons.
fn words(text: &str) -> Result<(), String> {
    let is_fit =
        !text.trim().is_empty() && text.chars().count() <= MAX_WORDS_CHARS && !text.chars().any(char::is_control);
    if is_fit { Ok(()) } else { Err(format!("1 to {MAX_WORDS_CHARS} characters, without control characters")) }
}

fn time(text: &str) -> Result<(), String> {
    let wanted = "a time with its offset, such as \"2027-01-31T00:00:00Z\"";
    text.parse::<Timestamp>().ok().map(drop).ok_or_else(|| wanted.to_owned())
}

fn tenant_or_any(text: &str) -> Result<(), String> {
    if text == ANY { Ok(()) } else { reads::<Tenant>(text) }
}

/// Checks the grammar of [`Tenants`]. Its elements have already been checked.
fn tenants(elements: &Value) -> Result<(), String> {
    Tenants::deserialize(elements).map(drop).map_err(|error| error.to_string())
}

/// Checks the grammar of [`DetailValues`]. Its elements have already been checked.
fn detail_values(elements: &Value) -> Result<(), String> {
    DetailValues::deserialize(elements).map(drop).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::DeserializeOwned;

    use sts_protocol::AuthorizationDetail;

    use super::*;
    use crate::registry::{Agent, AgentAuth, ApprovalRule, Delegation, DerivedScope, Issuer, Workload};

    /// Returns the names of a type's fields, which serde lists in its error for an unknown field.
    fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
        let error = serde_json::from_value::<T>(serde_json::json!({ "-": 0 })).err().unwrap().to_string();
        let (_, expected) = error.split_once("expected").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn keys(schema: &Schema) -> BTreeSet<String> {
        schema.keys.iter().map(|key| key.name.to_owned()).collect()
    }

    #[test]
    fn the_keys_that_name_files_are_known() {
        let named: BTreeSet<String> = [&ISSUER, &AGENT, &AUTH, &WORKLOAD, &DELEGATION, &DERIVED_SCOPE]
            .iter()
            .flat_map(|schema| keys(schema))
            .filter(|key| key.ends_with("_file"))
            .collect();
        assert_eq!(named, FILE_KEYS.map(str::to_owned).into());
    }

    #[test]
    fn the_keys_of_a_file_are_the_fields_of_the_entries() {
        assert_eq!(keys(&ISSUER), fields::<Issuer>());
        assert_eq!(keys(&AGENT), fields::<Agent>());
        assert_eq!(keys(&AUTH), fields::<AgentAuth>());
        assert_eq!(keys(&WORKLOAD), fields::<Workload>());
        assert_eq!(keys(&DELEGATION), fields::<Delegation>());
        assert_eq!(keys(&DERIVED_SCOPE), fields::<DerivedScope>());
        assert_eq!(keys(&DETAIL), fields::<AuthorizationDetail>());
        assert_eq!(keys(&APPROVAL), fields::<ApprovalRule>());
    }
}
