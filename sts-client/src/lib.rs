//! The agent's side of [agent-sts](https://docs.rs/sts-server): verifies incoming tokens and
//! chooses the token of each outbound call.
//!
//! An agent that serves users receives their tokens. It must not pass them on: the service that it
//! calls would hold the user's whole authority. With this crate the agent verifies each token that
//! it receives. For every call that it makes, it exchanges the token at a security token service
//! (STS, RFC 8693). The new token names the user, the acting agent and one audience, and has no
//! more scope than the call needs.
//!
//! # Two uses
//!
//! **Inbound**: a layer refuses requests without a valid token. The handler receives the
//! [`Caller`].
//!
//! ```no_run
//! # #[cfg(feature = "axum")] async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use axum::{Router, routing::get};
//! use sts_client::{Caller, Verifier};
//!
//! let verifier = Verifier::from_toml(&std::fs::read_to_string("agent.toml")?)?.build()?;
//! let app: Router = Router::new()
//!     .route("/stock", get(|caller: Caller| async move { format!("hello, {}", caller.subject().sub) }))
//!     .layer(verifier.layer());
//! # Ok(()) }
//! ```
//!
//! **Outbound**: a client sends exactly what the route of each call allows. It takes the caller
//! from the context of the handler.
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
//! `agent.toml` configures both; every key is in the [repository's documentation][agent.toml]. The
//! builders configure the same in code: [`Verifier::builder`], [`Propagator::builder`].
//!
//! [agent.toml]: https://docs.rs/crate/sts-client/latest/source/README.md
//!
//! # What goes out
//!
//! | inbound user token | the route | the answer of the STS | what goes out |
//! |---|---|---|---|
//! | verified | has an STS | a token | the exchanged token, alone |
//! | verified | has an STS | no | nothing: [`Error::Refused`] |
//! | verified | has an STS | load, or the agent's own credential is unavailable | nothing: [`Error::Unavailable`] |
//! | verified | has an STS | outage | nothing; or, where `on_outage` says so, the agent's own token, the tenant in `X-Tenant-ID` |
//! | verified | has none | | the agent's own token; or, where `pass_through` says so, the user's |
//! | invalid, expired | any | | nothing: 401 to the caller |
//! | absent, or of a service account | any | | nothing; or, where `without_user` says so, the agent's own token |
//!
//! A fallback never turns a refusal into a call: [`propagate::decide`] is that table, and no other
//! code decides.
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | what plugs in |
//! |---|---|
//! | `axum` | the extractors of [`Caller`] and [`VerifiedTenant`], outcomes as answers, and RFC 9728 metadata as a router; brings `tower` |
//! | `tower` | the inbound layer, the idempotency layer, and an outbound layer for any client |
//! | `reqwest` | a middleware for `reqwest-middleware`, and its answers as outcomes |
//! | `a2a` | the official A2A crates: an interceptor for calls, verification for executors |
//! | `rmcp` | the MCP client over streamable HTTP; with `tower` also a guard for MCP servers |
//! | `openidconnect` | service accounts at another identity provider |
//! | `sqlite`, `postgres` | deduplication stores ([`dedup`]), beside the one in memory |
//! | `envelope` | sealed messages between agents; needs OpenSSL, or `envelope-vendored`, which builds it |
//! | `test-util` | callers, issuers and an STS for the tests of an agent: `test_util`; for `[dev-dependencies]` alone |
//!
//! # When a request is refused
//!
//! The caller receives a fixed text for each kind of refusal, never the reason. The log has the
//! reason. The first refusal of each reason and issuer is a warning, with the `iss` and `aud` of the token and the expected values. Later ones
//! are logged at `debug` (`RUST_LOG=sts_client=debug`). Without a `tracing` subscriber, no log is
//! written. `docs/agents.md` of the repository has a table of all reasons.
//!
//! # Observability
//!
//! `tracing` spans: `sts_client.verify`, `sts_client.apply` and `sts_client.exchange`.
//!
//! Counters through `metrics`:
//! - `sts_client_inbound_total{outcome}`
//! - `sts_client_decisions_total{decision}`
//! - `sts_client_cache_total{result}`
//! - `sts_client_requests_total{request,outcome}`
//! - `sts_client_idempotency_total{outcome}`
//! - `sts_client_envelopes_total{outcome}`
//! - `sts_client_envelope_decrypt_total`
//!
//! The histogram is `sts_client_request_seconds{request}`. The gauge
//! `sts_client_stand_in_seconds_left{route}` is the time for which the agent's own token may stand
//! in for an unreachable STS. No metric holds a token or a claim. An [`events::EventSinks`] records
//! the result of each message at each boundary.
#![deny(missing_docs)]

mod agent_file;
mod build_error;
mod cache;
mod call;
mod credentials;
pub mod dedup;
#[cfg(feature = "envelope")]
pub mod envelope;
mod error;
pub mod events;
pub mod exchange;
mod header_values;
pub mod idempotency;
pub mod inbound;
pub mod integrations;
pub mod net;
pub mod outcome;
mod possession;
pub mod propagate;
#[cfg(all(feature = "axum", feature = "reqwest"))]
#[doc = include_str!("../RECIPES.md")]
pub mod recipes {}
pub mod service_account;
#[cfg(feature = "test-util")]
pub mod test_util;

pub use build_error::{BuildError, TomlError};
pub use call::{
    Approver, CallContext, Caller, CorrelationId, IDEMPOTENCY_KEY, IdempotencyKey, Kind, MalformedKey, MissingContext,
    OnApproval, OnOutage, OutboundKey, Possession, PriorActors, PropagatedHeaders, RefusalCode, RequiredAction,
    RequiredApproval, Route, RouteError, STRIPPED_HEADERS, Scoped, VerifiedTenant, WithoutUser, X_CORRELATION_ID,
    X_DELEGATION_FALLBACK, X_TENANT_ID,
};
pub use credentials::{
    Credentials, PrivateKeyFile, SecretFile, SourcedToken, TokenFile, TokenSource, TokenSourceError, WatchedFile,
};
pub use error::Error;
pub use exchange::Sts;
pub use inbound::Verifier;
pub use net::HttpOptions;
#[cfg(feature = "tower")]
pub use net::ResponseBody;
pub use propagate::{Propagator, StartError};
pub use service_account::ServiceAccount;

// Crates whose types appear in public signatures. An agent can name them in the version that this
// crate uses.
#[doc(no_inline)]
pub use {async_trait::async_trait, http, jiff, secrecy, serde_json, url};
#[cfg(feature = "reqwest")]
#[doc(no_inline)]
pub use {reqwest, reqwest_middleware};

pub use sts_jose::{
    Algorithm, Clock, Egress, EgressError, Entropy, HttpClientError, KeyLookupError, KeySet, KeySource, SigningKey,
    SigningKeyError, SystemClock, SystemEntropy,
};
pub use sts_protocol::{
    Actor, AuthorizationDetail, DetailError, DetailLimit, DetailText, DetailValues, Scope, ScopeToken, SubjectId,
    Tenant,
};
