//! Introspection of tokens at the STS that issued them (RFC 7662).

use super::why::Why;
use crate::call::CorrelationId;
use crate::exchange::{ExchangeError, Sts};

/// The STS that introspects tokens.
#[derive(Debug)]
pub(super) struct Introspected(Sts);

impl Introspected {
    pub(super) fn new(sts: Sts) -> Self {
        Self(sts)
    }

    pub(super) fn issuer(&self) -> &str {
        self.0.issuer()
    }

    /// Introspects the token.
    pub(super) async fn check(&self, token: &str, correlation_id: &CorrelationId) -> Result<(), Why> {
        match self.0.is_active(token, correlation_id).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(Why::Inactive),
            Err(error) => {
                if matches!(error, ExchangeError::Refused { .. } | ExchangeError::Misconfigured { .. }) {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    let issuer = self.issuer();
                    tracing::error!(
                        issuer,
                        error,
                        "the sts refuses this agent's introspections: rejecting all requests"
                    );
                }
                Err(Why::Introspection(error))
            }
        }
    }
}
