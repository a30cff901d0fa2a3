//! Authentication of operators, by admin tokens or by access tokens of a configured issuer.

use std::net::IpAddr;
use std::sync::{Mutex, OnceLock, PoisonError};

use argon2::Argon2;
use argon2::password_hash::PasswordHasher as _;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sts_jose::{Entropy, HttpClientError};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::{Denied, SignIn};
use crate::client_auth::{AuthenticationError, SecretQueue};
use crate::config::{self, AdminToken, Role};
use crate::keys::{Inspected, KeyAccess, TrustedKeys};
use crate::registry::{Registry, RegistryError};
use crate::service::Sts;
use crate::storage::{EntryKind, EntryRow, Origin, Version};
use crate::verify::{self, OperatorContext, VerifiedOperator};

/// The prefix of an admin token. It makes a leaked token recognizable.
const PREFIX: &str = "stsadmin_";
/// The number of random bytes in a token.
const SECRET_BYTES: usize = 32;
/// The length of a salt, in bytes.
const SALT_BYTES: usize = 16;
/// The maximum age of an operator's access token.
const MAX_TOKEN_AGE: &str = "60m";
/// The maximum length of a bearer token, in bytes. It leaves room for an access token.
const MAX_BEARER_BYTES: usize = 16 * 1024;

/// The operators who may use the admin API.
#[derive(Debug)]
pub struct Access {
    tokens: Vec<KnownToken>,
    oidc: Option<Oidc>,
    sign_in: Option<SignIn>,
    link: Mutex<Option<SignInLink>>,
}

/// A code that signs in once with a credential.
struct SignInLink {
    code: String,
    bearer: SecretString,
}

/// An authenticated operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operator {
    /// The name of the admin token, or `SUB of ISS`.
    pub name: String,
    /// The role, which decides the permitted requests.
    pub role: Role,
}

#[derive(Debug)]
struct KnownToken {
    token: AdminToken,
    /// The SHA-256 of the token, once argon2 has matched it. argon2 then runs once per token.
    seen: OnceLock<[u8; 32]>,
}

#[derive(Debug)]
struct Oidc {
    registry: Registry,
    trusted: TrustedKeys,
    audience: String,
    config: config::AdminOidc,
}

/// The operators of a configuration cannot be known.
#[derive(Debug, Error)]
pub enum AccessError {
    /// The entry of the issuer of operators cannot be parsed.
    #[error(transparent)]
    Entry(#[from] RegistryError),
    /// The HTTP client cannot be created.
    #[error("failed to create the HTTP client for the issuer of operators")]
    Http(#[from] HttpClientError),
}

/// A new admin token. The token itself is known only here.
pub struct NewToken {
    /// The token in clear text.
    pub token: SecretString,
    /// The argon2id hash of the token, for the configuration.
    pub hash: String,
}

impl Access {
    /// Creates the operators that the configuration names.
    ///
    /// # Errors
    /// [`AccessError`]: the machine has no trust store, or an entry that is built here cannot be
    /// parsed; the latter is never expected.
    pub fn new(config: &config::Admin, access: &KeyAccess) -> Result<Self, AccessError> {
        let known = |token: &AdminToken| KnownToken { token: token.clone(), seen: OnceLock::new() };
        let oidc = match (&config.oidc.issuer, &config.oidc.audience) {
            (Some(issuer), Some(audience)) => {
                let mut entry = json!({
                    "issuer": issuer,
                    "algorithms": config.oidc.algorithms,
                    "max_token_age": MAX_TOKEN_AGE,
                });
                let jwks_uri = config.oidc.jwks_uri.as_ref().map(|url| url.as_str().into());
                let ca_file = config.oidc.ca_file.as_ref().map(|file| file.display().to_string().into());
                for (key, value) in [("jwks_uri", jwks_uri), ("ca_file", ca_file)] {
                    if let (Some(value), Some(members)) = (value, entry.as_object_mut()) {
                        members.insert(key.to_owned(), value);
                    }
                }
                let row = EntryRow {
                    kind: EntryKind::Issuer,
                    id: issuer.clone(),
                    origin: Origin::File,
                    disabled_by_admin: false,
                    body: entry.to_string(),
                };
                let registry = Registry::from_rows(Version::default(), &[row])?;
                let trusted = TrustedKeys::new(&registry, &TrustedKeys::default(), access);
                Some(Oidc { registry, trusted, audience: audience.clone(), config: config.oidc.clone() })
            }
            (Some(_), None) | (None, _) => None,
        };
        let tokens = config.tokens.iter().map(known).collect();
        Ok(Self { tokens, oidc, sign_in: SignIn::new(config, access)?, link: Mutex::default() })
    }

    /// Returns the sign-in at the issuer of operators, if a client there is configured.
    #[must_use]
    pub fn sign_in(&self) -> Option<&SignIn> {
        self.sign_in.as_ref()
    }

    /// Returns a code that signs in to the console once with this credential. It replaces an earlier
    /// code.
    pub fn offer(&self, bearer: SecretString, entropy: &dyn Entropy) -> String {
        let mut random = [0; SECRET_BYTES];
        entropy.fill(&mut random);
        let code = URL_SAFE_NO_PAD.encode(random);
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(SignInLink { code: code.clone(), bearer });
        code
    }

    /// Returns the credential of a code, which is spent by this.
    pub fn spend(&self, code: &str) -> Option<SecretString> {
        let mut link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.take_if(|link| link.code.as_bytes().ct_eq(code.as_bytes()).into()).map(|link| link.bearer)
    }

    /// Authenticates the operator of a request, and counts a failed attempt. `authorization` holds
    /// all `Authorization` headers of the request.
    ///
    /// # Errors
    /// [`Denied`]; an unknown token and a wrong token cause the same error.
    pub async fn authenticate(
        &self,
        sts: &Sts,
        authorization: &[&HeaderValue],
        source: IpAddr,
    ) -> Result<Operator, Denied> {
        if self.tokens.is_empty() && self.oidc.is_none() {
            return Err(Denied::NotConfigured);
        }
        sts.rates().admit_attempt(source)?;
        let refusal = match self.identify(sts, authorization).await {
            Ok(operator) => return Ok(operator),
            Err(refusal) => refusal,
        };
        if !refusal.is_failed_attempt() {
            return Err(refusal);
        }
        // The id of an agent never contains a space.
        let claimed = bearer(authorization).ok().and_then(claimed_name).map(|name| format!("operator {name}"));
        sts.rates().failed_attempts(source, claimed.as_deref(), 1)?;
        Err(refusal)
    }

    /// Fetches the key set of the issuer of operators again, so that a withdrawn key is no longer
    /// accepted.
    pub async fn refresh(&self) {
        if let Some(oidc) = &self.oidc {
            oidc.trusted.refresh().await;
        }
    }

    /// Fetches the key set of the issuer of operators and returns the result.
    pub async fn inspect(&self) -> Vec<Inspected> {
        match &self.oidc {
            Some(oidc) => oidc.trusted.inspect().await,
            None => Vec::new(),
        }
    }

    async fn identify(&self, sts: &Sts, authorization: &[&HeaderValue]) -> Result<Operator, Denied> {
        let bearer = bearer(authorization)?;
        match &self.oidc {
            // A JWT has three parts; an admin token has two.
            Some(oidc) if bearer.split('.').count() == 3 => oidc.operator(sts, bearer).await,
            Some(_) | None => self.by_token(sts, bearer).await,
        }
    }

    async fn by_token(&self, sts: &Sts, bearer: &str) -> Result<Operator, Denied> {
        let name = claimed_name(bearer);
        let known = self.tokens.iter().find(|known| Some(known.token.name.as_str()) == name);
        let seen: [u8; 32] = digest(&SHA256, bearer.as_bytes()).as_ref().try_into().unwrap_or_default();
        let is_seen = |known: &KnownToken| known.seen.get().is_some_and(|known| known.ct_eq(&seen).into());
        if let Some(known) = known.filter(|known| is_seen(known)) {
            return Ok(known.operator());
        }
        if name.is_none() {
            return Err(Denied::Token);
        }
        let hash = known.map(|known| known.token.hash.clone());
        let secret = bearer.to_owned().into();
        let matches = sts.secrets().argon2_matches(SecretQueue::Operators, hash, secret).await;
        match known.filter(|_| matches.as_ref().is_ok_and(|matches| *matches)) {
            Some(known) => {
                // A concurrent request may have stored the same value first.
                let _same = known.seen.set(seen);
                Ok(known.operator())
            }
            None if matches!(matches, Err(AuthenticationError::Overloaded)) => Err(Denied::Overloaded),
            None => Err(Denied::Token),
        }
    }
}

impl KnownToken {
    fn operator(&self) -> Operator {
        Operator { name: self.token.name.clone(), role: self.token.role }
    }
}

impl Oidc {
    /// Returns the operator of an access token. A subject without a configured role is
    /// authenticated but may do nothing; the error is that of a missing role.
    async fn operator(&self, sts: &Sts, token: &str) -> Result<Operator, Denied> {
        let snapshot = sts.snapshot();
        let context = OperatorContext {
            registry: &self.registry,
            trusted: &self.trusted,
            audience: &self.audience,
            claim: &self.config.claim,
            typ: self.config.token_typ,
            revocations: &snapshot.revocations,
            now: sts.now(),
        };
        let verified = verify::operator(&context, token).await;
        let verified = verified
            .map_err(|error| if error.is_outage() { Denied::IssuerKeys(error) } else { Denied::AccessToken(error) })?;
        let VerifiedOperator { iss, sub, values } = verified;
        let holds = |names: &[String]| names.iter().any(|name| values.contains(name));
        let role = self.config.values().into_iter().find(|(_, names)| holds(names)).map(|(role, _)| role);
        match role {
            Some(role) => Ok(Operator { name: format!("{sub} of {iss}"), role }),
            None => Err(Denied::Role { needs: Role::Reader }),
        }
    }
}

impl NewToken {
    /// Creates a token with this name. Takes about 20 ms, the time of an argon2id hash.
    ///
    /// # Errors
    /// The error of argon2, which is never expected.
    pub fn make(name: &str, entropy: &dyn Entropy) -> Result<Self, argon2::password_hash::Error> {
        let (mut secret, mut salt) = ([0; SECRET_BYTES], [0; SALT_BYTES]);
        entropy.fill(&mut secret);
        entropy.fill(&mut salt);
        let token = format!("{PREFIX}{name}.{}", URL_SAFE_NO_PAD.encode(secret));
        let hash: argon2::PasswordHash = Argon2::default().hash_password_with_salt(token.as_bytes(), &salt)?;
        Ok(Self { token: token.into(), hash: hash.to_string() })
    }
}

impl std::fmt::Debug for SignInLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SignInLink").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for NewToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewToken").finish_non_exhaustive()
    }
}

/// Returns the single bearer token (RFC 6750 §2.1).
fn bearer<'a>(authorization: &[&'a HeaderValue]) -> Result<&'a str, Denied> {
    let header = match authorization {
        [] => return Err(Denied::Unauthenticated),
        [header] => header.to_str().ok().ok_or(Denied::Authorization)?,
        _ => return Err(Denied::Authorization),
    };
    let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Denied::Unauthenticated);
    }
    let token = token.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || token.len() > MAX_BEARER_BYTES || !token.bytes().all(is_token) {
        return Err(Denied::Authorization);
    }
    Ok(token)
}

/// Returns the name of the admin token that a bearer token claims to be. Verifies nothing.
fn claimed_name(bearer: &str) -> Option<&str> {
    bearer.strip_prefix(PREFIX)?.split_once('.').map(|(name, _)| name)
}

impl NewToken {
    /// Returns the configured part of the token.
    #[must_use]
    pub fn configured(&self, name: &str, role: Role) -> AdminToken {
        AdminToken { name: name.to_owned(), role, hash: self.hash.clone() }
    }

    /// Returns the lines that add the token to the configuration.
    #[must_use]
    pub fn configuration(&self, name: &str, role: Role) -> String {
        format!("[[admin.tokens]]\nname = \"{name}\"\nrole = \"{role}\"\nhash = \"{}\"", self.hash)
    }

    /// Returns the token in clear text.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.token.expose_secret()
    }
}
