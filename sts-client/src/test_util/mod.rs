//! Callers, issuers and a security token service for the tests of an agent, without a network.
//! Requires the feature `test-util`: enable it only for `[dev-dependencies]`.
//!
//! [`Caller::for_test`](crate::Caller::for_test) makes the caller that a handler receives.
//! [`TestIssuer`] signs tokens for a [`Verifier`](crate::Verifier) under test. [`MockSts`] grants,
//! refuses, simulates overload or an outage, and records its requests.
//!
//! ```
//! use sts_client::test_util::{MockAnswer, MockSts};
//! use sts_client::{CallContext, Caller, Error, Propagator, Route, http::HeaderMap};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let sts = MockSts::new();
//! let url: sts_client::url::Url = "https://inventory.shop.example/stock".parse().unwrap();
//! let route = Route::to(url.clone()).audience("inventory");
//! let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await.unwrap();
//! let alice = Caller::for_test().subject("alice").tenant("acme").build();
//! let context = CallContext::from(alice);
//!
//! let mut headers = HeaderMap::new();
//! propagator.apply(&context, &url, &mut headers).await.unwrap();
//! assert_eq!(headers["x-tenant-id"], "acme");
//! assert_eq!(sts.requests()[0].audience(), Some("inventory"));
//!
//! sts.answer_with(MockAnswer::Refuse("invalid_target"));
//! let bob = CallContext::from(Caller::for_test().subject("bob").build());
//! let refused = propagator.apply(&bob, &url, &mut headers).await.unwrap_err();
//! assert!(matches!(refused, Error::Refused { code } if code.as_str() == "invalid_target"));
//! # }
//! ```
//!
//! What lives here: test doubles of the other parties. What must never: a way around the verifier.
//! Every caller in a test has been verified by a verifier.

mod caller;
mod issuer;
mod mock_request;
mod sts;

pub use caller::TestCaller;
pub use issuer::TestIssuer;
pub use mock_request::MockRequest;
pub use sts::{MockAnswer, MockSts};
pub use sts_jose::ManualClock;

/// The issuer identifier of [`MockSts`], and of the tokens of callers with an actor.
///
/// ```
/// # use sts_client::test_util::{MockSts, STS};
/// assert_eq!(MockSts::new().issuer(), STS);
/// ```
pub const STS: &str = "https://sts.test";

/// The default issuer identifier of the users of
/// [`Caller::for_test`](crate::Caller::for_test).
///
/// ```
/// # use sts_client::{Caller, test_util::IDP};
/// assert_eq!(Caller::for_test().build().subject().iss, IDP);
/// ```
pub const IDP: &str = "https://login.test";
