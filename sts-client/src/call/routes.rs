//! The routes of an agent, and the search for the route of a URL.

use sts_jose::unhex;
use url::Url;

use super::headers;
use super::route::Route;
use super::route_error::RouteError;

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
        let found = self.0.iter().enumerate().find(|(_, route)| covers(route, url))?;
        // A server may decode the path. The token of one route must not reach the target of another
        // in that way.
        let otherwise = self.0.iter().position(|route| covers_decoded(route, url));
        (otherwise == Some(found.0)).then_some(found)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

fn covers(route: &Route, url: &Url) -> bool {
    route.url.origin() == url.origin() && is_below(url.path(), route.url.path().trim_end_matches('/'))
}

/// Returns true if a server that decodes the path before it reads it would also find the URL below
/// the route.
fn covers_decoded(route: &Route, url: &Url) -> bool {
    route.url.origin() == url.origin() && is_below(&decoded(url.path()), &decoded(route.url.path()))
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
        match part.split_at_checked(2).and_then(|(hex, rest)| Some((unhex(hex)?.pop()?, rest))) {
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
    fn an_escape_has_two_digits() {
        assert_eq!(percent_decoded("%4a%+b%4%é"), "J%+b%4%é");
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
