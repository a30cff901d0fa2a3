//! The errors of fetching keys.

use reqwest::header::InvalidHeaderValue;
use url::Url;

use crate::error_chain;
use crate::http_client::HttpClientError;
use crate::json::JsonError;
use crate::key_set::KeySetError;

/// The number of characters that a message shows of a text from an answer.
const MAX_SHOWN_CHARS: usize = 256;

/// The reason keys could not be fetched: an outage or a misconfiguration of the issuer. The
/// requester never causes it, and may retry later. No message holds a token or a body.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The issuer or the `jwks_uri` is not a URL for fetching a key set.
    #[error("not a url that keys can be fetched from")]
    BadUrl(#[source] Option<url::ParseError>),
    /// The URL is neither https, nor http where http is allowed.
    #[error("not an https url")]
    NotHttps,
    /// The error at one URL.
    #[error("{url}")]
    At {
        /// The URL of the request.
        url: String,
        /// The cause of the error.
        #[source]
        cause: Box<FetchError>,
    },
    /// The request failed: connection, timeout of a single request, or malformed HTTP.
    #[error("the request failed")]
    Http(#[source] reqwest::Error),
    /// The server presents the certificate of an authority instead of a server certificate.
    /// `openssl req -x509` makes such certificates.
    #[error(
        "the server presents the certificate of a certificate authority: it needs its own certificate, signed by the authority"
    )]
    AuthorityAsServer(#[source] reqwest::Error),
    /// No trusted authority has signed the server's certificate.
    #[error(
        "the server's certificate is not signed by an authority that is trusted here: name that authority in ca_file"
    )]
    UntrustedAuthority(#[source] reqwest::Error),
    /// The status is not 200. Redirects are not followed.
    #[error("answered with status {status}{}", told_location(location.as_deref()))]
    Status {
        /// The status of the answer.
        status: u16,
        /// `Location`, if the answer is a redirect.
        location: Option<String>,
    },
    /// The status is 401 or 403 at the `jwks_uri` of the discovery document, to which the bearer
    /// token is not sent.
    #[error(
        "answered with status {0}: the discovery document names a jwks_uri of another origin than the issuer's, and the bearer token \
         is sent there only if jwks_uri is configured"
    )]
    BearerWithheld(u16),
    /// The answer is longer than this many bytes.
    #[error("longer than {0} bytes")]
    TooLarge(usize),
    /// The refresh exceeded its time limit.
    #[error("timed out")]
    TimedOut,
    /// None of the places for a discovery document has a document of the issuer.
    #[error("no discovery document of the issuer {issuer:?}: {}", each_in_words(tried))]
    NotDiscovered {
        /// The issuer.
        issuer: String,
        /// The errors of the places, in the order of the tries.
        tried: Vec<FetchError>,
    },
    /// The discovery document is not an accepted JSON object.
    #[error("not an accepted json object")]
    Discovery(#[source] JsonError),
    /// The `issuer` of the discovery document is not exactly the configured issuer.
    #[error("the document is of {}, not of {expected:?}", found.as_ref().map_or("no issuer".to_owned(), |found| format!("the issuer {found:?}")))]
    IssuerMismatch {
        /// The configured issuer.
        expected: String,
        /// The `issuer` of the document, cut to 256 characters.
        found: Option<String>,
    },
    /// The discovery document has no string `jwks_uri`.
    #[error("the discovery document has no jwks_uri")]
    JwksUriMissing,
    /// The content is not a key set.
    #[error("not a key set")]
    KeySet(#[from] KeySetError),
    /// The key set file cannot be read.
    #[error("the key set file cannot be read")]
    File(#[source] std::io::Error),
    /// The file with the bearer token cannot be read.
    #[error("the bearer token file cannot be read")]
    BearerTokenFile(#[source] std::io::Error),
    /// The file with the bearer token does not hold a token.
    #[error("the bearer token file contains no token")]
    BearerToken(#[source] Option<InvalidHeaderValue>),
    /// The file with the certificates of the authorities cannot be read.
    #[error("the ca file cannot be read")]
    CaFile(#[source] std::io::Error),
    /// The file with the certificates of the authorities cannot be used.
    #[error("the ca file cannot be used")]
    HttpClient(#[source] HttpClientError),
    /// No attempt has ended yet.
    #[error("the keys were never read")]
    NeverRead,
    /// The task of the fetch ended without an outcome, because the runtime shuts down.
    #[error("the fetch was abandoned")]
    Aborted(#[source] tokio::task::JoinError),
}

impl FetchError {
    /// Returns the error without the URL at which it occurred.
    #[must_use]
    pub fn cause(&self) -> &Self {
        match self {
            Self::At { cause, .. } => cause.cause(),
            other => other,
        }
    }

    /// Returns the status of the answer, if there is an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        match self.cause() {
            Self::Status { status, .. } | Self::BearerWithheld(status) => Some(*status),
            Self::NotDiscovered { tried, .. } => tried.first()?.status(),
            _ => None,
        }
    }

    pub(crate) fn at(self, url: &Url) -> Self {
        Self::At { url: url.to_string(), cause: Box::new(self) }
    }

    /// Converts the error of a failed request. Two common certificate faults get dedicated
    /// variants.
    pub(crate) fn of_request(error: reqwest::Error) -> Self {
        let error = error.without_url();
        let words = error_chain(&error);
        if words.contains("CaUsedAsEndEntity") {
            return Self::AuthorityAsServer(error);
        }
        if words.contains("UnknownIssuer") {
            return Self::UntrustedAuthority(error);
        }
        Self::Http(error)
    }

    /// Returns true if an answer arrived, and another place may have a better answer.
    pub(crate) fn is_answer(&self) -> bool {
        matches!(
            self.cause(),
            Self::Status { .. }
                | Self::TooLarge(_)
                | Self::Discovery(_)
                | Self::IssuerMismatch { .. }
                | Self::JwksUriMissing
        )
    }
}

fn each_in_words(errors: &[FetchError]) -> String {
    errors.iter().map(|error| error_chain(error)).collect::<Vec<_>>().join("; ")
}

fn told_location(location: Option<&str>) -> String {
    location.map_or_else(String::new, |to| format!(" and Location {to:?}: redirects are not followed"))
}

/// Returns the first characters of a text that another party chose.
pub(crate) fn cut(text: &str) -> String {
    text.chars().take(MAX_SHOWN_CHARS).collect()
}
