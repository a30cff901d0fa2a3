//! The client library, through its public edge.

mod context;
mod documents;
mod envelope;
mod exchange;
mod idempotency;
mod inbound;
mod outcome;
mod plug;
mod propagate;
mod service_account;
mod simulation;
mod size;
mod test_util;
