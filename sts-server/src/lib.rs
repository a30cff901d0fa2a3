//! A security token service for chains of AI agents (RFC 8693).
//!
//! The layers, from the top: `cli`, `server`, `http`, `admin`, `exchange`, `service`, then
//! `client_auth`, `verify`, `mint` and `notices`, then `policy`, `keys` and `rate_limits`, then `approval`, then
//! `record`, then `registry`, then `config` and `storage`. Imports go down, never up; ARCHITECTURE.md shows the
//! map.

pub mod admin;
pub mod approval;
pub mod cli;
pub mod client_auth;
pub mod config;
mod declared_slot;
mod document;
pub mod environment;
pub mod error_kind;
pub mod exchange;
pub mod fault;
pub mod http;
pub mod keys;
pub mod mint;
mod misleading;
pub mod notices;
pub mod policy;
mod postgres_url;
pub mod rate_limits;
pub mod record;
pub mod registry;
pub mod server;
pub mod service;
mod shutdown;
pub mod storage;
pub mod telemetry;
pub mod ttl;
pub mod verify;
