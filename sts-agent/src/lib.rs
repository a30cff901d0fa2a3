//! The local process of an agent in any language. It answers on a unix socket, and is sts-client
//! behind two questions: who calls this agent, and which headers does this call of the agent carry?
//!
//! # What lives here
//!
//! | module | content |
//! |---|---|
//! | `command` | the command line |
//! | `server` | start, the listener, reload of the file, shutdown |
//! | `http` | the endpoints, their statuses and their bodies |
//! | `live` | the agent's file as it is loaded now |
//! | `loaded` | a verifier and a propagator from one version of the file |
//! | `contexts` | the verified callers, to be found again |
//! | `matches` | the verified requests, to be found again by an id that the agent propagates |
//! | `bounded_cache` | what contexts and matches keep, within 64 MiB each |
//! | `header_pairs` | headers in JSON |
//! | `listen` | the socket, the loopback listener and its bearer |
//! | `traces` | the export of spans |
//!
//! # What must never live here
//!
//! A decision. `sts_client::Verifier` decides who calls, and `sts_client::Propagator` decides what
//! a call carries. A key or a secret never leaves this process.

mod bounded_cache;
pub mod command;
mod contexts;
mod header_pairs;
mod http;
pub mod listen;
mod live;
mod loaded;
mod matches;
pub mod metrics;
pub mod server;
pub mod traces;

pub use self::http::openapi;
