//! The targets of outbound calls, and the credential that each target receives.

use http::HeaderName;
use serde::Deserialize;
use sts_protocol::{AuthorizationDetail, Scope};
use url::Url;

/// A target that the agent calls, and the rules for calls to it. By default it fails closed:
/// without a token, no call.
///
/// ```
/// use sts_client::Route;
///
/// let route = Route::to("https://inventory.shop.example/".parse()?).audience("inventory").scope("stock:read".parse()?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Route {
    /// The origin, or a prefix of URLs: `https://inventory.shop.example/` covers every URL below
    /// it, `…/v1` covers `/v1` and `/v1/…`. No query.
    pub url: Url,
    /// The target by its agent id or one of its `audience` values (RFC 8693 §2.1). A route with
    /// neither this nor `resource` has no STS.
    #[serde(default)]
    pub audience: Option<String>,
    /// The target by URI (RFC 8707 §2).
    #[serde(default)]
    pub resource: Option<String>,
    /// The `aud` of the tokens that are issued for the target, if it is neither `audience` nor
    /// `resource`.
    #[serde(default)]
    pub issued_audience: Option<String>,
    /// The scopes to request; empty requests all that are allowed.
    #[serde(default, rename = "scopes", deserialize_with = "scope_list")]
    pub scope: Scope,
    /// The authorization details to request (RFC 9396), unless the context of a call names others; empty
    /// requests none.
    #[serde(default, deserialize_with = "details")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// True if each MCP tool call requests a token of its own, for exactly that tool.
    #[serde(default)]
    pub per_tool: bool,
    /// The behaviour while the STS is unreachable.
    #[serde(default)]
    pub on_outage: OnOutage,
    /// The behaviour if a person must approve the call first.
    #[serde(default)]
    pub on_approval: OnApproval,
    /// The behaviour for a call without a user.
    #[serde(default)]
    pub without_user: WithoutUser,
    /// The idempotency key of a call, if the request has one.
    #[serde(default)]
    pub idempotency: OutboundKey,
    /// Inbound headers to forward, in addition to those that are always forwarded.
    #[serde(default, deserialize_with = "header_names")]
    pub forward_headers: Vec<HeaderName>,
    /// True if the user's own token is sent unchanged when the route has no STS. With an STS, the
    /// exchanged token takes precedence.
    #[serde(default)]
    pub pass_through: bool,
    /// True if the target cannot check proofs of possession: its tokens are bearer tokens, although
    /// [`StsBuilder::dpop`](crate::exchange::StsBuilder::dpop) binds all others.
    #[serde(default)]
    pub bearer_only: bool,
    /// True if tokens may go to this target over plain http even though it is not loopback.
    #[serde(default)]
    pub allow_http: bool,
}

/// The behaviour of a route while the STS is unreachable.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::test_util::{MockAnswer, MockSts};
/// use sts_client::{CallContext, Caller, OnOutage, Propagator, Route, ServiceAccount, Tenant, http::HeaderMap};
/// use sts_client::propagate::Credential;
///
/// let sts = MockSts::new();
/// sts.service_account_tenants([Tenant::new("acme")?]);
/// let url: sts_client::url::Url = "https://inventory.shop.example/".parse()?;
/// let route = Route::to(url.clone()).audience("inventory").on_outage(OnOutage::ServiceAccount);
/// let propagator = Propagator::builder()
///     .sts(sts.builder("coordinator").attempts(1).build()?)
///     .service_account(ServiceAccount::Sts)
///     .route(route)
///     .build()
///     .await?;
///
/// sts.answer_with(MockAnswer::Outage);
/// let alice = CallContext::from(Caller::for_test().subject("alice").tenant("acme").build());
/// let mut headers = HeaderMap::new();
/// assert_eq!(propagator.apply(&alice, &url, &mut headers).await?, Credential::Fallback);
/// assert_eq!(headers["x-tenant-id"], "acme");
/// assert_eq!(headers["x-delegation-fallback"], "service-account");
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// No call is sent.
    #[default]
    Fail,
    /// The agent's own token replaces the exchanged token, with the verified tenant in
    /// `X-Tenant-ID`.
    ServiceAccount,
}

/// The behaviour of a route if the STS requires the approval of a person.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::test_util::{MockAnswer, MockSts};
/// use sts_client::{Approver, CallContext, Caller, Error, Propagator, Route, http::HeaderMap};
///
/// let sts = MockSts::new();
/// let url: sts_client::url::Url = "https://shop.example/refunds".parse()?;
/// let route = Route::to(url.clone()).audience("shop"); // OnApproval::Report
/// let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await?;
///
/// sts.answer_with(MockAnswer::RequireApproval);
/// let alice = CallContext::from(Caller::for_test().subject("alice").build());
/// match propagator.apply(&alice, &url, &mut HeaderMap::new()).await {
///     Err(Error::ApprovalRequired(required)) => assert_eq!(required.approver, Some(Approver::User)),
///     other => panic!("{other:?}"),
/// }
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnApproval {
    /// The call fails at once with [`Error::ApprovalRequired`](crate::Error::ApprovalRequired).
    #[default]
    Report,
    /// The call waits for the decision, and fails like [`Self::Report`] without one: by the end of the
    /// request at the STS, of the user's token, or of
    /// [`StsBuilder::approval_deadline`](crate::exchange::StsBuilder::approval_deadline).
    Wait,
}

/// The behaviour of a route for a call without a user.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::test_util::MockSts;
/// use sts_client::{CallContext, Propagator, Route, ServiceAccount, SystemEntropy, WithoutUser, http::HeaderMap};
/// use sts_client::propagate::Credential;
///
/// let sts = MockSts::new();
/// let reports: sts_client::url::Url = "https://reports.shop.example/".parse()?;
/// let inventory: sts_client::url::Url = "https://inventory.shop.example/".parse()?;
/// let propagator = Propagator::builder()
///     .sts(sts.sts("nightly"))
///     .service_account(ServiceAccount::Sts)
///     .route(Route::to(reports.clone()).audience("reports").without_user(WithoutUser::ServiceAccount))
///     .route(Route::to(inventory.clone()).audience("inventory"))
///     .build()
///     .await?;
///
/// let run = CallContext::without_user(None, &SystemEntropy);
/// let mut headers = HeaderMap::new();
/// assert_eq!(propagator.apply(&run, &reports, &mut headers).await?, Credential::ServiceAccount);
/// // The other route serves users alone, which is the default.
/// assert!(propagator.apply(&run, &inventory, &mut headers).await.is_err());
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutUser {
    /// No call is sent.
    #[default]
    Fail,
    /// The agent's own token is sent, with the context's tenant in `X-Tenant-ID`.
    ServiceAccount,
}

/// The idempotency key of a call, if the request that it serves has one.
///
/// ```
/// # #[cfg(feature = "test-util")]
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use sts_client::test_util::MockSts;
/// use sts_client::{CallContext, Caller, OutboundKey, Propagator, Route, http::HeaderMap};
///
/// let url: sts_client::url::Url = "https://payments.shop.example/".parse()?;
/// let route = Route::to(url.clone()).audience("payments").idempotency(OutboundKey::Same);
/// let propagator = Propagator::builder().sts(MockSts::new().sts("orders")).route(route).build().await?;
///
/// let request = CallContext::from(Caller::for_test().idempotency_key("order-7").build());
/// let mut headers = HeaderMap::new();
/// propagator.apply(&request, &url, &mut headers).await?;
/// assert_eq!(headers["idempotency-key"], "order-7"); // by default a child of it
/// # Ok(()) }
/// # #[cfg(not(feature = "test-util"))]
/// # fn main() {}
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundKey {
    /// A child of the request's key, by method, URL, body, and the count of earlier equal calls
    /// under the request. A repetition of the request repeats the keys.
    #[default]
    Child,
    /// The request's own key, unchanged. For an agent that makes one call to the target for each
    /// request. The target treats a second call under the same request as a repetition of the
    /// first.
    Same,
}

impl Route {
    /// Makes a route with the defaults: it fails closed and has no STS.
    ///
    /// ```
    /// use sts_client::{OnOutage, Route, WithoutUser};
    ///
    /// let route = Route::to("https://inventory.shop.example/v1".parse()?);
    /// assert_eq!((route.on_outage, route.without_user), (OnOutage::Fail, WithoutUser::Fail));
    /// assert!(route.audience.is_none() && !route.pass_through);
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn to(url: Url) -> Self {
        Self {
            url,
            audience: None,
            resource: None,
            issued_audience: None,
            scope: Scope::default(),
            authorization_details: Vec::new(),
            per_tool: false,
            on_outage: OnOutage::default(),
            on_approval: OnApproval::default(),
            without_user: WithoutUser::default(),
            idempotency: OutboundKey::default(),
            forward_headers: Vec::new(),
            pass_through: false,
            bearer_only: false,
            allow_http: false,
        }
    }

    /// Sets the target by agent id or audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Sets the target by URI.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// // An MCP server, which the STS knows by its URL.
    /// let route = Route::to("https://tools.shop.example/mcp".parse()?).resource("https://tools.shop.example/mcp");
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Sets the `aud` of the tokens for the target, if it is neither the requested audience nor the
    /// requested resource.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// // The STS calls the agent `inventory`, and gives its tokens another audience.
    /// let route = Route::to("https://inventory.shop.example/".parse()?)
    ///     .audience("inventory")
    ///     .issued_audience("https://inventory.shop.example/");
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn issued_audience(mut self, audience: impl Into<String>) -> Self {
        self.issued_audience = Some(audience.into());
        self
    }

    /// Sets the scopes to request.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// let route = Route::to("https://inventory.shop.example/".parse()?).audience("inventory").scope("stock:read bin:read".parse()?);
    /// assert_eq!(route.scope.to_string(), "bin:read stock:read");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the authorization details to request (RFC 9396).
    /// [`CallContext::with_authorization_details`](crate::CallContext::with_authorization_details) names
    /// others for a call.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// let details = serde_json::from_str(r#"[{ "type": "mcp_tool", "actions": ["lookup"] }]"#)?;
    /// let route = Route::to("https://shop.example/".parse()?).audience("shop").authorization_details(details);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn authorization_details(mut self, details: Vec<AuthorizationDetail>) -> Self {
        self.authorization_details = details;
        self
    }

    /// Requests a token of its own for each tool that the `rmcp` integration calls: the `actions` of the
    /// authorization details are exactly that tool. Without details of the route or the context, the type
    /// is `mcp_tool`. All other messages of a session request no details.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// let route = Route::to("https://tools.shop.example/mcp".parse()?).audience("tools").per_tool();
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn per_tool(mut self) -> Self {
        self.per_tool = true;
        self
    }

    /// Sets the behaviour while the STS is unreachable.
    #[must_use]
    pub fn on_outage(mut self, on_outage: OnOutage) -> Self {
        self.on_outage = on_outage;
        self
    }

    /// Sets the behaviour if a person must approve the call first.
    ///
    /// ```
    /// use sts_client::{OnApproval, Route};
    ///
    /// // A background task, whose caller has time.
    /// let route = Route::to("https://shop.example/".parse()?).audience("shop").on_approval(OnApproval::Wait);
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn on_approval(mut self, on_approval: OnApproval) -> Self {
        self.on_approval = on_approval;
        self
    }

    /// Sets the behaviour for a call without a user.
    #[must_use]
    pub fn without_user(mut self, without_user: WithoutUser) -> Self {
        self.without_user = without_user;
        self
    }

    /// Sets the idempotency key of calls.
    #[must_use]
    pub fn idempotency(mut self, key: OutboundKey) -> Self {
        self.idempotency = key;
        self
    }

    /// Forwards an inbound header.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use sts_client::{BuildError, Propagator, Route, RouteError, StartError, http::header};
    ///
    /// let url: sts_client::url::Url = "https://inventory.shop.example/".parse()?;
    /// let route = Route::to(url.clone()).pass_through().forward_header(header::ACCEPT_LANGUAGE);
    /// assert!(Propagator::builder().route(route).build().await.is_ok());
    ///
    /// let route = Route::to(url).pass_through().forward_header(header::COOKIE);
    /// let refused = Propagator::builder().route(route).build().await.unwrap_err();
    /// assert!(matches!(refused, StartError::Build(BuildError::Route(RouteError::Header { .. }))));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn forward_header(mut self, name: HeaderName) -> Self {
        self.forward_headers.push(name);
        self
    }

    /// Sends the user's own token unchanged when the route has no STS.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// // The identity provider itself, which may see its own token again.
    /// let route = Route::to("https://login.example.com/userinfo".parse()?).pass_through();
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn pass_through(mut self) -> Self {
        self.pass_through = true;
        self
    }

    /// Sends bearer tokens to this target, which cannot check proofs of possession.
    ///
    /// ```
    /// # use sts_client::Route;
    /// let legacy = Route::to("https://legacy.shop.example/".parse()?).audience("legacy").bearer_only();
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn bearer_only(mut self) -> Self {
        self.bearer_only = true;
        self
    }

    /// Allows tokens to go to this target over plain http.
    ///
    /// ```
    /// use sts_client::Route;
    ///
    /// // The sidecar of a service mesh encrypts the connection.
    /// let route = Route::to("http://inventory.shop.svc/".parse()?).audience("inventory").allow_http();
    /// # Ok::<(), sts_client::url::ParseError>(())
    /// ```
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Returns true if the route names a target at the STS.
    pub(crate) fn has_target(&self) -> bool {
        self.audience.is_some() || self.resource.is_some()
    }

    /// Returns true if a token with that `aud` is for this route's target.
    pub(crate) fn is_meant_by(&self, aud: &str) -> bool {
        match &self.issued_audience {
            Some(issued) => issued == aud,
            None => [&self.audience, &self.resource].into_iter().flatten().any(|named| named == aud),
        }
    }
}

fn scope_list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
    Ok(Vec::<sts_protocol::ScopeToken>::deserialize(deserializer)?.into_iter().collect())
}

fn details<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<AuthorizationDetail>, D::Error> {
    AuthorizationDetail::array(serde_json::Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
}

fn header_names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}
