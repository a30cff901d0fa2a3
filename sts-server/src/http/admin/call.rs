//! The intake of a request to the admin API: authentication, role, body and parameters.

use std::pin::pin;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use sts_jose::json::parse_object;
use sts_protocol::Form;

use super::super::answer::correlated;
use super::super::body::{BodyFault, HeldBody};
use super::super::content_type::{Charset, FORM, JSON, charset};
use super::super::intake::{Intake, Observed, correlation_id};
use super::super::peer::Peer;
use super::pages::PageRequest;
use super::refused::Refused;
use super::turns::Turn;
use super::{AdminApi, BASE, answer, pages};
use crate::admin::{By, Denied, Operator, Precondition};
use crate::config::Role;
use crate::document::{FieldFault, nearest};
use crate::telemetry::{Endpoint, RequestOutcome};

/// A request of an operator who is allowed to make it.
#[derive(Debug)]
pub(super) struct Asked {
    /// The authenticated operator.
    pub(super) operator: Operator,
    /// The operator, as the audit event records it.
    pub(super) by: By,
    head: Arc<Parts>,
    body: HeldBody,
}

/// The outer side of the admin listener that a request comes through: the API, or the console.
pub(super) trait Face: Copy + Send + Sync + 'static {
    /// Returns the base path of its routes.
    fn base(self) -> &'static str;

    /// Returns the `Authorization` headers that the request counts as having.
    fn authorization(self, api: &AdminApi, headers: &HeaderMap) -> Vec<HeaderValue>;

    /// Returns the response to a request that was refused or cannot be served now.
    fn refusal(self, refused: &Refused, intake: &Intake<'_>) -> Response;
}

/// The face of programs: a bearer token in the `Authorization` header, and problems as JSON.
#[derive(Debug, Clone, Copy)]
struct Api;

impl Face for Api {
    fn base(self) -> &'static str {
        BASE
    }

    fn authorization(self, _api: &AdminApi, headers: &HeaderMap) -> Vec<HeaderValue> {
        headers.get_all(AUTHORIZATION).iter().cloned().collect()
    }

    fn refusal(self, refused: &Refused, intake: &Intake<'_>) -> Response {
        answer::problem(refused, &intake.correlation_id)
    }
}

/// Answers a request to the API.
pub(super) async fn answer<F>(
    api: AdminApi,
    request: Request,
    needs: Role,
    act: impl FnOnce(AdminApi, Asked) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<Response, Refused>> + Send + 'static,
{
    let (head, body) = request.into_parts();
    let turn = Turn::of_api(&head);
    answer_as(Api, api, Request::from_parts(head, body), (needs, turn), act).await
}

/// Answers a request: authenticates the operator, reads the body, runs `act` in a task of its own,
/// and adds the common headers. If the client disconnects or the deadline passes, the task still
/// completes.
pub(super) async fn answer_as<F>(
    face: impl Face,
    api: AdminApi,
    request: Request,
    (needs, turn): (Role, Turn),
    act: impl FnOnce(AdminApi, Asked) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<Response, Refused>> + Send + 'static,
{
    let (head, body) = request.into_parts();
    let head = Arc::new(head);
    let peer = Peer::of(&head);
    let intake = Intake::new(&api.app, Endpoint::Admin, &head, &peer);
    let mut observed = Observed::begin(&intake);
    let (correlation_id, source) = (Some(intake.correlation_id.clone()), Some(intake.source));
    let mut by = By { correlation_id, source, ..By::default() };
    let decided = {
        let work = pin!(async {
            let operator = admit(face, &api, &intake).await?;
            by.admin = Some(operator.name.clone());
            if operator.role < needs {
                return Err(Denied::Role { needs }.into());
            }
            let body = read(&intake, body).await?;
            let turn = api.turns.take(turn).await?;
            let asked = Asked { operator, by: by.clone(), head: Arc::clone(&head), body };
            let act = act(api.clone(), asked);
            let acted = tokio::spawn(async move {
                // Held until the operation ends, even after the client has disconnected.
                let _turn = turn;
                act.await
            });
            acted.await.unwrap_or(Err(Refused::Ended))
        });
        intake.in_time(work).await
    };
    let response = match decided {
        Ok(response) => {
            observed.decided(RequestOutcome::Ok, None);
            response
        }
        Err(refused) => {
            observed.decided(answer::outcome(&refused), Some(refused.reason()));
            record(&api, face.base(), &refused, &intake, &by).await;
            face.refusal(&refused, &intake)
        }
    };
    correlated(response, &intake.correlation_id)
}

/// Returns the response to a request that is not read.
pub(super) fn refuse_unread(api: &AdminApi, request: &Request, refused: &Refused) -> Response {
    sealed(api, request, |correlation_id| answer::problem(refused, correlation_id))
}

/// Returns the response of an endpoint without authentication.
pub(super) fn open(api: &AdminApi, request: &Request, response: Response) -> Response {
    sealed(api, request, |_| response)
}

fn sealed(api: &AdminApi, request: &Request, answer: impl FnOnce(&str) -> Response) -> Response {
    let correlation_id = correlation_id(request.headers()).unwrap_or_else(|| api.app.sts.new_name());
    correlated(answer(&correlation_id), &correlation_id)
}

/// Returns the authenticated operator.
async fn admit(face: impl Face, api: &AdminApi, intake: &Intake<'_>) -> Result<Operator, Denied> {
    let sts = &api.app.sts;
    sts.rates().admit_source(intake.source)?;
    let authorization = face.authorization(api, &intake.head.headers);
    let authorization: Vec<&HeaderValue> = authorization.iter().collect();
    api.access.authenticate(sts, &authorization, intake.source).await
}

/// Logs a request that was refused or could not be served.
pub(super) fn log(refused: &Refused, intake: &Intake<'_>) {
    let (reason, detail, correlation_id) = (refused.reason(), refused.detail(), &intake.correlation_id);
    if answer::outcome(refused) == RequestOutcome::Unavailable {
        intake.log_outage(reason, detail);
    } else {
        tracing::debug!(endpoint = "admin", correlation_id, reason, detail, "a request was refused");
    }
}

/// Stores the refusal of a known operator as an event, up to a limit. Outages, load and requests of
/// unknown clients are only counted and logged.
async fn record(api: &AdminApi, base: &str, refused: &Refused, intake: &Intake<'_>, by: &By) {
    log(refused, intake);
    let (reason, detail, outcome) = (refused.reason(), refused.detail(), answer::outcome(refused));
    let correlation_id = &intake.correlation_id;
    let Some(operator) = &by.admin else { return };
    // The limits protect the database, which accepts no event during an outage.
    if matches!(outcome, RequestOutcome::Unavailable | RequestOutcome::Limited)
        || api.app.sts.suppresses_refusal_of(operator, reason)
    {
        return;
    }
    let asked = format!("{} {base}{}", intake.head.method, intake.head.uri.path());
    if let Err(error) = api.administration.refused(reason, &detail, &asked, by).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, correlation_id, reason, "failed to record a refusal");
    }
}

pub(super) async fn read(intake: &Intake<'_>, body: Body) -> Result<HeldBody, Refused> {
    intake.read(body).await.map_err(|fault| match fault {
        BodyFault::TooLarge => Refused::TooLarge,
        BodyFault::Malformed => Refused::Body,
        BodyFault::TooSlow => Refused::SlowBody,
        BodyFault::NoMemory => Refused::RequestMemory,
    })
}

/// Returns the form of a body that is declared as one.
pub(super) fn form(headers: &HeaderMap, body: &[u8]) -> Result<Form, Refused> {
    if charset(headers, FORM).is_none() || headers.contains_key(CONTENT_ENCODING) {
        return Err(Refused::MediaType);
    }
    Form::parse(body).map_err(Refused::Form)
}

impl Asked {
    /// Returns the single JSON object of the body.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Refused> {
        let headers = &self.head.headers;
        if charset(headers, JSON) != Some(Charset::Utf8) || headers.contains_key(CONTENT_ENCODING) {
            return Err(Refused::MediaType);
        }
        parse_object(&self.body).map_err(Refused::Json)
    }

    /// Returns the form of the body.
    pub(super) fn form(&self) -> Result<Form, Refused> {
        form(&self.head.headers, &self.body)
    }

    /// Returns the headers of the request.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// Returns the last segment of the path, decoded.
    pub(super) fn id(&self) -> Result<String, Refused> {
        self.segment(0)
    }

    /// Returns the segment of the path that has this number of segments after it, decoded.
    pub(super) fn segment(&self, after: usize) -> Result<String, Refused> {
        let segment = self.head.uri.path().rsplit('/').nth(after).unwrap_or_default();
        let id = percent_decode_str(segment).decode_utf8().ok().ok_or(Refused::Path)?;
        Ok(id.into_owned())
    }

    /// Returns the parameters of the query. Refuses parameters that are not `known`.
    pub(super) fn query(&self, known: &[&str]) -> Result<Form, Denied> {
        let query = self.head.uri.query().unwrap_or_default();
        let form = Form::parse(query.as_bytes());
        let form = form.map_err(|error| Denied::Parameters(vec![FieldFault::of("query", error.to_string())]))?;
        let unknown = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !known.contains(&name.as_ref()));
        let faults: Vec<FieldFault> = unknown
            .map(|(name, _)| {
                let help = nearest(&name, known.iter().copied()).map(|near| format!("did you mean {near:?}?"));
                FieldFault { help, ..FieldFault::of(name, "unknown parameter") }
            })
            .collect();
        if faults.is_empty() { Ok(form) } else { Err(Denied::Parameters(faults)) }
    }

    /// Returns the page of a list that the request asks for.
    pub(super) fn page(&self) -> Result<PageRequest, Denied> {
        PageRequest::read(&self.query(&pages::PARAMETERS.map(|(name, _)| name))?)
    }

    /// Returns the precondition of the request (RFC 9110 §13.1).
    pub(super) fn precondition(&self) -> Result<Precondition, Denied> {
        let [matches, none_match] = [&IF_MATCH, &IF_NONE_MATCH].map(|name| line(&self.head.headers, name));
        match (matches?, none_match?) {
            (None, None) => Ok(Precondition::None),
            (Some(line), None) if line.trim() == "*" => Ok(Precondition::Present),
            (Some(line), None) => Ok(Precondition::Is(etags(&line)?)),
            (None, Some(line)) if line.trim() == "*" => Ok(Precondition::Absent),
            (None, Some(_)) => Err(malformed(&IF_NONE_MATCH, "must be *")),
            (Some(_), Some(_)) => Err(malformed(&IF_NONE_MATCH, "contradicts If-Match")),
        }
    }
}

/// Returns all lines of a header as a single line.
fn line(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Denied> {
    let lines: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|line| line.to_str()).collect();
    let lines = lines.ok().ok_or_else(|| malformed(name, "must be ASCII"))?;
    Ok((!lines.is_empty()).then(|| lines.join(",")))
}

/// Returns the strong entity tags of a list, without their quotes. Skips weak tags, because a
/// change cannot rely on them.
fn etags(line: &str) -> Result<Vec<String>, Denied> {
    if line.trim().is_empty() {
        return Err(malformed(&IF_MATCH, "must be * or ETags in quotes"));
    }
    let mut etags = Vec::new();
    for element in line.split(',').map(str::trim).filter(|element| !element.is_empty()) {
        if element.starts_with("W/") {
            continue;
        }
        let etag = element.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let etag = etag.filter(|etag| !etag.contains('"'));
        etags.push(etag.ok_or_else(|| malformed(&IF_MATCH, "must be * or ETags in quotes"))?.to_owned());
    }
    Ok(etags)
}

fn malformed(name: &HeaderName, what: &str) -> Denied {
    Denied::Parameters(vec![FieldFault::of(name.as_str(), what)])
}
