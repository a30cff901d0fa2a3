//! The view of one request, and the context that each step reads from it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Snapshot, Sts};
use crate::client_auth;
use crate::mint;
use crate::verify;

/// One snapshot and one moment, the same for all steps of a request.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) sts: &'a Sts,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) now: Timestamp,
}

impl View<'_> {
    /// Returns the context of client authentication.
    pub(crate) fn client_context(&self) -> client_auth::ClientContext<'_> {
        client_auth::ClientContext {
            registry: &self.snapshot.registry,
            trusted: &self.snapshot.trusted,
            secrets: &self.sts.secrets,
            proofs: &self.sts.proofs,
            rates: &self.sts.rates,
            revocations: &self.snapshot.revocations,
            issuer: &self.sts.issuer,
            max_token_bytes: self.sts.limits.max_token_bytes,
            now: self.now,
        }
    }

    /// Returns the context of the verification of a subject token.
    pub(crate) fn verify_context(&self) -> verify::VerifyContext<'_> {
        verify::VerifyContext {
            registry: &self.snapshot.registry,
            trusted: &self.snapshot.trusted,
            ring: &self.snapshot.ring,
            revocations: &self.snapshot.revocations,
            issuer: &self.sts.issuer,
            max_token_bytes: self.sts.limits.max_token_bytes,
            now: self.now,
        }
    }

    /// Returns the context of minting.
    pub(crate) fn mint_context(&self) -> mint::MintContext<'_> {
        mint::MintContext {
            ring: &self.snapshot.ring,
            issuer: &self.sts.issuer,
            now: self.now,
            entropy: &*self.sts.entropy,
        }
    }
}
