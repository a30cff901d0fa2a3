//! The agent's half of [agent-sts](https://docs.rs/sts-server): who calls me, and what do I send on?
//!
//! An agent that serves users receives their tokens. It must not pass them on: whoever it calls would hold the user's whole authority.
//! With this crate it verifies what it receives, and exchanges it at a security token service (RFC 8693), for every call that it makes,
//! for a token that names the user, the agent that acts, one audience, and no more scope than the call needs.
//!
//! # Two uses
//!
//! **Inbound**: a layer refuses whoever has no good token, and the handler is told who calls.
//!
//! ```no_run
//! # #[cfg(feature = "axum")] async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use sts_client::{Delegation, Verifier};
//!
//! let verifier = Verifier::from_toml(&std::fs::read_to_string("agent.toml")?)?.build()?;
//! let app: Router = Router::new()
//!     .route("/stock", get(|caller: Delegation| async move { format!("hello, {}", caller.subject().sub) }))
//!     .layer(verifier.layer());
//! # Ok(()) }
//! ```
//!
//! **Outbound**: a client sends what the route of each call says, and nothing else. It finds by itself on whose behalf the handler works.
//!
//! ```no_run
//! # #[cfg(feature = "reqwest")] async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use sts_client::{Propagator, integrations};
//!
//! let propagator = Propagator::from_toml(&std::fs::read_to_string("agent.toml")?)?.build().await?;
//! let http = integrations::reqwest::client(propagator)?;
//! let answer = http.get("https://inventory.shop.example/stock").send().await?;
//! # Ok(()) }
//! ```
//!
//! `agent.toml` configures both; every key is in the [repository's documentation][agent.toml]. All can be said in code instead:
//! [`Verifier::builder`], [`Propagator::builder`].
//!
//! [agent.toml]: https://docs.rs/crate/sts-client/latest/source/README.md
//!
//! # What goes out
//!
//! | inbound user token | the route | the STS said | what goes out |
//! |---|---|---|---|
//! | verified | has an STS | a token | the exchanged token, alone |
//! | verified | has an STS | no | nothing: [`Error::Refused`] |
//! | verified | has an STS | load, or it could not be asked for want of the agent's own credential | nothing: [`Error::Unavailable`] |
//! | verified | has an STS | outage | nothing; or, where `on_outage` says so, the agent's own token, the tenant in `X-Tenant-ID` |
//! | verified | has none | | the agent's own token; or, where `pass_through` says so, the user's |
//! | invalid, expired | any | | nothing: 401 to the caller |
//! | absent, or of a service account | any | | nothing; or, where `without_user` says so, the agent's own token |
//!
//! A fallback never turns a "no" into a "yes": [`propagate::decide`] is that table, and no other code decides.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what plugs in |
//! |---|---|
//! | `axum` | the extractors of [`Delegation`] and [`VerifiedTenant`], outcomes as answers, and RFC 9728 metadata as a router; brings `tower` |
//! | `tower` | the inbound layer, the idempotency layer, and an outbound layer for any client |
//! | `reqwest` | a middleware for `reqwest-middleware`, and its answers as outcomes |
//! | `a2a` | the official A2A crates: an interceptor for calls, verification for executors |
//! | `rmcp` | the MCP client over streamable HTTP |
//! | `openidconnect` | service accounts at another identity provider |
//! | `sqlite`, `postgres` | deduplication stores ([`once`]), beside the one in memory |
//! | `envelope` | sealed messages between agents; needs OpenSSL, or `envelope-vendored`, which builds it |
//! | `test-util` | callers, issuers and an STS for the tests of an agent: `test_util`; for `[dev-dependencies]` alone |
//!
//! # When a request is refused
//!
//! The caller is told one fixed text. The log says why: the first refusal of each reason and issuer is a warning with the `iss` and `aud` of
//! the token and those that were expected, and the others are logged at `debug` (`RUST_LOG=sts_client=debug`). Install a `tracing`
//! subscriber, or nothing is logged. `docs/agents.md` of the repository has a table of all reasons.
//!
//! # What is observed
//!
//! `tracing` spans `sts_client.verify`, `sts_client.apply` and `sts_client.exchange`. Counters through `metrics`:
//! `sts_client_inbound_total{outcome}`, `sts_client_decisions_total{decision}`, `sts_client_cache_total{result}`,
//! `sts_client_requests_total{request,outcome}`, `sts_client_idempotency_total{outcome}`, `sts_client_envelopes_total{outcome}`,
//! `sts_client_envelope_decrypt_total`; the histogram `sts_client_request_seconds{request}`; and the gauge
//! `sts_client_stand_in_seconds_left{route}`, for how long the agent's own token may stand in for an STS out of reach. None holds a token or
//! a claim. What happened to a message at each boundary is said to a [`trace::Tracer`].
#![deny(missing_docs)]

mod agent_file;
mod bearer;
mod build_error;
mod cache;
mod calls;
mod carried;
mod context;
mod credentials;
mod delegation;
#[cfg(feature = "envelope")]
pub mod envelope;
mod error;
pub mod exchange;
mod flight;
mod header_values;
mod http_options;
pub mod idempotency;
mod idempotency_key;
pub mod inbound;
pub mod integrations;
pub mod once;
pub mod outcome;
pub mod propagate;
mod refusal_code;
#[cfg(all(feature = "axum", feature = "reqwest"))]
#[doc = include_str!("../RECIPES.md")]
pub mod recipes {}
#[cfg(feature = "tower")]
mod response_body;
pub mod route;
pub mod service_account;
#[cfg(feature = "test-util")]
pub mod test_util;
pub mod trace;
pub mod transport;

pub use build_error::{BuildError, TomlError};
pub use carried::{
    Carried, CorrelationId, IDEMPOTENCY_KEY, IdempotencyKey, MalformedKey, X_CORRELATION_ID, X_DELEGATION_FALLBACK,
    X_TENANT_ID,
};
pub use context::{CallContext, Scoped};
pub use credentials::{
    Credentials, PrivateKeyFile, SecretFile, SourcedToken, TokenFile, TokenSource, TokenSourceError, WatchedFile,
};
pub use delegation::{Delegation, Kind, PriorActors, VerifiedTenant};
pub use error::Error;
pub use exchange::Sts;
pub use http_options::HttpOptions;
pub use inbound::Verifier;
pub use propagate::Propagator;
pub use refusal_code::RefusalCode;
#[cfg(feature = "tower")]
pub use response_body::ResponseBody;
pub use route::{OnOutage, OutboundKey, Route, WithoutUser};
pub use service_account::ServiceAccount;

// The crates whose types stand in public signatures: an agent names them in the version that this crate uses.
#[doc(no_inline)]
pub use {async_trait::async_trait, http, jiff, secrecy, serde_json, url};
#[cfg(feature = "reqwest")]
#[doc(no_inline)]
pub use {reqwest, reqwest_middleware};

pub use sts_jose::{
    Algorithm, Clock, Egress, EgressError, Entropy, HttpClientError, KeyLookupError, KeySet, KeySource, SigningKey,
    SigningKeyError, SystemClock, SystemEntropy,
};
pub use sts_protocol::{Actor, Scope, ScopeToken, SubjectId, Tenant};
