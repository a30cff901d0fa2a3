//! Who may use the admin API.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sts_jose::Algorithm;
use url::Url;

use super::{Config, argon2id_cost};
use crate::document::{Key, Schema, Shape, read_tables};

/// The longest name of an admin token, in characters.
const MAX_NAME_CHARS: usize = 64;

/// Who may use the admin API; nobody unless configured.
#[derive(Debug, Clone)]
pub struct Admin {
    /// The admin tokens.
    pub tokens: Vec<AdminToken>,
    /// The issuer whose access tokens name operators.
    pub oidc: AdminOidc,
}

/// A bearer token of an operator, as the configuration knows it. Debug shows no hash.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminToken {
    /// Its name, for audit; the token begins with it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// An argon2id hash of the whole token, in PHC form.
    pub hash: String,
}

/// What an operator may do; each role may do what those before it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Reads, and asks for explanations.
    Reader,
    /// Also revokes, lifts, rotates keys, and disables entries.
    Operator,
    /// Also changes entries and revokes keys.
    Admin,
}

/// An issuer whose access tokens name operators.
#[derive(Debug, Clone)]
pub struct AdminOidc {
    /// Byte for byte the `iss` claim. None by default: no access token is accepted.
    pub issuer: Option<String>,
    /// Where its keys are. Default: discovery.
    pub jwks_uri: Option<Url>,
    /// The certificates of the authority of its URLs, in PEM. Default: those of the system.
    pub ca_file: Option<PathBuf>,
    /// The algorithms that it signs with. Default RS256, ES256, EdDSA.
    pub algorithms: Vec<Algorithm>,
    /// What its tokens must be addressed to.
    pub audience: Option<String>,
    /// The `typ` of its access tokens.
    pub token_typ: TokenTyp,
    /// The claim that says what an operator may do, by its literal name. Default `roles`.
    pub claim: String,
    /// The values of that claim that make a reader.
    pub readers: Vec<String>,
    /// The values that make an operator.
    pub operators: Vec<String>,
    /// The values that make an admin.
    pub admins: Vec<String>,
}

/// The `typ` that an operator's access token must have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenTyp {
    /// `at+jwt` (RFC 9068 §2.1): no other kind of token has it.
    AtJwt,
    /// None, `JWT` or `at+jwt`, for issuers that do not follow RFC 9068.
    Jwt,
}

impl FromStr for TokenTyp {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "at+jwt" => Ok(Self::AtJwt),
            "jwt" => Ok(Self::Jwt),
            _ => Err(()),
        }
    }
}

/// A table of `admin.tokens`.
pub(super) static ADMIN_TOKEN: Schema = Schema {
    label: "[[admin.tokens]]",
    keys: &[
        Key { name: "name", required: true, shape: Shape::Text(check_name) },
        Key { name: "role", required: true, shape: Shape::Text(check_role) },
        Key { name: "hash", required: true, shape: Shape::SecretText(check_hash) },
    ],
};

impl Admin {
    /// Whether anybody may use the admin API.
    #[must_use]
    pub fn is_configured(&self) -> bool {
        !self.tokens.is_empty() || self.oidc.issuer.is_some()
    }
}

impl AdminOidc {
    /// The values of the claim that make each role, the most powerful first.
    #[must_use]
    pub fn values(&self) -> [(Role, &[String]); 3] {
        [(Role::Admin, &self.admins), (Role::Operator, &self.operators), (Role::Reader, &self.readers)]
    }
}

impl Role {
    /// The role as the configuration writes it.
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

/// Says what is wrong with the name of an admin token.
///
/// # Errors
/// The reason.
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

/// Sets the tokens of a text: a JSON array of tables.
pub(super) fn set_tokens(config: &mut Config, text: &str) -> Result<(), String> {
    let tables = read_tables(&ADMIN_TOKEN, text)?;
    let mut tokens: Vec<AdminToken> = Vec::with_capacity(tables.len());
    for table in tables {
        let token: AdminToken = serde_json::from_value(table.into()).map_err(|error| error.to_string())?;
        if tokens.iter().any(|known| known.name == token.name) {
            return Err(format!("two tokens are named {:?}", token.name));
        }
        tokens.push(token);
    }
    config.admin.tokens = tokens;
    Ok(())
}

/// What is wrong with `admin.oidc` as a whole: the key that bears the fault, and the fault.
pub(super) fn oidc_faults(config: &Config) -> Vec<(&'static str, &'static str)> {
    let oidc = &config.admin.oidc;
    let names_nobody = oidc.values().iter().all(|(_, values)| values.is_empty());
    let mut faults = Vec::new();
    match &oidc.issuer {
        None => {
            for (path, given) in [
                ("admin.oidc.audience", oidc.audience.is_some()),
                ("admin.oidc.jwks_uri", oidc.jwks_uri.is_some()),
                ("admin.oidc.ca_file", oidc.ca_file.is_some()),
                ("admin.oidc.readers", !oidc.readers.is_empty()),
                ("admin.oidc.operators", !oidc.operators.is_empty()),
                ("admin.oidc.admins", !oidc.admins.is_empty()),
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
                faults.push(("admin.oidc.issuer", " needs admin.oidc.audience: else a token for anybody would do"));
            }
            if names_nobody {
                faults.push((
                    "admin.oidc.issuer",
                    " needs one of admin.oidc.readers, operators and admins: else it lets nobody in",
                ));
            }
        }
    }
    faults
}
