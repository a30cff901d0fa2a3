//! The errors of starting a propagator.

use url::Url;

use crate::build_error::BuildError;
use crate::error::Error;

/// The error of [`PropagatorBuilder::build`](super::PropagatorBuilder::build), which fetches the
/// tokens that stand in during an outage of the STS.
///
/// ```
/// # use sts_client::{Propagator, StartError};
/// async fn start(text: &str) -> Result<Propagator, StartError> {
///     Propagator::from_toml(text)?.build().await
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The token that stands in during an outage of the STS could not be fetched. Retry if `source`
    /// is retryable.
    #[error("the service account's token for {route} could not be fetched")]
    Fallback {
        /// The URL of the route.
        route: Box<Url>,
        /// The reason the fetch failed.
        #[source]
        source: Error,
    },
}
