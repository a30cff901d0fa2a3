//! Failures of the start of a propagator.

use url::Url;

use crate::build_error::BuildError;
use crate::error::Error;

/// The failure of [`PropagatorBuilder::build`](super::PropagatorBuilder::build), which fetches the tokens that stand in during an outage.
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
    /// A fault of the configuration.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The token that stands in during an outage of the STS could not be fetched. One may retry where `source` says so.
    #[error("the service account's token for {route} could not be fetched")]
    Fallback {
        /// The route.
        route: Box<Url>,
        /// The failure of the fetch.
        #[source]
        source: Error,
    },
}
