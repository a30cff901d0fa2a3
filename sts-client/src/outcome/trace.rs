//! The request that an answer belongs to.

use crate::call::{CallContext, Caller, PropagatedHeaders};

/// The request that an answer belongs to.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::Caller;
/// use sts_client::outcome::Trace;
///
/// let caller = Caller::for_test().correlation_id("order-7").build();
/// let trace = Trace::from(&caller);
/// assert_eq!((trace.correlation_id(), trace.request_id()), ("order-7", "order-7"));
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    correlation_id: String,
    request_id: String,
}

impl Trace {
    /// Returns `correlationId`, which joins the events of one user request across hops.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        &self.correlation_id
    }

    /// Returns `requestId`: the request's `X-Request-ID`, or the correlation id if there is none.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// Makes the trace of a request that was not verified.
    #[cfg(feature = "tower")]
    pub(crate) fn unknown() -> Self {
        Self { correlation_id: "-".to_owned(), request_id: "-".to_owned() }
    }

    fn of(propagated: &PropagatedHeaders) -> Self {
        let correlation_id = propagated.correlation_id().as_str().to_owned();
        let request_id = propagated.request_id().unwrap_or(&correlation_id).to_owned();
        Self { correlation_id, request_id }
    }
}

/// Takes the ids of the request that the caller sent.
impl From<&Caller> for Trace {
    fn from(caller: &Caller) -> Self {
        Self::of(&caller.verified().headers)
    }
}

/// Takes the ids of the context's request.
impl From<&CallContext> for Trace {
    fn from(context: &CallContext) -> Self {
        Self::of(context.headers())
    }
}
