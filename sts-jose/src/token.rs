//! A JWT before and after its signature was checked. The two are two types, and only one function leads across.

use std::fmt;

use aws_lc_rs::digest;

use crate::candidates::Candidates;
use crate::claims::Claims;
use crate::json;
use crate::jws::{CompactJws, Header, MAX_TOKEN_BYTES, ParseError, Segment};
use crate::signature_memo::SignatureMemo;
use crate::verification_key::{VerificationKey, VerifyError};

/// A well-formed JWT whose signature nobody has checked. Nothing in it may be believed; it tells only where to look for
/// a key. `Debug` shows no claim values and no token text.
pub struct UnverifiedToken<'a> {
    jws: CompactJws<'a>,
    claims: Claims,
}

/// An unverified token without its claims, which may take a hundred times the memory of its text: for as long as something is waited for.
pub struct ParkedToken<'a>(CompactJws<'a>);

/// The witness that a key has signed a token: only [`KeySource::verify`](crate::KeySource::verify), [`UnverifiedToken::verify`] and
/// [`UnverifiedToken::verify_once`] make one, so a function that asks for a
/// `VerifiedToken` cannot be given anything else.
///
/// It says nothing about whose key that was, nor whether the token is expired or meant for us.
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
    /// Reads the claims again. Costs what reading them cost at first.
    ///
    /// # Errors
    /// [`ParseError::Json`], which a token that was parsed before does not meet.
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
    /// Reads a JWT in compact serialisation, strictly: see [`ParseError`] for all that is refused. Costs no I/O; header
    /// members that name keys (`jku`, `x5u`, `jwk`, `x5c`) are ignored.
    ///
    /// # Errors
    /// See [`ParseError`].
    pub fn parse(token: &'a str) -> Result<Self, ParseError> {
        Self::parse_within(MAX_TOKEN_BYTES, token)
    }

    /// Like [`Self::parse`], with a limit of its own for the length of the token.
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

    /// The header; for finding a key.
    pub fn header(&self) -> &Header {
        self.jws.header()
    }

    /// The claims. **Nothing in here may be believed yet**: use it to route to an issuer, and for nothing else.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Checks the signature. The header's algorithm must be one of the key's. Costs a public-key operation, tens of
    /// microseconds.
    ///
    /// # Errors
    /// See [`VerifyError`].
    pub fn verify(self, key: &VerificationKey) -> Result<VerifiedToken, VerifyError> {
        self.jws.verify_signature(key)?;
        let digest = self.digest();
        Ok(self.verified(digest))
    }

    /// Checks that one of several keys made the signature. Costs a public-key operation each, or a look-up where `memo` knows the
    /// signature. Gives the token back with the error, for a try with other keys.
    ///
    /// # Errors
    /// [`VerifyError::BadSignature`].
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

    /// Like [`Self::verify`], but a signature that the memo knows is not checked again: then it costs a look-up.
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
        let mut digest = [0; 32];
        digest.copy_from_slice(digest::digest(&digest::SHA256, self.jws.signing_input().as_bytes()).as_ref());
        digest
    }

    /// The signature has been checked.
    fn verified(self, digest: [u8; 32]) -> VerifiedToken {
        VerifiedToken { header: self.jws.into_header(), claims: self.claims, digest }
    }
}

impl VerifiedToken {
    /// The header that was signed.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The claims that were signed.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// SHA-256 of what was signed: header and payload as they stood in the token. It does not cover the signature, of which whoever
    /// holds an ECDSA token can make another that verifies.
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
