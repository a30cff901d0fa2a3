//! The client library, through its public edge.

mod simulation;
mod exchange;
mod inbound;
