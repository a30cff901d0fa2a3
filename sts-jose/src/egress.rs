//! The way out: directly, or by a proxy.

use std::fmt;

use url::Url;

/// Hosts that no proxy is used for: this machine.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies that requests to others go by. The default is none. Requests to the loopback interface never go by a proxy. `Debug` shows
/// no password.
///
/// ```
/// use sts_jose::Egress;
///
/// let environment = [("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", ".svc,10.0.0.0/8")];
/// let egress = Egress::from_environment(environment.map(|(name, value)| (name.to_owned(), value.to_owned())))?;
/// assert_ne!(egress, Egress::default());
/// # Ok::<(), sts_jose::EgressError>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Egress {
    https: Option<Url>,
    http: Option<Url>,
    no_proxy: String,
}

/// A text names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// Not an http or https URL with a host and without a path.
    #[error("{name} is not the http(s) URL of a proxy, such as http://proxy.example:3128")]
    NotAProxy {
        /// The variable or the option.
        name: String,
    },
}

impl Egress {
    /// Sends everything by one proxy.
    ///
    /// # Errors
    /// [`EgressError`] that names the option `name`.
    pub fn by_proxy(name: &str, proxy: &str) -> Result<Self, EgressError> {
        let proxy = parse(name, proxy)?;
        Ok(Self { https: Some(proxy.clone()), http: Some(proxy), no_proxy: String::new() })
    }

    /// Reads `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY`, in capitals or small letters, out of the environment. Empty variables count as
    /// absent; small letters win, as with curl.
    ///
    /// # Errors
    /// [`EgressError`] that names the variable.
    pub fn from_environment(environment: impl IntoIterator<Item = (String, String)>) -> Result<Self, EgressError> {
        let mut egress = Self::default();
        let mut given: Vec<(String, String)> = environment.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        given.sort();
        for (name, value) in given {
            match name.as_str() {
                "HTTPS_PROXY" | "https_proxy" => egress.https = Some(parse(&name, &value)?),
                "HTTP_PROXY" | "http_proxy" => egress.http = Some(parse(&name, &value)?),
                "NO_PROXY" | "no_proxy" => egress.no_proxy = value,
                _ => {}
            }
        }
        Ok(egress)
    }

    /// The same proxies, except to the hosts of `no_proxy`: names, which include the names below them, addresses and networks, separated
    /// by commas; `*` for all hosts.
    #[must_use]
    pub fn except(self, no_proxy: String) -> Self {
        Self { no_proxy, ..self }
    }

    /// The proxy of https URLs alone: requests to http URLs go out directly. For requests that carry a credential, which a proxy of http
    /// URLs would read.
    #[must_use]
    pub fn for_https_alone(self) -> Self {
        Self { http: None, ..self }
    }

    /// The hosts that no proxy is used for.
    #[must_use]
    pub fn exceptions(&self) -> &str {
        &self.no_proxy
    }

    /// The proxy of https URLs.
    pub(crate) fn https(&self) -> Option<&Url> {
        self.https.as_ref()
    }

    /// The proxy of http URLs.
    pub(crate) fn http(&self) -> Option<&Url> {
        self.http.as_ref()
    }

    /// The hosts that no proxy is used for, this machine among them.
    pub(crate) fn direct_hosts(&self) -> String {
        format!("{LOOPBACK},{}", self.no_proxy)
    }
}

fn parse(name: &str, text: &str) -> Result<Url, EgressError> {
    let text = text.trim();
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let is_proxy = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.has_host() && url.path() == "/" && url.query().is_none()
    };
    // The cause repeats the text, which may hold a password.
    Url::parse(&with_scheme).ok().filter(is_proxy).ok_or_else(|| EgressError::NotAProxy { name: name.to_owned() })
}

impl fmt::Debug for Egress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = |url: &Option<Url>| url.as_ref().map(|url| url.origin().ascii_serialization());
        f.debug_struct("Egress")
            .field("https", &host(&self.https))
            .field("http", &host(&self.http))
            .field("no_proxy", &self.no_proxy)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Egress, EgressError> {
        Egress::from_environment(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn the_environment_is_read_as_curl_reads_it() {
        let egress =
            of(&[("HTTPS_PROXY", "http://a:1"), ("https_proxy", "b:2"), ("NO_PROXY", "x"), ("HTTP_PROXY", "")]);
        let egress = egress.unwrap();
        assert_eq!(egress.https.unwrap().as_str(), "http://b:2/");
        assert_eq!((egress.http, egress.no_proxy.as_str()), (None, "x"));
        assert_eq!(of(&[("PATH", "/bin")]).unwrap(), Egress::default());
    }

    #[test]
    fn what_is_no_proxy_is_refused_by_name_and_without_its_text() {
        for text in ["socks5://proxy:1080", "http://", "ftp://proxy", "http://user:secret@proxy/path", "http://a b"] {
            let error = of(&[("HTTPS_PROXY", text)]).unwrap_err().to_string();
            assert!(error.contains("HTTPS_PROXY") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let egress = Egress::by_proxy("egress.proxy", "http://user:secret@proxy:3128").unwrap();
        assert!(!format!("{egress:?}").contains("secret"), "{egress:?}");
    }
}
