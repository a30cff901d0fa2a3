//! Access tokens of the issuer that names operators: the same strictness as for subject tokens, another question.

use jiff::Timestamp;
use sts_jose::{ClaimError, Claims, ParseError, UnverifiedToken, typ_fits};
use sts_protocol::{TokenType, is_name};
use thiserror::Error;

use crate::config::TokenTyp;
use crate::keys::{JtiError, TrustError, TrustedKeys};
use crate::record::{Revocations, Standing};
use crate::registry::Registry;
use crate::storage::RevocationKind;

/// The `typ` of an access token that says so (RFC 9068 §2.1).
const AT_JWT: &[&str] = &["at+jwt"];

/// What an operator's token is verified against.
#[derive(Debug, Clone, Copy)]
pub struct OperatorContext<'a> {
    /// The one issuer that names operators, as the only entry.
    pub registry: &'a Registry,
    /// Its keys.
    pub trusted: &'a TrustedKeys,
    /// What its tokens must be addressed to.
    pub audience: &'a str,
    /// The claim that says what an operator may do, by its literal name.
    pub claim: &'a str,
    /// The `typ` that its tokens must have.
    pub typ: TokenTyp,
    /// The revocations in force.
    pub revocations: &'a Revocations,
    /// The present.
    pub now: Timestamp,
}

/// An operator, as an access token names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOperator {
    /// The issuer.
    pub iss: String,
    /// The operator, as the issuer names it.
    pub sub: String,
    /// What the claim holds: the elements of an array, or the words of a text.
    pub values: Vec<String>,
}

/// An access token names no operator.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// It is no JWT.
    #[error("no JWT")]
    Parse(#[source] ParseError),
    /// It is not believed.
    #[error("not believed")]
    Trust(#[source] TrustError),
    /// It is another kind of token.
    #[error("its typ is that of another kind of token")]
    Typ,
    /// It is bound to a key.
    #[error("bound to a key")]
    Bound,
    /// A claim has another type than it should.
    #[error("a claim is malformed")]
    Claim(#[from] ClaimError),
    /// It is addressed to others.
    #[error("addressed to others")]
    NotAddressed,
    /// It names nobody.
    #[error("its sub is missing or no name")]
    Sub,
    /// Its `jti` is no name.
    #[error("its jti is not accepted")]
    Jti(#[from] JtiError),
    /// It is an ID token, which is for a client to read and not for a service.
    #[error("an ID token")]
    IdToken,
    /// It is revoked, or its operator is, or is on hold.
    #[error("revoked, by {0:?}")]
    Revoked(RevocationKind),
}

impl OperatorError {
    /// Whether the token may be good, and only cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        if let Self::Trust(trust) = self { trust.is_outage() } else { false }
    }
}

/// Verifies an operator's access token: signature, kind, times, address, revocations.
///
/// # Errors
/// [`OperatorError`]; of these, one that [is an outage](OperatorError::is_outage) says nothing about the token.
pub async fn operator(context: &OperatorContext<'_>, token: &str) -> Result<VerifiedOperator, OperatorError> {
    let token = UnverifiedToken::parse(token).map_err(OperatorError::Parse)?;
    let believed = context.trusted.believe(context.registry, token, context.now).await.map_err(OperatorError::Trust)?;
    let allowed_typ = match context.typ {
        TokenTyp::AtJwt => AT_JWT,
        TokenTyp::Jwt => TokenType::AccessToken.allowed_typ(),
    };
    if !typ_fits(believed.token.header().typ.as_deref(), allowed_typ) {
        return Err(OperatorError::Typ);
    }
    let claims = believed.token.claims();
    if is_id_token(claims) {
        return Err(OperatorError::IdToken);
    }
    if claims.get("cnf").is_some() {
        return Err(OperatorError::Bound);
    }
    if !claims.audience()?.contains(&context.audience) {
        return Err(OperatorError::NotAddressed);
    }
    let sub = claims.string("sub")?.filter(|sub| is_name(sub)).ok_or(OperatorError::Sub)?;
    let standing = Standing::of_outside(believed.reference()?, sub, Vec::new(), believed.times.iat);
    if let Some(kind) = context.revocations.refuse(&standing) {
        return Err(OperatorError::Revoked(kind));
    }
    let values = match claims.get(context.claim) {
        Some(serde_json::Value::String(text)) => text.split(' ').map(str::to_owned).collect(),
        Some(_) => claims.strings(context.claim)?.unwrap_or_default().into_iter().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    Ok(VerifiedOperator { iss: believed.issuer.iss().to_owned(), sub: sub.to_owned(), values })
}

/// Returns true if a token has a claim that only ID tokens have (OpenID Connect Core §2, §3.3.2.11), or the `typ` claim of Keycloak's.
fn is_id_token(claims: &Claims) -> bool {
    ["nonce", "at_hash", "c_hash"].into_iter().any(|claim| claims.get(claim).is_some())
        || claims.get("typ").is_some_and(|typ| typ == "ID")
}
