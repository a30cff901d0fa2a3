//! The route of outgoing requests: direct, or through a proxy.

use std::fmt;

use url::Url;

/// The hosts of this machine. They are always reached without a proxy.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// The proxies for requests to others. The default is no proxy. Requests to the loopback interface
/// never use a proxy. `Debug` shows no password.
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

/// The text is not a valid proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    /// The text is not an http or https URL with a host and without a path.
    #[error("{name} is not the http(s) URL of a proxy, such as http://proxy.example:3128")]
    NotAProxy {
        /// The name of the variable or option.
        name: String,
    },
}

impl Egress {
    /// Sends all requests through one proxy.
    ///
    /// # Errors
    /// [`EgressError`] with the option `name`.
    pub fn by_proxy(name: &str, proxy: &str) -> Result<Self, EgressError> {
        let proxy = parse(name, proxy)?;
        Ok(Self { https: Some(proxy.clone()), http: Some(proxy), no_proxy: String::new() })
    }

    /// Reads `HTTPS_PROXY`, `HTTP_PROXY` and `NO_PROXY` from the environment, in upper or lower
    /// case. Empty variables count as absent. Lower case takes precedence, as with curl.
    ///
    /// # Errors
    /// [`EgressError`] with the name of the variable.
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

    /// Excludes the hosts of `no_proxy` from the proxies. Entries are separated by commas. An entry
    /// is a name, which includes its subdomains, an address or a network; `*` means all hosts.
    #[must_use]
    pub fn except(self, no_proxy: String) -> Self {
        Self { no_proxy, ..self }
    }

    /// Keeps only the proxy for https URLs. Requests to http URLs are sent directly. Use this for
    /// requests with a credential, which a proxy for http URLs would read.
    #[must_use]
    pub fn for_https_alone(self) -> Self {
        Self { http: None, ..self }
    }

    /// Returns the hosts that are reached without a proxy.
    #[must_use]
    pub fn exceptions(&self) -> &str {
        &self.no_proxy
    }

    /// Returns the proxy for https URLs.
    pub(crate) fn https(&self) -> Option<&Url> {
        self.https.as_ref()
    }

    /// Returns the proxy for http URLs.
    pub(crate) fn http(&self) -> Option<&Url> {
        self.http.as_ref()
    }

    /// Returns the hosts that are reached without a proxy, including this machine.
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
    // The cause is dropped, because it repeats the text, which may hold a password.
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
