//! The requests that a `MockSts` received.

use http::HeaderMap;
use serde_json::{Map, Value};
use sts_jose::UnverifiedToken;
use sts_protocol::parameter;

use crate::call::{X_CORRELATION_ID, X_TENANT_ID};
use crate::possession::DPOP;

/// A request that a [`MockSts`](super::MockSts) received, whether it was granted or not. Requests for metadata are
/// not recorded.
///
/// ```
/// # use sts_client::test_util::MockSts;
/// # fn check(sts: &MockSts) {
/// let asked = sts.requests();
/// assert_eq!(asked.len(), 1);
/// assert_eq!((asked[0].client_id(), asked[0].audience()), ("coordinator", Some("inventory")));
/// assert_eq!(asked[0].subject().unwrap()["sub"], "alice");
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct MockRequest {
    pub(super) client_id: String,
    pub(super) form: Vec<(String, String)>,
    pub(super) headers: HeaderMap,
}

impl MockRequest {
    /// Returns the client id of the agent that sent the request.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.client_id(), "coordinator");
    /// # }
    /// ```
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// Returns a form parameter by its name (RFC 8693 §2.1).
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.parameter("grant_type"), Some("client_credentials"));
    /// # }
    /// ```
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// Returns the `audience` parameter, which names the target.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.audience(), Some("inventory"));
    /// # }
    /// ```
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.parameter(parameter::AUDIENCE)
    }

    /// Returns the `resource` parameter, which is the URI of the target.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.resource(), Some("https://inventory.shop.example/"));
    /// # }
    /// ```
    #[must_use]
    pub fn resource(&self) -> Option<&str> {
        self.parameter(parameter::RESOURCE)
    }

    /// Returns the requested scope; `None` requests everything that is allowed.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.scope(), Some("stock:read"));
    /// # }
    /// ```
    #[must_use]
    pub fn scope(&self) -> Option<&str> {
        self.parameter(parameter::SCOPE)
    }

    /// Returns the claims of the subject token; `None` if the request has none.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.subject().unwrap()["sub"], "alice");
    /// # }
    /// ```
    #[must_use]
    pub fn subject(&self) -> Option<Map<String, Value>> {
        let token = UnverifiedToken::parse(self.parameter(parameter::SUBJECT_TOKEN)?).ok()?;
        Some(token.claims().as_map().clone())
    }

    /// Returns the tenant in `X-Tenant-ID`.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.tenant(), Some("acme"));
    /// # }
    /// ```
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        self.headers.get(X_TENANT_ID)?.to_str().ok()
    }

    /// Returns the proof in `DPoP` (RFC 9449), if the client binds its tokens.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.proof(), None);
    /// # }
    /// ```
    #[must_use]
    pub fn proof(&self) -> Option<&str> {
        self.headers.get(DPOP)?.to_str().ok()
    }

    /// Returns the correlation id in `X-Correlation-ID`.
    ///
    /// ```
    /// # use sts_client::test_util::MockRequest;
    /// # fn check(asked: &MockRequest) {
    /// assert_eq!(asked.correlation_id(), Some("request-7"));
    /// # }
    /// ```
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.headers.get(X_CORRELATION_ID)?.to_str().ok()
    }
}
