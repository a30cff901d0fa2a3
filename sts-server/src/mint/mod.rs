//! The signing of tokens, in memory only: a token is not issued until it has been recorded.
//!
//! What lives here: the claims of a permit, and their signature. What must never: a decision. The
//! holder of a [`Permit`] may mint exactly the token that it describes. A new claim is a field of
//! `sts_protocol::AccessTokenClaims`, filled here.

use std::fmt;

use jiff::Timestamp;
use sts_jose::{Algorithm, Entropy, SignError, SigningKey, Typ};
use sts_protocol::AccessTokenClaims;
use thiserror::Error;

use crate::error_kind::ErrorKind;
use crate::keys::KeyRing;
use crate::policy::{Permit, Ruling};
use crate::storage::{TokenReference, TokenRow, forget_at};

/// The maximum length of a token, in bytes. Gateways reject longer tokens.
pub const MAX_TOKEN_BYTES: usize = 8 * 1024;

/// The initial buffer size for claims, which are rarely longer.
const USUAL_CLAIMS_BYTES: usize = 1024;

const TYP: Option<&str> = Some(Typ::AccessToken.as_str());

/// The inputs of minting.
#[derive(Debug, Clone, Copy)]
pub struct MintContext<'a> {
    /// The signing keys of this service.
    pub ring: &'a KeyRing,
    /// The issuer identifier of this service.
    pub issuer: &'a str,
    /// The present time, used as `iat`.
    pub now: Timestamp,
    /// The source of randomness for `jti` and `txn`.
    pub entropy: &'a dyn Entropy,
}

/// A token that was signed but not yet recorded. `Debug` shows its claims, not the token.
pub struct Minted {
    token: String,
    claims: AccessTokenClaims,
    parent: Option<TokenReference>,
}

/// A failure to mint a token.
#[derive(Debug, Error)]
pub enum MintError {
    /// The token would exceed [`MAX_TOKEN_BYTES`].
    #[error("the token would have {bytes} bytes; {MAX_TOKEN_BYTES} are allowed")]
    TooLarge {
        /// The length that it would have.
        bytes: usize,
    },
    /// No key of the target's algorithm is active.
    #[error("no {0} key is active")]
    NoKey(Algorithm),
    /// The claims cannot be written as JSON.
    #[error("the claims cannot be written")]
    Claims(#[source] serde_json::Error),
    /// The signing operation failed.
    #[error("the signature failed")]
    Sign(#[source] SignError),
}

impl MintError {
    /// Returns the kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::TooLarge { .. } => ErrorKind::TokenSize,
            Self::NoKey(_) | Self::Claims(_) | Self::Sign(_) => ErrorKind::Unavailable,
        }
    }

    /// Returns the stable name, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "token_too_large",
            Self::NoKey(_) => "no_active_key",
            Self::Claims(_) | Self::Sign(_) => "signing_failed",
        }
    }
}

/// Signs the token that a permit allows.
///
/// # Errors
/// [`MintError`] if no token was made.
pub fn mint(context: &MintContext<'_>, permit: Permit) -> Result<Minted, MintError> {
    let mut ruling = permit.into_ruling();
    let parent = ruling.parent.take();
    let draft = draft(context, ruling)?;
    let token = draft.key.sign(TYP, &draft.json).map_err(MintError::Sign)?;
    Ok(Minted { token, claims: draft.claims, parent })
}

/// Checks that the token of a ruling could be minted. Signs nothing: without a permit there is no
/// token.
///
/// # Errors
/// [`MintError`], except `Sign`.
pub fn check(context: &MintContext<'_>, ruling: &Ruling) -> Result<(), MintError> {
    draft(context, ruling.clone()).map(drop)
}

/// A token that is within the length limit and not yet signed.
struct Draft<'a> {
    key: &'a SigningKey,
    claims: AccessTokenClaims,
    json: Vec<u8>,
}

fn draft<'a>(context: &MintContext<'a>, ruling: Ruling) -> Result<Draft<'a>, MintError> {
    let algorithm = ruling.target.signing_alg;
    let key = context.ring.active(algorithm).ok_or(MintError::NoKey(algorithm))?;
    let claims = claims(context, ruling);
    let mut json = Vec::with_capacity(USUAL_CLAIMS_BYTES);
    serde_json::to_writer(&mut json, &claims).map_err(MintError::Claims)?;
    let bytes = key.token_bytes(TYP, json.len());
    if bytes > MAX_TOKEN_BYTES {
        return Err(MintError::TooLarge { bytes });
    }
    Ok(Draft { key, claims, json })
}

fn claims(context: &MintContext<'_>, ruling: Ruling) -> AccessTokenClaims {
    AccessTokenClaims {
        iss: context.issuer.to_owned(),
        sub: ruling.sub,
        aud: ruling.target.minted_audience().to_owned(),
        client_id: ruling.client_id,
        iat: context.now.as_second(),
        exp: ruling.expires_at.as_second(),
        jti: name(context.now, context.entropy),
        scope: ruling.scope,
        act: ruling.act,
        sub_id: ruling.principal,
        tenant_id: ruling.tenant,
        tenant_ids: ruling.tenants,
        txn: ruling.txn.unwrap_or_else(|| name(context.now, context.entropy)),
        cnf: ruling.cnf,
        roles: ruling.roles,
        authorization_details: ruling.authorization_details,
        auth_time: ruling.authentication.auth_time,
        acr: ruling.authentication.acr,
        amr: ruling.authentication.amr,
    }
}

/// Returns a unique name: a UUID of version 7, which sorts by time.
#[must_use]
pub fn name(now: Timestamp, entropy: &dyn Entropy) -> String {
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let name = uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid();
    name.as_hyphenated().encode_lower(&mut uuid::Uuid::encode_buffer()).to_owned()
}

impl Minted {
    /// Returns the claims of the token.
    #[must_use]
    pub fn claims(&self) -> &AccessTokenClaims {
        &self.claims
    }

    /// Returns the row that records the token, under the token that it was exchanged for.
    #[must_use]
    pub fn row(&self) -> TokenRow {
        let at = |second| Timestamp::from_second(second).unwrap_or(Timestamp::MAX);
        TokenRow {
            iss: self.claims.iss.clone(),
            jti: self.claims.jti.clone(),
            parent: self.parent.clone(),
            txn: self.claims.txn.clone(),
            client_id: self.claims.client_id.clone(),
            issued_at: at(self.claims.iat),
            expires_at: forget_at(at(self.claims.exp)),
        }
    }

    /// Returns the signed token, for the response.
    #[must_use]
    pub fn into_token(self) -> String {
        self.token
    }
}

impl fmt::Debug for Minted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Minted").field("claims", &self.claims).finish_non_exhaustive()
    }
}
