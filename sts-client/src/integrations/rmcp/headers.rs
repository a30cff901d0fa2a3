//! The headers of an rmcp request. rmcp takes the token separately, and only a single value for
//! every other header name.

use std::collections::HashMap;
use std::sync::Arc;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use crate::call::CallContext;
use crate::error::Error;
use crate::propagate::again::{Sent, TargetRefusal};
use crate::propagate::{OutboundOperation, Propagator};

/// The headers of an rmcp request after propagation.
pub(super) struct Prepared {
    /// The normalised URL, which the routes use.
    pub(super) uri: Arc<str>,
    /// A bearer token without its scheme. `Authorization` is among the headers for a bound token.
    pub(super) token: Option<String>,
    /// All other headers.
    pub(super) headers: HashMap<HeaderName, HeaderValue>,
}

/// Headers that describe the message or the connection. The HTTP client sets them, and would send
/// both values. A forwarded `Host` could also lead to a host other than the route's.
const OF_THE_HTTP_CLIENT: [HeaderName; 5] = [HOST, CONTENT_TYPE, CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING];

/// An rmcp request before propagation.
pub(super) struct Call {
    method: Method,
    url: Url,
    of_the_protocol: HashMap<HeaderName, HeaderValue>,
    given: HeaderMap,
}

impl Call {
    /// Returns a request to `uri` with these headers of rmcp.
    pub(super) fn new(method: Method, uri: &str, given: HashMap<HeaderName, HeaderValue>) -> Result<Self, Error> {
        let url = Url::parse(uri)
            .map_err(|error| Error::misconfigured(format!("the uri of the mcp server cannot be used: {error}")))?;
        let (of_the_protocol, given): (HashMap<_, _>, HashMap<_, _>) =
            given.into_iter().partition(|(name, _)| is_of_the_protocol(name));
        Ok(Self { method, url, of_the_protocol, given: given.into_iter().collect() })
    }

    /// Returns the normalised URL.
    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Sets the headers by the route.
    pub(super) async fn prepare(
        &self,
        propagator: &Propagator,
        context: CallContext,
        operation: OutboundOperation<'_>,
    ) -> Result<(Prepared, Sent), Error> {
        let mut applied = self.given.clone();
        let sent =
            propagator.prepare(context, (self.method.clone(), self.url.clone()), &mut applied, operation).await?;
        Ok((self.with(applied)?, sent))
    }

    /// Returns the same request with another token or another proof, after the server has refused
    /// that of `sent`. Returns `None` if the request may not be repeated.
    pub(super) async fn prepare_again(
        &self,
        propagator: &Propagator,
        sent: &mut Sent,
        refusal: TargetRefusal,
    ) -> Option<Prepared> {
        let mut applied = self.given.clone();
        if !propagator.prepare_again(sent, refusal, &mut applied).await {
            return None;
        }
        self.with(applied).ok()
    }

    /// Combines the headers. Protocol headers stay as rmcp has set them, even if the route forwards
    /// a header of the same name.
    fn with(&self, mut applied: HeaderMap) -> Result<Prepared, Error> {
        let token = take_bearer_token(&mut applied);
        let mut headers = self.of_the_protocol.clone();
        for name in applied.keys() {
            if !is_of_the_protocol(name) && !OF_THE_HTTP_CLIENT.contains(name) {
                headers.insert(name.clone(), joined(&applied, name)?);
            }
        }
        Ok(Prepared { uri: self.url.as_str().into(), token, headers })
    }
}

fn is_of_the_protocol(name: &HeaderName) -> bool {
    *name == ACCEPT || name == "last-event-id" || name.as_str().starts_with("mcp-")
}

/// Takes a bearer token out of the headers. rmcp adds it under its scheme.
fn take_bearer_token(headers: &mut HeaderMap) -> Option<String> {
    let token = headers.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ")?.to_owned();
    headers.remove(AUTHORIZATION);
    Some(token)
}

/// Joins all values of a header into a single value (RFC 9110 §5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<HeaderValue, Error> {
    let values: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    HeaderValue::from_bytes(&values.join(&b", "[..]))
        .map_err(|error| Error::misconfigured(format!("the header {name} cannot be sent as one: {error}")))
}
