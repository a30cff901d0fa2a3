//! Access tokens of the issuer that names operators. They are checked as strictly as subject
//! tokens, for another purpose.

use jiff::Timestamp;
use sts_jose::{ClaimError, Claims, ParseError, Slot, UnverifiedToken};
use sts_protocol::is_name;
use thiserror::Error;

use crate::config::TokenTyp;
use crate::keys::{JtiError, TrustError, TrustedKeys};
use crate::record::{Revocations, Standing};
use crate::registry::Registry;
use crate::storage::RevocationKind;

/// The inputs of the verification of an operator's token.
#[derive(Debug, Clone, Copy)]
pub struct OperatorContext<'a> {
    /// A registry whose only entry is the issuer that names operators.
    pub registry: &'a Registry,
    /// The keys of that issuer.
    pub trusted: &'a TrustedKeys,
    /// The audience that its tokens must have.
    pub audience: &'a str,
    /// The claim with the permissions of an operator, by its literal name.
    pub claim: &'a str,
    /// The `typ` that its tokens must have.
    pub typ: TokenTyp,
    /// The revocations in force.
    pub revocations: &'a Revocations,
    /// The present time, for the checks of times.
    pub now: Timestamp,
}

/// An operator, as named by an access token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedOperator {
    /// The issuer of the token.
    pub iss: String,
    /// The `sub`: the name of the operator at the issuer.
    pub sub: String,
    /// The values of the claim: the elements of an array, or the words of a text.
    pub values: Vec<String>,
}

/// An access token that is not accepted from an operator.
#[derive(Debug, Error)]
pub enum OperatorError {
    /// The token is not a JWT.
    #[error("not a JWT")]
    Parse(#[source] ParseError),
    /// The token is not trusted, or cannot be checked now.
    #[error("not trusted")]
    Trust(#[source] TrustError),
    /// The `typ` marks another kind of token.
    #[error("its typ is that of another kind of token")]
    Typ,
    /// The token is bound to a key.
    #[error("bound to a key")]
    Bound,
    /// A claim has the wrong type.
    #[error("a claim is malformed")]
    Claim(#[from] ClaimError),
    /// The token is addressed to another service.
    #[error("addressed to another audience")]
    NotAddressed,
    /// The `sub` is missing or not a valid name.
    #[error("its sub is missing or malformed")]
    Sub,
    /// The `jti` is not a valid name.
    #[error("its jti is not accepted")]
    Jti(#[from] JtiError),
    /// The token is an ID token, which is meant for a client and not for a service.
    #[error("an ID token")]
    IdToken,
    /// The token or its operator is revoked, or the operator is on hold.
    #[error("covered by the revocation of {}", .0.of_a_token())]
    Revoked(RevocationKind),
}

impl OperatorError {
    /// Returns true if the token may be valid but cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        if let Self::Trust(trust) = self { trust.is_outage() } else { false }
    }
}

/// Verifies an operator's access token: signature, kind, times, address, revocations.
///
/// # Errors
/// [`OperatorError`]; an error that [is an outage](OperatorError::is_outage) proves nothing about
/// the token.
pub async fn operator(context: &OperatorContext<'_>, token: &str) -> Result<VerifiedOperator, OperatorError> {
    let token = UnverifiedToken::parse(token).map_err(OperatorError::Parse)?;
    let believed = context.trusted.believe(context.registry, token, context.now).await.map_err(OperatorError::Trust)?;
    let slot = match context.typ {
        TokenTyp::AtJwt => Slot::IssuedToken,
        TokenTyp::Jwt => Slot::AccessToken,
    };
    if !slot.accepts(believed.token.header().typ.as_deref()) {
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

/// Returns true if a token has a claim that only ID tokens have (OpenID Connect Core §2,
/// §3.3.2.11). The `typ` claim of Keycloak's ID tokens counts too.
pub(super) fn is_id_token(claims: &Claims) -> bool {
    ["nonce", "at_hash", "c_hash"].into_iter().any(|claim| claims.get(claim).is_some())
        || claims.get("typ").is_some_and(|typ| typ == "ID")
}
