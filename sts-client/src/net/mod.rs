//! HTTP, independent of its purpose.
//!
//! What lives here: the transport of requests to an STS, the HTTP client for an agent's own calls,
//! response bodies, and single flight. What must never: knowledge of the party that a call is for.

pub(crate) mod bearer;
mod certificate_files;
mod flight;
mod followed_client;
mod http_options;
#[cfg(feature = "tower")]
mod response_body;
mod transport;

pub(crate) use certificate_files::{CertificateFiles, x5t_s256};
pub(crate) use flight::Flights;
#[cfg(feature = "reqwest")]
pub(crate) use followed_client::ClientSource;
pub(crate) use followed_client::FollowedClient;
pub(crate) use http_options::HttpClient;
pub use http_options::HttpOptions;
#[cfg(feature = "tower")]
pub use response_body::ResponseBody;
pub use transport::{HttpTransport, MAX_ANSWER_BYTES, Transport, TransportError};
