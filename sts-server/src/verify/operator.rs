//! Access tokens of the issuer that names operators: the same strictness as for subject tokens, another question.

use jiff::Timestamp;
use sts_jose::{ClaimError, ParseError, UnverifiedToken, typ_fits};
use sts_protocol::TokenType;
use thiserror::Error;

use super::values;
use crate::keys::{TrustError, TrustedKeys};
use crate::registry::Registry;

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
}

impl OperatorError {
    /// Whether the token may be good, and only cannot be checked now.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        if let Self::Trust(trust) = self { trust.is_outage() } else { false }
    }
}

/// Verifies an operator's access token: signature, kind, times, address.
///
/// # Errors
/// [`OperatorError`]; of these, one that [is an outage](OperatorError::is_outage) says nothing about the token.
pub async fn operator(context: &OperatorContext<'_>, token: &str) -> Result<VerifiedOperator, OperatorError> {
    let token = UnverifiedToken::parse(token).map_err(OperatorError::Parse)?;
    let believed = context.trusted.believe(context.registry, token, context.now).await.map_err(OperatorError::Trust)?;
    if !typ_fits(believed.token.header().typ.as_deref(), TokenType::AccessToken.allowed_typ()) {
        return Err(OperatorError::Typ);
    }
    let claims = believed.token.claims();
    if claims.get("cnf").is_some() {
        return Err(OperatorError::Bound);
    }
    if !claims.audience()?.contains(&context.audience) {
        return Err(OperatorError::NotAddressed);
    }
    let sub = claims.string("sub")?.filter(|sub| values::is_name(sub)).ok_or(OperatorError::Sub)?;
    let values = match claims.get(context.claim) {
        Some(serde_json::Value::String(text)) => text.split(' ').map(str::to_owned).collect(),
        Some(_) => claims.strings(context.claim)?.unwrap_or_default().into_iter().map(str::to_owned).collect(),
        None => Vec::new(),
    };
    Ok(VerifiedOperator { iss: believed.issuer.issuer.clone(), sub: sub.to_owned(), values })
}
