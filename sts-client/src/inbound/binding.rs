//! The binding of a token to its caller: `cnf` (RFC 7800 §3.1), against what the request proves.

use std::sync::Arc;

use http::request::Parts;
use jiff::Timestamp;
use serde_json::Value;
use sts_jose::Claims;
use sts_jose::dpop::VerifiedProof;

use super::certificate::{PeerConnection, TrustedProxies};
use super::dpop::Dpop;
use super::why::Why;
use crate::call::{Possession, Scheme};

/// The keys to which a token is bound.
#[derive(Debug, Default, PartialEq, Eq)]
struct Confirmation<'a> {
    jkt: Option<&'a str>,
    certificate: Option<&'a str>,
}

/// The possession that a request has proved.
pub(super) struct Held {
    pub(super) possession: Possession,
    /// The proof that is still to be spent.
    pub(super) proof: Option<VerifiedProof>,
}

/// The rules of an agent for bound tokens.
#[derive(Debug)]
pub(super) struct Bindings {
    pub(super) dpop: Option<Dpop>,
    pub(super) proxies: TrustedProxies,
}

impl Bindings {
    /// Checks that the sender of a request holds the keys to which its token is bound. `request` is
    /// `None` for a token that was presented without its request, which cannot be proved.
    pub(super) fn check(
        &self,
        (scheme, token): (Scheme, &str),
        claims: &Claims,
        request: Option<&Parts>,
        now: Timestamp,
    ) -> Result<Held, Why> {
        let confirmation = Confirmation::read(claims)?;
        match (scheme, &self.dpop, confirmation.jkt) {
            (Scheme::Bearer, _, Some(_)) => Err(Why::Bound),
            (Scheme::Bearer, Some(dpop), None) if dpop.is_required => Err(Why::DpopRequired),
            (Scheme::Bearer, _, None) => {
                let certificate = self.certificate(&confirmation, request)?;
                let possession =
                    certificate.map_or(Possession::Bearer, |x5t_s256| Possession::Certificate { x5t_s256 });
                Ok(Held { possession, proof: None })
            }
            (Scheme::Dpop, _, None) => Err(Why::NotBound),
            (Scheme::Dpop, None, Some(_)) => Err(Why::OtherScheme),
            (Scheme::Dpop, Some(dpop), Some(jkt)) => {
                let request = request.ok_or(Why::ProofWithoutRequest)?;
                let proof = dpop.check(request, (token, jkt), now)?;
                self.certificate(&confirmation, Some(request))?;
                Ok(Held { possession: Possession::Dpop { jkt: jkt.into() }, proof: Some(proof) })
            }
        }
    }

    /// Returns the certificate to which the token is bound, if the caller has presented it.
    fn certificate(&self, confirmation: &Confirmation<'_>, request: Option<&Parts>) -> Result<Option<Arc<str>>, Why> {
        let Some(expected) = confirmation.certificate else { return Ok(None) };
        let request = request.ok_or(Why::Bound)?;
        let peer = request.extensions.get::<PeerConnection>();
        let presented = self.proxies.thumbprint(peer, &request.headers)?.ok_or(Why::Bound)?;
        if *presented == *expected { Ok(Some(presented)) } else { Err(Why::Certificate) }
    }
}

impl<'a> Confirmation<'a> {
    /// Reads `cnf`. A method that this crate does not know is refused, and never ignored.
    fn read(claims: &'a Claims) -> Result<Self, Why> {
        let Some(cnf) = claims.get("cnf") else { return Ok(Self::default()) };
        let cnf = cnf.as_object().filter(|cnf| !cnf.is_empty()).ok_or(Why::Confirmation)?;
        let mut confirmation = Self::default();
        for (name, value) in cnf {
            let thumbprint = Value::as_str(value).ok_or(Why::Confirmation)?;
            match name.as_str() {
                "jkt" => confirmation.jkt = Some(thumbprint),
                "x5t#S256" => confirmation.certificate = Some(thumbprint),
                _ => return Err(Why::Confirmation),
            }
        }
        Ok(confirmation)
    }
}
