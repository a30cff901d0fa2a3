//! What the service lends to the authentication of operators: its bounds on secrets and on failed attempts.

use std::net::IpAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::Sts;
use crate::client_auth::{AuthenticationError, SecretQueue};

impl Sts {
    /// Counts a request of `source` to the admin API. How long to wait if that was one too many.
    #[must_use]
    pub fn too_often_from(&self, source: IpAddr) -> Option<Duration> {
        self.rates.asked_from(source)
    }

    /// The time until the credentials of `source` are checked, if it has had its failed attempts.
    #[must_use]
    pub fn operator_waits(&self, source: IpAddr) -> Option<Duration> {
        self.attempts.wait(source)
    }

    /// Counts a failed attempt to be an operator. How long to wait if that was one too many.
    #[must_use]
    pub fn operator_failed(&self, source: IpAddr, claimed: Option<&str>) -> Option<Duration> {
        // No agent has a space in its id.
        let claimed = claimed.map(|name| format!("operator {name}"));
        self.attempts.failed(source, claimed.as_deref(), 1)
    }

    /// True if `secret` is the one of an argon2id hash; without a hash, false after as long a time. Some 20 ms, in a queue of
    /// operators alone.
    ///
    /// # Errors
    /// [`AuthenticationError::Overloaded`] when its turn does not come.
    pub async fn secret_matches(
        &self,
        hash: Option<String>,
        secret: SecretString,
    ) -> Result<bool, AuthenticationError> {
        self.secrets.argon2_matches(SecretQueue::Operators, hash, secret).await
    }
}
