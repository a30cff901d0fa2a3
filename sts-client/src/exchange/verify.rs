//! The checks of an issued token: it must match the request.

use std::sync::Arc;

use jiff::Timestamp;
use secrecy::ExposeSecret as _;
use serde_json::Value;
use sts_jose::{Claims, KeyLookupError, KeySource, KeyVerifyError, Slot, UnverifiedToken};
use sts_protocol::{AccessTokenClaims, Act};

use super::answer::{TokenAnswer, refused};
use super::error::{ExchangeError, Outage};
use super::flaw::Flaw;
use super::issued::IssuedToken;
use crate::call::{Caller, Route};
use crate::possession::{Prover, TokenHeader};

/// The longest audience that an error repeats, in characters.
const MAX_AUDIENCE_CHARS: usize = 256;

/// The required properties of the token.
pub(super) struct Expected<'a> {
    pub(super) issuer: &'a str,
    pub(super) client_id: &'a str,
    pub(super) route: &'a Route,
    /// The user whose token was exchanged; `None` for a service account's token.
    pub(super) subject: Option<&'a Caller>,
    /// The key to which the token must be bound; `None` for a bearer token.
    pub(super) prover: Option<&'a Prover>,
    /// The thumbprints of the client certificate before and after the request, to which the token may
    /// be bound.
    pub(super) certificates: [Option<Arc<str>>; 2],
    /// The time at which the answer arrived.
    pub(super) now: Timestamp,
}

/// Returns the token of an answer, if it matches the request.
pub(super) async fn verify(
    answer: TokenAnswer,
    keys: &KeySource,
    expected: &Expected<'_>,
) -> Result<IssuedToken, ExchangeError> {
    let token = answer.access_token.expose_secret();
    let unverified = check_type(&answer, expected).and_then(|()| parse(token, expected));
    let unverified = unverified.map_err(|flaw| refused(&flaw))?;
    let verified = keys.verify(unverified, None).await.map_err(|error| match error {
        KeyVerifyError::Lookup(KeyLookupError::Unknown | KeyLookupError::Unusable) => refused(&Flaw::UnknownKey),
        KeyVerifyError::Lookup(KeyLookupError::Unavailable(cause)) if cause.status() == Some(429) => {
            ExchangeError::Overloaded { retry_after: None }
        }
        KeyVerifyError::Lookup(error @ KeyLookupError::Unavailable(_)) => Outage::Keys(error).into(),
        KeyVerifyError::Signature(error) => refused(&Flaw::Signature(error)),
    })?;
    let exp = verified.claims().times(expected.now).map_err(|error| refused(&Flaw::Times(error)))?.exp;
    let claims = serde_json::from_value::<AccessTokenClaims>(Value::Object(verified.claims().as_map().clone()));
    // The cause is dropped, because it quotes claims.
    let Ok(claims) = claims else { return Err(refused(&Flaw::Claims)) };
    let certificate = check_confirmation(verified.claims(), expected)
        .and_then(|certificate| check(&claims, exp, expected).map(|()| certificate))
        .map_err(|flaw| refused(&flaw))?;
    if answer.scope.is_some_and(|scope| scope != claims.scope) {
        return Err(refused(&Flaw::ScopeMismatch));
    }
    let header = match expected.prover {
        Some(prover) => TokenHeader::bound(token, prover),
        None => TokenHeader::bearer(token),
    };
    let header = header.ok_or_else(|| refused(&Flaw::Member("access_token")))?;
    let said = expected.now.checked_add(answer.expires_in).unwrap_or(exp);
    let tenant_ids = expected.subject.is_none().then(|| claims.tenant_ids.unwrap_or_default());
    Ok(IssuedToken { header, certificate, expires_at: exp.min(said), scope: claims.scope, tenant_ids })
}

/// Checks that the token is used as the request asked for. A token that is not bound although a
/// proof was sent is discarded (RFC 9449 §5).
fn check_type(answer: &TokenAnswer, expected: &Expected<'_>) -> Result<(), Flaw> {
    match (expected.prover, answer.is_bound) {
        (Some(_), true) | (None, false) => Ok(()),
        (Some(_), false) => Err(Flaw::NotBound),
        (None, true) => Err(Flaw::Bound),
    }
}

/// Checks that the token is bound to keys of this agent alone, and to the key of its proof if it sent
/// one. Returns the certificate to which it is bound.
fn check_confirmation(claims: &Claims, expected: &Expected<'_>) -> Result<Option<Arc<str>>, Flaw> {
    let jkt = expected.prover.map(Prover::jkt);
    let Some(cnf) = claims.get("cnf") else {
        return if jkt.is_none() { Ok(None) } else { Err(Flaw::Confirmation) };
    };
    let members = cnf.as_object().filter(|members| !members.is_empty()).ok_or(Flaw::Confirmation)?;
    let own = |presented: &str| expected.certificates.iter().flatten().find(|own| ***own == *presented).cloned();
    let mut certificate = None;
    for (name, thumbprint) in members {
        let thumbprint = thumbprint.as_str().ok_or(Flaw::Confirmation)?;
        match name.as_str() {
            "jkt" if jkt == Some(thumbprint) => {}
            "x5t#S256" => certificate = Some(own(thumbprint).ok_or(Flaw::Confirmation)?),
            _ => return Err(Flaw::Confirmation),
        }
    }
    let has_key = jkt.is_none() || members.contains_key("jkt");
    if has_key { Ok(certificate) } else { Err(Flaw::Confirmation) }
}

fn parse<'t>(token: &'t str, expected: &Expected<'_>) -> Result<UnverifiedToken<'t>, Flaw> {
    let token = UnverifiedToken::parse(token).map_err(Flaw::Token)?;
    if !Slot::IssuedToken.accepts(token.header().typ.as_deref()) {
        return Err(Flaw::Typ);
    }
    if token.claims().get("iss").and_then(Value::as_str) != Some(expected.issuer) {
        return Err(Flaw::Issuer);
    }
    Ok(token)
}

fn check(claims: &AccessTokenClaims, exp: Timestamp, expected: &Expected<'_>) -> Result<(), Flaw> {
    if claims.client_id != expected.client_id {
        return Err(Flaw::ClientId);
    }
    if !expected.route.scope.is_empty() && !claims.scope.is_subset(&expected.route.scope) {
        return Err(Flaw::ScopeWidened);
    }
    let asked = &expected.route.authorization_details;
    if !claims.authorization_details.iter().all(|granted| asked.iter().any(|asked| granted.is_within(asked))) {
        return Err(Flaw::DetailsWidened);
    }
    match expected.subject {
        Some(subject) => check_delegated(claims, exp, subject, expected)?,
        None => check_service_account(claims, expected)?,
    }
    // This check is last, so that the error suggests a fix only for a token that is otherwise
    // valid.
    if !expected.route.is_meant_by(&claims.aud) {
        let issued: String = claims.aud.chars().take(MAX_AUDIENCE_CHARS).collect();
        return Err(Flaw::Audience(issued.into()));
    }
    Ok(())
}

/// Checks the invariants of one hop that the caller can see: the same principal, the same tenant,
/// one more actor, no longer lifetime.
fn check_delegated(
    claims: &AccessTokenClaims,
    exp: Timestamp,
    caller: &Caller,
    expected: &Expected<'_>,
) -> Result<(), Flaw> {
    let subject = caller.verified();
    let chain = Act::wrap(expected.issuer, expected.client_id, subject.act.clone());
    if claims.act.as_ref() != Some(&chain) {
        return Err(Flaw::Act);
    }
    let ours = subject.issuer == expected.issuer;
    // At the first hop the STS may add a prefix to the name that the external issuer gave.
    let same_name = if ours { claims.sub == subject.sub } else { claims.sub.ends_with(&subject.sub) };
    if !same_name || claims.sub_id.as_ref() != Some(&subject.subject) {
        return Err(Flaw::Subject);
    }
    // An external token may omit the tenant that the STS assigns to its issuer.
    let same_tenant = claims.tenant_id == subject.tenant || (!ours && subject.tenant.is_none());
    if !same_tenant {
        return Err(Flaw::Tenant);
    }
    if claims.tenant_ids.is_some() {
        return Err(Flaw::TenantIds);
    }
    if exp > subject.expires_at {
        return Err(Flaw::Outlives);
    }
    Ok(())
}

fn check_service_account(claims: &AccessTokenClaims, expected: &Expected<'_>) -> Result<(), Flaw> {
    if claims.act.is_some() {
        return Err(Flaw::Delegated);
    }
    if claims.sub != expected.client_id || claims.sub_id.is_some() {
        return Err(Flaw::Subject);
    }
    if claims.tenant_id.is_some() {
        return Err(Flaw::Tenant);
    }
    Ok(())
}
