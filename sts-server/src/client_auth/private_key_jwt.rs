//! `private_key_jwt`: an assertion that the agent signed with its own key (RFC 7523 §3, with the audience rule of its revision).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use sts_jose::{UnverifiedToken, typ_fits};

use super::error::AssertionError;
use super::{AuthenticatedAgent, AuthenticationError, Context, Failure, Method};
use crate::record::Standing;
use crate::storage::{OneTimeValue, TokenReference, forget_at};

/// The `typ` that an assertion may bear.
pub(super) const ALLOWED_TYP: &[&str] = &["", "jwt", "client-authentication+jwt"];

/// The longest life of an assertion.
const MAX_LIFETIME: SignedDuration = SignedDuration::from_mins(5);
/// The longest `jti`, in bytes.
const MAX_JTI_BYTES: usize = 255;

/// The agent that signed the assertion, with the value that must be spent for it to count.
pub(super) async fn authenticate(
    context: &Context<'_>,
    token: UnverifiedToken<'_>,
) -> Result<AuthenticatedAgent, AuthenticationError> {
    let claims = token.claims();
    let iss = claims.string("iss").map_err(bad)?.map(str::to_owned);
    let sub = claims.string("sub").map_err(bad)?;
    let Some(id) = iss.filter(|iss| sub == Some(iss)) else { return Err(bad(AssertionError::Issuer)) };
    let agent = context.agent(&id).ok_or(Failure::UnknownAgent)?;
    if !typ_fits(token.header().typ.as_deref(), ALLOWED_TYP) {
        return Err(bad(AssertionError::Typ));
    }
    let believed = context.trusted.believe_agent(agent, token, context.now).await;
    let (token, times) = believed
        .map_err(|error| if error.is_outage() { AuthenticationError::Unavailable(error) } else { bad(error) })?;
    if token.claims().audience().map_err(bad)? != [context.issuer] {
        return Err(bad(AssertionError::Audience));
    }
    if times.exp.duration_since(context.now) > MAX_LIFETIME {
        return Err(bad(AssertionError::Lifetime));
    }
    if token.claims().get("cnf").is_some() {
        return Err(bad(AssertionError::Bound));
    }
    let jti = token.claims().string("jti").map_err(bad)?;
    let jti = jti.filter(|jti| (1..=MAX_JTI_BYTES).contains(&jti.len())).ok_or_else(|| bad(AssertionError::Jti))?;
    let reference = TokenReference { iss: id.clone(), jti: jti.to_owned() };
    let standing = Standing::of_assertion(reference, &id, times.iat);
    if let Some(kind) = context.revocations.refuse(&standing) {
        return Err(bad(AssertionError::Revoked(kind)));
    }
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, jti.as_bytes());
    let one_time = OneTimeValue {
        namespace: format!("client_assertion {id}"),
        value: URL_SAFE_NO_PAD.encode(digest.as_ref()),
        expires_at: forget_at(times.exp),
    };
    Ok(AuthenticatedAgent {
        agent: Arc::clone(agent),
        method: Method::PrivateKeyJwt,
        one_time: Some(one_time),
        standings: vec![standing],
    })
}

fn bad(error: impl Into<AssertionError>) -> AuthenticationError {
    AuthenticationError::Failed(Failure::Assertion(error.into()))
}
