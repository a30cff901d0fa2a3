//! The targets of outbound calls, and the credential that each target receives.

use http::HeaderName;
use serde::Deserialize;
use sts_protocol::Scope;
use url::Url;

use super::headers;

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
    /// The behaviour while the STS is unreachable.
    #[serde(default)]
    pub on_outage: OnOutage,
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

/// The behaviour of a route for a call without a user.
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
    #[must_use]
    pub fn to(url: Url) -> Self {
        Self {
            url,
            audience: None,
            resource: None,
            issued_audience: None,
            scope: Scope::default(),
            on_outage: OnOutage::default(),
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
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Sets the `aud` of the tokens for the target, if it is neither the requested audience nor the
    /// requested resource.
    #[must_use]
    pub fn issued_audience(mut self, audience: impl Into<String>) -> Self {
        self.issued_audience = Some(audience.into());
        self
    }

    /// Sets the scopes to request.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Sets the behaviour while the STS is unreachable.
    #[must_use]
    pub fn on_outage(mut self, on_outage: OnOutage) -> Self {
        self.on_outage = on_outage;
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
    #[must_use]
    pub fn forward_header(mut self, name: HeaderName) -> Self {
        self.forward_headers.push(name);
        self
    }

    /// Sends the user's own token unchanged when the route has no STS.
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

    fn covers(&self, url: &Url) -> bool {
        self.url.origin() == url.origin() && is_below(url.path(), self.url.path().trim_end_matches('/'))
    }

    /// Returns true if a server that decodes the path before it reads it would also find the URL
    /// below this route.
    fn covers_decoded(&self, url: &Url) -> bool {
        self.url.origin() == url.origin() && is_below(&decoded(url.path()), &decoded(self.url.path()))
    }
}

/// The reason why a route is unusable. The configuration is at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The URL has a scheme other than http(s), or has a user, password, query or fragment.
    #[error("the url of the route {0} is not an http(s) url of scheme, host and path alone")]
    Url(Url),
    /// Tokens would go over plain http to another machine.
    #[error("the route {0} is plain http: set allow_http if tokens may go there unencrypted")]
    PlainHttp(Url),
    /// Two routes have the same URL.
    #[error("two routes to {0}")]
    Twice(Url),
    /// The route forwards a header that must never be forwarded.
    #[error("the route {url} forwards the header {name}, which is never forwarded")]
    Header {
        /// The URL of the route.
        url: Url,
        /// The name of the header.
        name: HeaderName,
    },
}

/// All routes of an agent. The route with the longest prefix applies.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    /// Checks each route, and all of them for duplicates.
    pub(crate) fn new(mut routes: Vec<Route>) -> Result<Self, RouteError> {
        for route in &routes {
            check(route)?;
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.url.path().trim_end_matches('/').len()));
        for (index, route) in routes.iter().enumerate() {
            let same = |other: &&Route| {
                other.url.origin() == route.url.origin()
                    && other.url.path().trim_end_matches('/') == route.url.path().trim_end_matches('/')
            };
            if let Some(twice) = routes.iter().skip(index + 1).find(same) {
                return Err(RouteError::Twice(twice.url.clone()));
            }
        }
        Ok(Self(routes))
    }

    /// Returns the route that covers a URL, with its index. Returns `None` for a URL that servers
    /// may read as a URL of another route.
    pub(crate) fn find(&self, url: &Url) -> Option<(usize, &Route)> {
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let found = self.0.iter().enumerate().find(|(_, route)| route.covers(url))?;
        // A server may decode the path. The token of one route must not reach the target of another
        // in that way.
        let otherwise = self.0.iter().position(|route| route.covers_decoded(url));
        (otherwise == Some(found.0)).then_some(found)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Returns a path as lenient servers read it: decoded, without empty segments, dot segments and
/// parameters.
fn decoded(path: &str) -> String {
    let path = percent_decoded(path);
    let mut segments = Vec::new();
    for segment in path.split(['/', '\\']) {
        match segment.split_once(';').map_or(segment, |(name, _parameters)| name) {
            "" | "." => {}
            ".." => drop(segments.pop()),
            name => segments.push(name),
        }
    }
    segments.iter().flat_map(|segment| ["/", segment]).collect()
}

fn percent_decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        match part.split_at_checked(2).and_then(|(hex, rest)| Some((u8::from_str_radix(hex, 16).ok()?, rest))) {
            Some((byte, rest)) => {
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
            None => {
                bytes.push(b'%');
                bytes.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns a URL without the parts that may hold secrets.
pub(crate) fn without_secrets(url: &Url) -> Url {
    let mut shown = url.clone();
    // Both fail only for a URL that cannot have a user or password.
    let _ = (shown.set_username(""), shown.set_password(None));
    shown.set_query(None);
    shown.set_fragment(None);
    shown
}

fn check(route: &Route) -> Result<(), RouteError> {
    let url = &route.url;
    let plain = matches!(url.scheme(), "http" | "https")
        && url.has_host()
        && url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    if !plain {
        return Err(RouteError::Url(without_secrets(url)));
    }
    if sts_jose::check_url(url, route.allow_http).is_err() {
        return Err(RouteError::PlainHttp(url.clone()));
    }
    match route.forward_headers.iter().find(|name| !headers::may_be_forwarded(name)) {
        Some(name) => Err(RouteError::Header { url: url.clone(), name: name.clone() }),
        None => Ok(()),
    }
}

fn scope_list<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Scope, D::Error> {
    Ok(Vec::<sts_protocol::ScopeToken>::deserialize(deserializer)?.into_iter().collect())
}

fn header_names<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<HeaderName>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    names.iter().map(|name| name.parse().map_err(serde::de::Error::custom)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(urls: &[&str]) -> Result<Routes, RouteError> {
        Routes::new(urls.iter().map(|url| Route::to(url.parse().unwrap())).collect())
    }

    #[test]
    fn the_longest_prefix_on_a_path_boundary_wins_and_other_places_have_no_route() {
        let routes = routes(&["https://a.example/", "https://a.example/v1", "https://b.example:8443/x/"]).unwrap();
        let rows = [
            ("https://a.example/", Some("https://a.example/")),
            ("https://a.example/v1", Some("https://a.example/v1")),
            ("https://a.example/v1?q", Some("https://a.example/v1")),
            ("https://a.example/v1/x", Some("https://a.example/v1")),
            ("https://a.example/v10", Some("https://a.example/")),
            ("https://a.example/v1/../x", Some("https://a.example/")),
            ("https://a.example/v1/%2e%2e/x", Some("https://a.example/")),
            ("https://A.example:443/v1", Some("https://a.example/v1")),
            ("https://a.example:444/", None),
            ("http://a.example/", None),
            ("https://a.example.evil.example/", None),
            ("https://user@a.example/", None),
            ("https://a.example@evil.example/", None),
            ("https://b.example:8443/x", Some("https://b.example:8443/x/")),
            ("https://b.example:8443/y", None),
        ];
        for (url, expected) in rows {
            let found = routes.find(&url.parse().unwrap()).map(|(_, route)| route.url.as_str().to_owned());
            assert_eq!(found.as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn a_path_that_a_server_may_read_as_that_of_another_route_has_none() {
        let routes = routes(&["https://a.example/", "https://a.example/v1", "https://b.example/v1"]).unwrap();
        let rows = [
            ("https://a.example/%761/x", None),
            ("https://a.example//v1/x", None),
            ("https://a.example/v1%2fx", None),
            ("https://a.example/v1/..%2fx", None),
            ("https://a.example/v1/..%5Cx", None),
            ("https://a.example/v1/..;/x", None),
            ("https://a.example/v1;a=b/x", None),
            ("https://b.example/v1/%2e%2e%2fx", None),
            ("https://b.example/v1/files/a%2Fb", Some("https://b.example/v1")),
            ("https://b.example/v1/a//b;c/%zz%", Some("https://b.example/v1")),
            ("https://a.example//x%20y", Some("https://a.example/")),
        ];
        for (url, expected) in rows {
            let found = routes.find(&url.parse().unwrap()).map(|(_, route)| route.url.as_str());
            assert_eq!(found, expected, "{url}");
        }
    }

    #[test]
    fn a_route_with_an_encoded_path_is_found() {
        let routes = routes(&["https://a.example/a%20b/%2F"]).unwrap();
        assert!(routes.find(&"https://a.example/a b/%2F/c".parse().unwrap()).is_some());
    }

    #[test]
    fn a_secret_in_a_url_is_not_repeated_by_the_error() {
        let error = routes(&["https://u:hunter2@a.example/?key=hunter2#hunter2"]).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    }

    #[test]
    fn a_route_that_cannot_be_honoured_is_refused() {
        assert!(matches!(routes(&["ftp://a.example/"]), Err(RouteError::Url(_))));
        assert!(matches!(routes(&["https://a.example/?q"]), Err(RouteError::Url(_))));
        assert!(matches!(routes(&["https://u:p@a.example/"]), Err(RouteError::Url(_))));
        assert!(matches!(routes(&["http://a.example/"]), Err(RouteError::PlainHttp(_))));
        assert!(matches!(routes(&["https://a.example/v1", "https://a.example/v1/"]), Err(RouteError::Twice(_))));
        for name in ["authorization", "cookie", "dpop", "client-cert", "connection", "x-tenant-id", "host"] {
            let route = Route::to("https://a.example/".parse().unwrap()).forward_header(name.parse().unwrap());
            assert!(matches!(Routes::new(vec![route]), Err(RouteError::Header { .. })), "{name}");
        }
    }
}
