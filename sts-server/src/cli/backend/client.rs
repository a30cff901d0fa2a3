//! Requests to the admin API of a running server, for `--via`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sts_jose::{FetchError, HttpClientError, Sender, check_url, read_text_file};
use thiserror::Error;
use url::Url;

use super::super::arguments::Options;
use crate::admin::REVOKE_ANYWAY;
use crate::config::exposed_file;
use crate::document::FieldFault;

/// The time limit of a request. It exceeds the server's own.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum length of an answer, in bytes. A page is shorter.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The maximum length of a token file, in bytes.
const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The number of times that a list is read whose version changes meanwhile.
const ATTEMPTS: u32 = 5;
/// The path of the API.
const BASE: [&str; 2] = ["admin", "v1"];

/// A client of the admin API of one server, with the token of one operator.
#[derive(Clone)]
pub(in crate::cli) struct AdminClient {
    server: Url,
    authorization: HeaderValue,
    sender: Sender,
}

/// The server of `--via` did not run the command.
#[derive(Debug, Error)]
pub enum ViaError {
    /// The server is not named by a URL that a token may be sent to.
    #[error("--via: {0}")]
    Url(String),
    /// No file has the token of the operator.
    #[error("--via needs --via-token-file FILE (or STS_VIA_TOKEN_FILE): a file with the token of an operator")]
    NoToken,
    /// The file of the token is open to other users.
    #[error("the token file {0}")]
    Exposed(String),
    /// The file of the token cannot be read.
    #[error("the token file {} cannot be read", path.display())]
    TokenFile {
        /// The path of the file.
        path: PathBuf,
        /// The cause of the failure.
        #[source]
        source: std::io::Error,
    },
    /// The file of the token has no token.
    #[error("the token file {} must have one line: the token", .0.display())]
    Token(PathBuf),
    /// The HTTP client cannot be created.
    #[error("the HTTP client cannot be created")]
    Client(#[from] HttpClientError),
    /// The request cannot be made.
    #[error("the request cannot be made")]
    Request(#[from] http::Error),
    /// A value cannot be written as JSON.
    #[error("the request cannot be written as JSON")]
    Body(#[source] serde_json::Error),
    /// The server does not answer.
    #[error("no answer from {server}")]
    NoAnswer {
        /// The URL of the server.
        server: String,
        /// The cause of the failure.
        #[source]
        source: FetchError,
    },
    /// The server answers with a redirect.
    #[error("{server} redirects to {location}: redirects are not followed, so name that server in --via")]
    Redirect {
        /// The URL of the server.
        server: String,
        /// The place that the answer names.
        location: String,
    },
    /// The server refuses the request.
    #[error("{}", in_words(.0))]
    Refused(Box<ApiProblem>),
    /// The pages of a list are of different versions each time.
    #[error("{server} changed while it was read: run the command again")]
    Changing {
        /// The URL of the server.
        server: String,
    },
    /// The answer is not one of the admin API.
    #[error("{server} answered with status {status}: --via must name the admin listener of sts-server")]
    Foreign {
        /// The URL of the server.
        server: String,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The answer cannot be read.
    #[error("the answer of {server} cannot be read: is the server of another version?")]
    Unreadable {
        /// The URL of the server.
        server: String,
        /// The cause of the failure.
        #[source]
        source: serde_json::Error,
    },
}

/// A refusal of the admin API (RFC 9457).
#[derive(Debug, Deserialize)]
pub struct ApiProblem {
    #[serde(skip)]
    server: String,
    status: u16,
    detail: String,
    reason: String,
    #[serde(default)]
    faults: Vec<FieldFault>,
    /// The least role that suffices.
    #[serde(skip)]
    needs: Option<String>,
}

/// A page of a list.
#[derive(Deserialize)]
struct ListPage {
    next: Option<String>,
    version: Option<String>,
    #[serde(flatten)]
    members: serde_json::Map<String, Value>,
}

impl AdminClient {
    /// Returns the client of `--via`, if it is given.
    pub(super) fn of(options: &Options) -> Result<Option<Self>, ViaError> {
        let open = |server: &String| Self::open(server, options.via_token_file.as_deref());
        options.via.as_ref().map(open).transpose()
    }

    /// Reads the token. Asks nothing yet.
    fn open(server: &str, token_file: Option<&Path>) -> Result<Self, ViaError> {
        let server = server_url(server)?;
        let token = token(token_file.ok_or(ViaError::NoToken)?)?;
        let bearer = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()));
        // The error quotes no value, and the token is no header value.
        let mut authorization =
            bearer.ok().ok_or_else(|| ViaError::Token(token_file.unwrap_or(Path::new("")).to_owned()))?;
        authorization.set_sensitive(true);
        Ok(Self { server, authorization, sender: Sender::bounded(TIMEOUT, MAX_ANSWER_BYTES)? })
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &[&str], query: &[(&str, &str)]) -> Result<T, ViaError> {
        self.read(&self.send(Method::GET, path, query, Bytes::new()).await?)
    }

    pub(super) async fn post<T: DeserializeOwned>(&self, path: &[&str], body: &impl Serialize) -> Result<T, ViaError> {
        let body = serde_json::to_vec(body).map_err(ViaError::Body)?;
        self.read(&self.send(Method::POST, path, &[], body.into()).await?)
    }

    pub(super) async fn delete(&self, path: &[&str], query: &[(&str, &str)]) -> Result<(), ViaError> {
        self.send(Method::DELETE, path, query, Bytes::new()).await.map(drop)
    }

    /// Returns the members of all pages, with the elements of each list in one. Starts again if the
    /// pages are of different versions.
    pub(super) async fn whole(&self, path: &[&str]) -> Result<serde_json::Map<String, Value>, ViaError> {
        for _ in 0..ATTEMPTS {
            if let Some(whole) = self.of_one_version(path).await? {
                return Ok(whole);
            }
        }
        Err(ViaError::Changing { server: self.name() })
    }

    /// Returns the members of all pages, or `None` if the version changes before the last page.
    async fn of_one_version(&self, path: &[&str]) -> Result<Option<serde_json::Map<String, Value>>, ViaError> {
        let (mut whole, mut after, mut version) = (serde_json::Map::new(), None, None);
        loop {
            let page = self.page(path, after.as_deref()).await?;
            if after.is_some() && page.version != version {
                return Ok(None);
            }
            version = page.version;
            for (name, value) in page.members {
                match (whole.get_mut(&name), value) {
                    (Some(Value::Array(elements)), Value::Array(more)) => elements.extend(more),
                    (_, value) => drop(whole.insert(name, value)),
                }
            }
            if page.next.is_none() || page.next == after {
                return Ok(Some(whole));
            }
            after = page.next;
        }
    }

    async fn page(&self, path: &[&str], after: Option<&str>) -> Result<ListPage, ViaError> {
        let query: Vec<(&str, &str)> = after.map(|after| ("after", after)).into_iter().collect();
        self.get(path, &query).await
    }

    /// Returns a page of a list, and the cursor of the next one. `member` names the list in an answer.
    pub(super) async fn list_page<T: DeserializeOwned>(
        &self,
        path: &[&str],
        member: &str,
        after: Option<&str>,
    ) -> Result<(Vec<T>, Option<String>), ViaError> {
        let mut page = self.page(path, after).await?;
        let listed = page.members.remove(member).unwrap_or_default();
        let elements = serde_json::from_value(listed).map_err(|source| self.unreadable(source))?;
        // A server that repeats a cursor has no further page.
        Ok((elements, page.next.filter(|next| after != Some(next.as_str()))))
    }

    /// Returns all elements of a list, page by page. `member` names the list in an answer.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &[&str], member: &str) -> Result<Vec<T>, ViaError> {
        let (mut elements, mut after) = (Vec::new(), None);
        loop {
            let (page, next): (Vec<T>, Option<String>) = self.list_page(path, member, after.as_deref()).await?;
            elements.extend(page);
            if next.is_none() {
                return Ok(elements);
            }
            after = next;
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Bytes,
    ) -> Result<Response<Bytes>, ViaError> {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(BASE).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = Request::builder().method(method).uri(url.as_str());
        request = request.header(AUTHORIZATION, self.authorization.clone());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let answer = self.sender.send(request.body(body)?).await;
        self.accepted(answer.map_err(|source| ViaError::NoAnswer { server: self.name(), source })?)
    }

    /// Returns an answer of success, or the reason that there is none.
    fn accepted(&self, answer: Response<Bytes>) -> Result<Response<Bytes>, ViaError> {
        let (status, headers) = (answer.status(), answer.headers());
        if status.is_success() {
            return Ok(answer);
        }
        if status.is_redirection() {
            let location = headers.get(LOCATION).and_then(|location| location.to_str().ok());
            let location = location.unwrap_or("an unnamed place").to_owned();
            return Err(ViaError::Redirect { server: self.name(), location });
        }
        let needs = headers.get(WWW_AUTHENTICATE).and_then(|challenge| challenge.to_str().ok()).and_then(needed_role);
        let needs = needs.map(str::to_owned);
        let Ok(problem) = serde_json::from_slice::<ApiProblem>(answer.body()) else {
            return Err(ViaError::Foreign { server: self.name(), status });
        };
        Err(ViaError::Refused(Box::new(ApiProblem { server: self.name(), needs, ..problem })))
    }

    fn read<T: DeserializeOwned>(&self, answer: &Response<Bytes>) -> Result<T, ViaError> {
        serde_json::from_slice(answer.body()).map_err(|source| self.unreadable(source))
    }

    fn unreadable(&self, source: serde_json::Error) -> ViaError {
        ViaError::Unreadable { server: self.name(), source }
    }

    fn name(&self) -> String {
        self.server.to_string().trim_end_matches('/').to_owned()
    }
}

impl ViaError {
    /// Returns true if the same request may succeed later.
    pub(in crate::cli) fn is_outage(&self) -> bool {
        let is_later = |problem: &ApiProblem| [429, 503].contains(&problem.status);
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused(problem) => is_later(problem),
            // The answer of a proxy before the server.
            Self::Foreign { status, .. } => matches!(status.as_u16(), 429 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// Returns true if the named object does not exist.
    pub(super) fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused(problem) if problem.reason == "not_found")
    }
}

/// Returns the URL of a server that a token may be sent to: https, or http on this machine.
fn server_url(text: &str) -> Result<Url, ViaError> {
    let url = Url::parse(text).map_err(|error| ViaError::Url(format!("not a URL: {error}")))?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(ViaError::Url("must have no query and no fragment".to_owned()));
    }
    check_url(&url, false).map_err(|error| {
        ViaError::Url(match error {
            FetchError::NotHttps => "must be an https URL; http is for the loopback interface only".to_owned(),
            _ => "must have a host, and no user or password".to_owned(),
        })
    })?;
    Ok(url)
}

/// Reads the token of a file that other users cannot read.
fn token(path: &Path) -> Result<SecretString, ViaError> {
    if let Some(fault) = exposed_file(path) {
        let help = fault.help.unwrap_or_default();
        return Err(ViaError::Exposed(format!("{} {}: {help}", path.display(), fault.message)));
    }
    let text = read_text_file(path, MAX_TOKEN_BYTES);
    let text = text.map_err(|source| ViaError::TokenFile { path: path.to_owned(), source })?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(ViaError::Token(path.to_owned()));
    }
    Ok(token.into())
}

/// Returns the role that a challenge names.
fn needed_role(challenge: &str) -> Option<&str> {
    let (_, role) = challenge.split_once("scope=\"")?;
    Some(role.split_once('"')?.0)
}

/// Returns a refusal in words. The faults of a request name flags, as those of a local command do.
fn in_words(problem: &ApiProblem) -> String {
    let ApiProblem { server, detail, reason, faults, needs, .. } = problem;
    if let Some(role) = needs {
        return format!("{server} refused: the token must have the role {role}");
    }
    if faults.is_empty() {
        return format!("{server} refused: {detail} ({reason})");
    }
    faults.iter().map(fault_in_words).collect::<Vec<_>>().join("\n")
}

fn fault_in_words(fault: &FieldFault) -> String {
    let FieldFault { pointer, parameter, message, help } = fault;
    let name = pointer.as_deref().map(|pointer| pointer.trim_start_matches('/')).or(parameter.as_deref());
    let flag = name.filter(|name| !name.is_empty()).map(|name| format!("--{}: ", name.replace('_', "-")));
    let help =
        help.as_ref().map(|help| format!("; {}", help.replace(REVOKE_ANYWAY, "add --unknown to revoke it anyway")));
    format!("{}{message}{}", flag.unwrap_or_default(), help.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_sent_over_https_or_to_this_machine_only() {
        for server in ["https://sts-admin.example.com", "https://sts.example.com/operators/", "http://127.0.0.1:8081"] {
            server_url(server).unwrap();
        }
        for (server, reason) in [
            ("sts.example.com", "not a URL"),
            ("http://sts.example.com:8081", "http is for the loopback interface only"),
            ("http://127.0.0.1.example.com", "http is for the loopback interface only"),
            ("ftp://127.0.0.1", "must be an https URL"),
            ("https://carol:secret@sts.example.com", "no user or password"),
            ("https://sts.example.com/?a=b", "no query"),
        ] {
            let error = server_url(server).unwrap_err().to_string();
            assert!(error.contains(reason), "{server}: {error}");
        }
    }
}
