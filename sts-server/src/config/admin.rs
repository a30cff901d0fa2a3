//! The operators of the admin API: their tokens, their roles and their issuer.

use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sts_jose::Algorithm;
use url::Url;

use super::{Config, argon2id_cost};
use crate::document::{Key, Schema, Shape};

/// The longest name of an admin token, in characters.
const MAX_NAME_CHARS: usize = 64;

/// The operators of the admin API. Without configuration, the API rejects every operator.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// The URL under which browsers reach the admin listener. Default none: the console answers to
    /// `localhost` and to IP addresses alone.
    pub url: Option<Url>,
    /// Static bearer tokens, each of one operator.
    #[serde(default)]
    pub tokens: Vec<AdminToken>,
    /// The issuer whose access tokens name operators.
    pub oidc: AdminOidc,
}

/// The configured part of an operator's bearer token. Debug omits the hash.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// The name that the audit log records. The token starts with it.
    pub name: String,
    /// The role that the token grants.
    pub role: Role,
    /// An argon2id hash of the whole token, in PHC form.
    pub hash: String,
}

/// The permissions of an operator. Each role includes the permissions of those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, and asks for explanations.
    Reader,
    /// Also revokes, lifts revocations, rotates keys, and disables entries.
    Operator,
    /// Also changes entries and revokes keys.
    Admin,
}

/// An issuer whose access tokens name operators.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminOidc {
    /// The `iss` claim, byte for byte. Default none: the server accepts no access token.
    pub issuer: Option<String>,
    /// The URL of its keys. Default: discovery.
    pub jwks_uri: Option<Url>,
    /// A PEM file with the certificate authorities of its URLs. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The accepted signature algorithms. Default RS256, ES256, EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// The required audience of its tokens.
    pub audience: Option<String>,
    /// The required `typ` of its access tokens.
    pub token_typ: TokenTyp,
    /// The literal name of the claim that gives the role of an operator. Default `roles`.
    pub claim: String,
    /// The values of that claim that grant [`Role::Reader`].
    #[serde(default)]
    pub readers: Vec<String>,
    /// The values that grant [`Role::Operator`].
    #[serde(default)]
    pub operators: Vec<String>,
    /// The values that grant [`Role::Admin`].
    #[serde(default)]
    pub admins: Vec<String>,
    /// The client of the console at the issuer. Default: none, and no sign-in there.
    pub client_id: Option<String>,
    /// The file with the secret of that client. Default: a public client.
    pub client_secret_file: Option<PathBuf>,
    /// The scopes that a sign-in requests. Default `openid`.
    pub scopes: Vec<String>,
}

/// The `typ` that an operator's access token must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum TokenTyp {
    /// `at+jwt` (RFC 9068 §2.1), which no other kind of token has.
    #[serde(rename = "at+jwt")]
    AtJwt,
    /// None, `JWT` or `at+jwt`, for issuers that do not follow RFC 9068.
    #[serde(rename = "jwt")]
    Jwt,
}

/// The schema of one table of `admin.tokens`.
pub(super) static ADMIN_TOKEN: Schema = Schema {
    label: "[[admin.tokens]]",
    keys: &[
        Key { name: "name", required: true, shape: Shape::Text(check_name) },
        Key { name: "role", required: true, shape: Shape::Text(check_role) },
        Key { name: "hash", required: true, shape: Shape::SecretText(check_hash) },
    ],
};

impl Admin {
    /// Returns true if the configuration names an operator or an issuer of operators.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.tokens.is_empty() || self.oidc.issuer.is_some()
    }
}

impl AdminOidc {
    /// Returns the claim values of each role, the most powerful role first.
    #[must_use]
    pub fn values(&self) -> [(Role, &[String]); 3] {
        [(Role::Admin, &self.admins), (Role::Operator, &self.operators), (Role::Reader, &self.readers)]
    }
}

impl Role {
    /// Returns the name of the role in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let roles = [Self::Reader, Self::Operator, Self::Admin];
        roles.into_iter().find(|role| role.as_str() == text).ok_or("must be reader, operator or admin")
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdminToken").field("name", &self.name).field("role", &self.role).finish_non_exhaustive()
    }
}

/// Checks the name of an admin token.
///
/// # Errors
/// Returns the required form if the name does not have it.
pub fn check_name(name: &str) -> Result<(), String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > MAX_NAME_CHARS || !name.bytes().all(fits) {
        return Err(format!("1 to {MAX_NAME_CHARS} letters, digits, - and _"));
    }
    Ok(())
}

fn check_role(role: &str) -> Result<(), String> {
    role.parse::<Role>().map(drop).map_err(str::to_owned)
}

fn check_hash(hash: &str) -> Result<(), String> {
    argon2id_cost(hash).map(drop).map_err(|reason| format!("{reason}; `sts-server admin token` prints one"))
}

/// Returns a name that two tokens have.
pub(super) fn same_name(tokens: &[AdminToken]) -> Option<&str> {
    let mut names = HashSet::new();
    tokens.iter().map(|token| token.name.as_str()).find(|name| !names.insert(*name))
}

/// Returns the faults of `admin.oidc` as a whole, each with the key that it names.
pub(super) fn oidc_faults(config: &Config) -> Vec<(&'static str, &'static str)> {
    let oidc = &config.admin.oidc;
    let names_no_operator = oidc.values().iter().all(|(_, values)| values.is_empty());
    let mut faults = Vec::new();
    if oidc.client_id.is_some() && config.admin.url.is_none() {
        faults.push(("admin.oidc.client_id", " needs admin.url, to which the issuer sends browsers back"));
    }
    if oidc.client_secret_file.is_some() && oidc.client_id.is_none() {
        faults.push(("admin.oidc.client_secret_file", " needs admin.oidc.client_id"));
    }
    match &oidc.issuer {
        None => {
            for (path, given) in [
                ("admin.oidc.audience", oidc.audience.is_some()),
                ("admin.oidc.jwks_uri", oidc.jwks_uri.is_some()),
                ("admin.oidc.ca_file", oidc.ca_file.is_some()),
                ("admin.oidc.readers", !oidc.readers.is_empty()),
                ("admin.oidc.operators", !oidc.operators.is_empty()),
                ("admin.oidc.admins", !oidc.admins.is_empty()),
                ("admin.oidc.client_id", oidc.client_id.is_some()),
            ] {
                if given {
                    faults.push((path, " needs admin.oidc.issuer too"));
                }
            }
        }
        Some(issuer) => {
            if *issuer == config.issuer {
                faults.push(("admin.oidc.issuer", " is this service itself, whose tokens are for agents"));
            }
            if oidc.audience.is_none() {
                faults.push((
                    "admin.oidc.issuer",
                    " needs admin.oidc.audience: else a token for any audience is accepted",
                ));
            }
            if names_no_operator {
                faults.push((
                    "admin.oidc.issuer",
                    " needs one of admin.oidc.readers, operators and admins: else every operator is rejected",
                ));
            }
        }
    }
    faults
}
