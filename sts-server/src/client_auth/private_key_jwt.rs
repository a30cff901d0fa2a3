//! `private_key_jwt`: an assertion signed with the agent's own key (RFC 7523 §3, with the audience
//! rule of its revision).

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::SignedDuration;
use sts_jose::{Slot, UnverifiedToken};

use super::error::AssertionError;
use super::{AuthenticatedAgent, AuthenticationError, ClientContext, Failure, Method, TOKEN_PATH, in_service};
use crate::record::{SingleUse, SingleUseKind, Standing, cut};
use crate::registry::AssertionAudience;
use crate::storage::{OneTimeValue, TokenReference, forget_at};

/// The longest `jti`, in bytes.
const MAX_JTI_BYTES: usize = 255;

/// Returns the agent that signed the assertion, with the single-use value that must be recorded.
pub(super) async fn authenticate(
    context: &ClientContext<'_>,
    token: UnverifiedToken<'_>,
) -> Result<AuthenticatedAgent, AuthenticationError> {
    let claims = token.claims();
    let iss = claims.string("iss").map_err(bad)?.map(str::to_owned);
    let sub = claims.string("sub").map_err(bad)?;
    let Some(id) = iss.filter(|iss| sub == Some(iss)) else { return Err(bad(AssertionError::Issuer)) };
    let agent = in_service(context.registry, context.revocations, &id)?;
    if !Slot::ClientAssertion.accepts(token.header().typ.as_deref()) {
        return Err(bad(AssertionError::Typ));
    }
    let believed = context.trusted.believe_agent(agent, token, context.now).await;
    let (token, times) = believed
        .map_err(|error| if error.is_outage() { AuthenticationError::Unavailable(error) } else { bad(error) })?;
    let rules = agent.auth.as_ref().ok_or(Failure::OnlyReceives)?;
    check_audience(context.issuer, rules.assertion_audience, &token.claims().audience().map_err(bad)?).map_err(bad)?;
    let (ahead, longest) = (times.exp.duration_since(context.now), rules.assertion_lifetime());
    if ahead > SignedDuration::from_secs(longest.as_seconds()) {
        return Err(bad(AssertionError::Lifetime { ahead: ahead.as_secs(), longest }));
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
        single_use: vec![SingleUse { kind: SingleUseKind::ClientAssertion, value: one_time }],
        standings: vec![standing],
        ..AuthenticatedAgent::by_secret(Arc::clone(agent), Method::PrivateKeyJwt)
    })
}

/// Checks that an assertion is addressed to our issuer alone. The agent's entry may also allow our
/// token endpoint, or both.
fn check_audience(our_issuer: &str, allowed: AssertionAudience, audience: &[&str]) -> Result<(), AssertionError> {
    let endpoint = format!("{our_issuer}{TOKEN_PATH}");
    let fits = match (allowed, audience) {
        (AssertionAudience::Issuer, [one]) => *one == our_issuer,
        (AssertionAudience::IssuerOrTokenEndpoint, [one]) => *one == our_issuer || *one == endpoint,
        (AssertionAudience::IssuerOrTokenEndpoint, [one, other]) => {
            [[our_issuer, &endpoint], [&endpoint, our_issuer]].contains(&[one, other])
        }
        (AssertionAudience::Issuer | AssertionAudience::IssuerOrTokenEndpoint, _) => false,
    };
    if fits {
        return Ok(());
    }
    let expected = match allowed {
        AssertionAudience::Issuer => format!("{our_issuer:?} alone (assertion_audience)"),
        AssertionAudience::IssuerOrTokenEndpoint => format!("{our_issuer:?}, {endpoint:?} or both"),
    };
    let found = if audience.is_empty() { "absent".to_owned() } else { format!("{audience:?}") };
    Err(AssertionError::Audience { found: cut(&found).into_owned(), expected })
}

fn bad(error: impl Into<AssertionError>) -> AuthenticationError {
    AuthenticationError::Failed(Failure::Assertion(error.into()))
}
