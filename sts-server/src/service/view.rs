//! The view of one request, and what each step reads of it.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Snapshot, Sts};
use crate::client_auth;
use crate::mint;
use crate::verify;

/// One snapshot and one moment, from the first step of a request to its last.
#[derive(Debug)]
pub(crate) struct View<'a> {
    pub(crate) sts: &'a Sts,
    pub(crate) snapshot: Arc<Snapshot>,
    pub(crate) now: Timestamp,
}

impl View<'_> {
    /// What client authentication reads.
    pub(crate) fn client_context(&self) -> client_auth::ClientContext<'_> {
        client_auth::ClientContext {
            registry: &self.snapshot.registry,
            trusted: &self.snapshot.trusted,
            secrets: &self.sts.secrets,
            rates: &self.sts.rates,
            revocations: &self.snapshot.revocations,
            issuer: &self.sts.issuer,
            max_token_bytes: self.sts.limits.max_token_bytes,
            now: self.now,
        }
    }

    /// What verifying a subject token reads.
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

    /// What minting reads.
    pub(crate) fn mint_context(&self) -> mint::MintContext<'_> {
        mint::MintContext {
            ring: &self.snapshot.ring,
            issuer: &self.sts.issuer,
            now: self.now,
            entropy: &*self.sts.entropy,
        }
    }
}
