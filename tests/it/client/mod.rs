//! The client library, through its public edge.

mod inbound;
mod exchange;
