//! The client library, through its public edge.

mod exchange;
mod inbound;
mod propagate;
mod propagate_config;
mod service_account;
mod simulation;
