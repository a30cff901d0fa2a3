//! The client library, through its public edge.

mod exchange;
mod inbound;
mod propagate;
mod simulation;
