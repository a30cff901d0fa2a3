//! Where calls may go, and what each place is sent.

use http::HeaderName;
use serde::Deserialize;
use sts_protocol::Scope;
use url::Url;

use super::headers;

/// One place that the agent calls, and the rules of that hop. By default it fails closed: no token, no call.
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
    /// Origin, or a prefix of URLs: `https://inventory.shop.example/` holds for all below it, `…/v1` for `/v1` and `/v1/…`. No query.
    pub url: Url,
    /// The target by its agent id or one of its `audience` values (RFC 8693 §2.1). With neither this nor `resource` the route has no STS.
    #[serde(default)]
    pub audience: Option<String>,
    /// The target by URI (RFC 8707 §2).
    #[serde(default)]
    pub resource: Option<String>,
    /// The `aud` of the tokens that are issued for the target, where it is neither `audience` nor `resource`.
    #[serde(default)]
    pub issued_audience: Option<String>,
    /// What is asked for; nothing asks for all that is allowed.
    #[serde(default, rename = "scopes", deserialize_with = "scope_list")]
    pub scope: Scope,
    /// What happens while the STS is out of reach.
    #[serde(default)]
    pub on_outage: OnOutage,
    /// What happens when there is no user behind the call.
    #[serde(default)]
    pub without_user: WithoutUser,
    /// Which idempotency key a call carries, when the request has one.
    #[serde(default)]
    pub idempotency: OutboundKey,
    /// Inbound headers that go along, beside those that always do.
    #[serde(default, deserialize_with = "header_names")]
    pub forward_headers: Vec<HeaderName>,
    /// Whether the user's own token goes out raw where there is no STS. Never beside an STS: its token takes precedence.
    #[serde(default)]
    pub pass_through: bool,
    /// Whether tokens may go to this place over plain http, though it is not loopback.
    #[serde(default)]
    pub allow_http: bool,
}

/// What a route does while the STS is out of reach.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnOutage {
    /// Nothing goes out.
    #[default]
    Fail,
    /// The agent's own token stands in, with the verified tenant in `X-Tenant-ID`.
    ServiceAccount,
}

/// What a route does when there is no user behind the call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WithoutUser {
    /// Nothing goes out.
    #[default]
    Fail,
    /// The agent's own token, with the context's tenant in `X-Tenant-ID`.
    ServiceAccount,
}

/// Which idempotency key a call carries, when the request that it is made for has one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundKey {
    /// Its own: a child of the request's key by method, URL, body, and how often this call was made before under the request. A repetition
    /// of the request repeats the keys.
    #[default]
    Child,
    /// The request's own key, unchanged. For an agent that makes one call to that place for each request: a second call under the same
    /// request is taken for a repetition of the first.
    Same,
}

impl Route {
    /// A route with the defaults: fail closed, no STS.
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
            allow_http: false,
        }
    }

    /// Names the target by agent id or audience.
    #[must_use]
    pub fn audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Names the target by URI.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Names the `aud` of the tokens for the target, where it is neither of those asked for.
    #[must_use]
    pub fn issued_audience(mut self, audience: impl Into<String>) -> Self {
        self.issued_audience = Some(audience.into());
        self
    }

    /// Says what is asked for.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Says what happens while the STS is out of reach.
    #[must_use]
    pub fn on_outage(mut self, on_outage: OnOutage) -> Self {
        self.on_outage = on_outage;
        self
    }

    /// Says what happens without a user.
    #[must_use]
    pub fn without_user(mut self, without_user: WithoutUser) -> Self {
        self.without_user = without_user;
        self
    }

    /// Says which idempotency key a call carries.
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

    /// Sends the user's own token where there is no STS.
    #[must_use]
    pub fn pass_through(mut self) -> Self {
        self.pass_through = true;
        self
    }

    /// Lets tokens go to this place over plain http.
    #[must_use]
    pub fn allow_http(mut self) -> Self {
        self.allow_http = true;
        self
    }

    /// Whether the route names a target at the STS.
    pub(crate) fn has_target(&self) -> bool {
        self.audience.is_some() || self.resource.is_some()
    }

    /// Whether a token with that `aud` is for this route's target.
    pub(crate) fn is_meant_by(&self, aud: &str) -> bool {
        match &self.issued_audience {
            Some(issued) => issued == aud,
            None => [&self.audience, &self.resource].into_iter().flatten().any(|named| named == aud),
        }
    }

    fn covers(&self, url: &Url) -> bool {
        self.url.origin() == url.origin() && is_below(url.path(), self.url.path().trim_end_matches('/'))
    }

    /// Whether a server that decodes a path before it reads it would say so too.
    fn covers_decoded(&self, url: &Url) -> bool {
        self.url.origin() == url.origin() && is_below(&decoded(url.path()), &decoded(self.url.path()))
    }
}

/// Why a route cannot be honoured. A fault of the configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RouteError {
    /// The URL has another scheme than http(s), or user, password, query or fragment.
    #[error("the url of the route {0} is not an http(s) url of scheme, host and path alone")]
    Url(Url),
    /// Tokens would go over plain http to another machine.
    #[error("the route {0} is plain http: set allow_http if tokens may go there unencrypted")]
    PlainHttp(Url),
    /// Two routes have one URL.
    #[error("two routes to {0}")]
    Twice(Url),
    /// A header that is never forwarded.
    #[error("the route {url} forwards the header {name}, which is never forwarded")]
    Header {
        /// The route.
        url: Url,
        /// The header.
        name: HeaderName,
    },
}

/// All routes of an agent. The longest prefix wins.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Vec<Route>);

impl Routes {
    /// Checks the routes, each and together.
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

    /// The route that covers a URL, with its index; none for a URL that servers may read as one of another route.
    pub(crate) fn find(&self, url: &Url) -> Option<(usize, &Route)> {
        if !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let found = self.0.iter().enumerate().find(|(_, route)| route.covers(url))?;
        // The token of one route must not go to the target of another because the server reads the path otherwise.
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

/// A path as lenient servers read it: decoded, without empty segments, dot segments and parameters.
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

/// What of a URL may be shown.
pub(crate) fn without_secrets(url: &Url) -> Url {
    let mut shown = url.clone();
    // Neither fails but for a URL that cannot have them.
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
