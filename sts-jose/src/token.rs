//! A JWT before and after the check of its signature. The two states are two types, with one
//! conversion between them.

use std::fmt;

use crate::candidates::Candidates;
use crate::claims::Claims;
use crate::json;
use crate::jws::{CompactJws, Header, MAX_TOKEN_BYTES, ParseError, Segment};
use crate::sha256::sha256;
use crate::signature_memo::SignatureMemo;
use crate::verification_key::{VerificationKey, VerifyError};

/// A well-formed JWT whose signature has not been checked. Do not trust its content; use it only to
/// find a key. `Debug` shows no claim values and no token text.
pub struct UnverifiedToken<'a> {
    jws: CompactJws<'a>,
    claims: Claims,
}

/// An unverified token without its claims, for use while waiting. The claims may take a hundred
/// times the memory of the text.
pub struct ParkedToken<'a>(CompactJws<'a>);

/// The witness that a key has signed a token. Only [`KeySource::verify`](crate::KeySource::verify),
/// [`UnverifiedToken::verify`] and [`UnverifiedToken::verify_once`] create it. A function that
/// takes a `VerifiedToken` therefore cannot receive an unverified token.
///
/// It does not show the owner of the key. It does not show that the token is unexpired or addressed
/// to us.
///
/// ```compile_fail,E0451
/// // There is no way to write one down.
/// fn forge(header: sts_jose::Header, claims: sts_jose::Claims) -> sts_jose::VerifiedToken {
///     sts_jose::VerifiedToken { header, claims, digest: [0; 32] }
/// }
/// ```
#[derive(Debug)]
pub struct VerifiedToken {
    header: Header,
    claims: Claims,
    digest: [u8; 32],
}

impl<'a> ParkedToken<'a> {
    /// Reads the claims again, at the cost of the first reading.
    ///
    /// # Errors
    /// [`ParseError::Json`], which does not occur for a token that was parsed before.
    pub fn resume(self) -> Result<UnverifiedToken<'a>, ParseError> {
        let claims = json::parse_object(self.0.payload());
        let claims = claims.map_err(|source| ParseError::Json(Segment::Payload, source))?;
        Ok(UnverifiedToken { jws: self.0, claims: Claims::new(claims) })
    }
}

impl fmt::Debug for ParkedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ParkedToken").finish_non_exhaustive()
    }
}

impl<'a> UnverifiedToken<'a> {
    /// Reads a JWT in compact serialisation, strictly. See [`ParseError`] for everything that is
    /// refused. Costs no I/O. Ignores header members that name keys (`jku`, `x5u`, `jwk`, `x5c`).
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(token: &'a str) -> Result<Self, ParseError> {
        Self::parse_within(MAX_TOKEN_BYTES, token)
    }

    /// Like [`Self::parse`], with another limit for the length of the token.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse_within(max_bytes: usize, token: &'a str) -> Result<Self, ParseError> {
        ParkedToken(CompactJws::parse_within(max_bytes, token)?).resume()
    }

    /// Drops the claims until [`ParkedToken::resume`].
    #[must_use]
    pub fn park(self) -> ParkedToken<'a> {
        ParkedToken(self.jws)
    }

    /// Returns the header, for finding a key.
    pub fn header(&self) -> &Header {
        self.jws.header()
    }

    /// Returns the claims. **Do not trust them yet**: use them only to find the issuer.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Checks the signature. The algorithm of the header must be one of the key's. Costs a
    /// public-key operation of tens of microseconds.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn verify(self, key: &VerificationKey) -> Result<VerifiedToken, VerifyError> {
        self.jws.verify_signature(key)?;
        let digest = self.digest();
        Ok(self.verified(digest))
    }

    /// Checks that one of several keys made the signature. Costs a public-key operation per key, or
    /// a lookup if `memo` knows the signature. Returns the token with the error, for a try with
    /// other keys.
    ///
    /// # Errors
    /// [`VerifyError::BadSignature`] if none of the keys made the signature.
    pub(crate) fn verify_with(
        self,
        keys: &Candidates,
        memo: Option<&SignatureMemo>,
    ) -> Result<VerifiedToken, Box<(Self, VerifyError)>> {
        let digest = self.digest();
        let verified = match memo {
            Some(memo) => keys.verify_once(&self.jws, &digest, memo),
            None => keys.verify(&self.jws),
        };
        match verified {
            Ok(()) => Ok(self.verified(digest)),
            Err(error) => Err(Box::new((self, error))),
        }
    }

    /// Like [`Self::verify`], but a signature in the memo is not checked again, and then costs a
    /// lookup.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn verify_once(self, key: &VerificationKey, memo: &SignatureMemo) -> Result<VerifiedToken, VerifyError> {
        let digest = self.digest();
        if !memo.knows(&digest, self.jws.signature(), key) {
            self.jws.verify_signature(key)?;
            memo.remember(&digest, self.jws.signature(), key);
        }
        Ok(self.verified(digest))
    }

    fn digest(&self) -> [u8; 32] {
        sha256(self.jws.signing_input().as_bytes())
    }

    /// Converts the token. The caller has checked the signature.
    fn verified(self, digest: [u8; 32]) -> VerifiedToken {
        VerifiedToken { header: self.jws.into_header(), claims: self.claims, digest }
    }
}

impl VerifiedToken {
    /// Returns the signed header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Returns the signed claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Returns the SHA-256 of the signed text: header and payload as encoded in the token. It does
    /// not cover the signature, because a holder of an ECDSA token can make another valid signature
    /// from it.
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for UnverifiedToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnverifiedToken")
            .field("header", self.header())
            .field("claims", &self.claims)
            .finish_non_exhaustive()
    }
}
