//! The memory budget that request bodies share. A long body needs a lease before it is read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;

const KIB: usize = 1024;

/// The part of `limits.request_memory` for bodies beyond [`Limits::OWN_BODY_BYTES`]. Clones share
/// it.
#[derive(Debug, Clone)]
pub(super) struct RequestMemory {
    kibibytes: Arc<Semaphore>,
}

/// Memory for one body, returned on drop.
#[derive(Debug, Default)]
pub(super) struct Lease {
    /// `None` while the memory of the connection itself suffices.
    _shared: Option<OwnedSemaphorePermit>,
}

impl RequestMemory {
    pub(super) fn new(limits: &Limits) -> Self {
        let kibibytes = (limits.shared_memory() / KIB).min(Semaphore::MAX_PERMITS);
        Self { kibibytes: Arc::new(Semaphore::new(kibibytes)) }
    }

    /// Leases memory for a body of this size. Returns `None` while other bodies hold it.
    pub(super) fn lease(&self, bytes: usize) -> Option<Lease> {
        if bytes <= Limits::OWN_BODY_BYTES {
            return Some(Lease::default());
        }
        let kibibytes = u32::try_from(bytes.div_ceil(KIB)).ok()?;
        let shared = Arc::clone(&self.kibibytes).try_acquire_many_owned(kibibytes).ok()?;
        Some(Lease { _shared: Some(shared) })
    }
}
