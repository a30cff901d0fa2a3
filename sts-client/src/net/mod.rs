//! HTTP, without a word of what it is for.
//!
//! What lives here: the transport of requests to an STS, the client of an agent's own calls, bodies of responses, and what many want at
//! once. What must never: whom a call is for.

pub(crate) mod bearer;
mod flight;
mod http_options;
#[cfg(feature = "tower")]
mod response_body;
mod transport;

pub(crate) use flight::Flights;
pub(crate) use http_options::HttpClient;
pub use http_options::HttpOptions;
#[cfg(feature = "tower")]
pub use response_body::ResponseBody;
pub use transport::{HttpTransport, MAX_ANSWER_BYTES, Transport, TransportError};
