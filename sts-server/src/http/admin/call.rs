//! How a request to the admin API is read: who asks, may they, and what for.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value};
use sts_jose::json::parse_object;
use sts_protocol::Form;

use super::super::body::{self, BodyFault, HeldBody};
use super::super::listener::Peer;
use super::super::observed::Observed;
use super::super::post::{correlation_id, peer};
use super::{AdminApi, BASE, answer};
use crate::admin::{By, Operator, Precondition, Refusal};
use crate::config::Role;
use crate::document::{FieldFault, nearest};
use crate::telemetry::{Endpoint, Outcome, Trail};

/// A request of an operator who may make it.
#[derive(Debug)]
pub(super) struct Asked {
    /// Who asks.
    pub(super) operator: Operator,
    /// The same, for the audit event.
    pub(super) by: By,
    head: Arc<Parts>,
    body: HeldBody,
}

/// Answers a request: finds out who asks, reads the body, lets `act` do it in a task of its own, and gives the answer the headers that
/// all have. A requester who hangs up, or a deadline that passes, takes nothing back.
pub(super) async fn answer<F>(
    api: AdminApi,
    request: Request,
    needs: Role,
    act: impl FnOnce(AdminApi, Asked) -> F + Send + 'static,
) -> Response
where
    F: Future<Output = Result<Response, Refusal>> + Send + 'static,
{
    let trail = Trail::begin();
    let (head, body) = request.into_parts();
    let head = Arc::new(head);
    let deadline = tokio::time::sleep(api.app.request_timeout);
    let correlation_id = correlation_id(&head.headers).unwrap_or_else(|| api.app.sts.new_name());
    let mut observed = Observed::begin(&api.app, Endpoint::Admin, &trail, (&head.headers, &correlation_id));
    let peer = peer(&head);
    let source = api.app.proxies.source(peer.address.ip(), &head.headers);
    let mut by = By { admin: None, correlation_id: Some(correlation_id.clone()), source: Some(source) };
    let decided = async {
        let operator = admit(&api, &head, source).await?;
        by.admin = Some(operator.name.clone());
        if operator.role < needs {
            return Err(Refusal::Role { needs });
        }
        let body = read(&api, (&head, &peer), body).await?;
        let turn = api.turns.take(&head).await?;
        let asked = Asked { operator, by: by.clone(), head: Arc::clone(&head), body };
        let act = act(api.clone(), asked);
        let acted = tokio::spawn(async move {
            // As long as the act takes, though its requester may be gone.
            let _turn = turn;
            act.await
        });
        acted.await.unwrap_or(Err(Refusal::Ended))
    };
    let decided = tokio::select! {
        biased;
        decided = decided => decided,
        () = deadline => Err(Refusal::TooSlow),
    };
    let response = match decided {
        Ok(response) => {
            observed.decided(Outcome::Ok, None);
            response
        }
        Err(refusal) => {
            observed.decided(answer::outcome(&refusal), Some(refusal.reason()));
            record(&api, &refusal, &head, &by).await;
            answer::problem(&refusal, &correlation_id)
        }
    };
    super::super::answer::seal(response, &correlation_id)
}

/// The answer to a request that nobody reads.
pub(super) fn refuse_unread(api: &AdminApi, request: &Request, refusal: &Refusal) -> Response {
    let correlation_id = correlation_id(request.headers()).unwrap_or_else(|| api.app.sts.new_name());
    super::super::answer::seal(answer::problem(refusal, &correlation_id), &correlation_id)
}

/// An answer to whoever asks.
pub(super) fn open(api: &AdminApi, request: &Request, response: Response) -> Response {
    let correlation_id = correlation_id(request.headers()).unwrap_or_else(|| api.app.sts.new_name());
    super::super::answer::seal(response, &correlation_id)
}

/// The operator who asks.
async fn admit(api: &AdminApi, head: &Parts, source: IpAddr) -> Result<Operator, Refusal> {
    api.app.sts.rates().admit_source(source)?;
    let authorization: Vec<_> = head.headers.get_all(AUTHORIZATION).iter().collect();
    api.access.authenticate(&api.app.sts, &authorization, source).await
}

/// Stores the refusal of a known operator as an event, up to a bound. An outage, load, and a requester who is not known are counted and
/// logged.
async fn record(api: &AdminApi, refusal: &Refusal, head: &Parts, by: &By) {
    let (reason, detail) = (refusal.reason(), refusal.detail());
    let correlation_id = by.correlation_id.as_deref().unwrap_or_default();
    let outcome = answer::outcome(refusal);
    if outcome == Outcome::Unavailable {
        if let Some(left_out) = api.app.sts.metrics().log_limit().pass(reason) {
            tracing::warn!(
                endpoint = "admin",
                correlation_id,
                reason,
                detail,
                left_out,
                "a request could not be served"
            );
        }
    } else {
        tracing::debug!(endpoint = "admin", correlation_id, reason, detail, "a request was refused");
    }
    let Some(operator) = &by.admin else { return };
    // The database is what limits spare, and in an outage it takes nothing.
    if matches!(outcome, Outcome::Unavailable | Outcome::Limited) || api.app.sts.suppresses_refusal_of(operator, reason)
    {
        return;
    }
    let asked = format!("{} {BASE}{}", head.method, head.uri.path());
    if let Err(error) = api.administration.refused(refusal, &asked, by).await {
        let error = &error as &dyn std::error::Error;
        tracing::warn!(error, correlation_id, reason, "a refusal could not be recorded");
    }
}

async fn read(api: &AdminApi, head: (&Parts, &Peer), body: Body) -> Result<HeldBody, Refusal> {
    body::read(&api.app.memory, head, body, api.app.body_timeout).await.map_err(|fault| match fault {
        BodyFault::TooLarge => Refusal::TooLarge,
        BodyFault::Malformed => Refusal::Body,
        BodyFault::TooSlow => Refusal::SlowBody,
        BodyFault::NoMemory => Refusal::RequestMemory,
    })
}

impl Asked {
    /// The one JSON object of the body.
    pub(super) fn object(&self) -> Result<Map<String, Value>, Refusal> {
        if !is_json(&self.head.headers) {
            return Err(Refusal::MediaType);
        }
        parse_object(&self.body).map_err(Refusal::Json)
    }

    /// The name that the path ends with, decoded.
    pub(super) fn id(&self) -> Result<String, Refusal> {
        let (_, last) = self.head.uri.path().rsplit_once('/').unwrap_or_default();
        let id = percent_decode_str(last).decode_utf8().ok().ok_or(Refusal::Path)?;
        Ok(id.into_owned())
    }

    /// The parameters of the query, of which these are known.
    pub(super) fn query(&self, known: &[&str]) -> Result<Form, Refusal> {
        let query = self.head.uri.query().unwrap_or_default();
        let form = Form::parse(query.as_bytes());
        let form = form.map_err(|error| Refusal::Parameters(vec![FieldFault::of("query", error.to_string())]))?;
        let unknown = url::form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| !known.contains(&name.as_ref()));
        let faults: Vec<FieldFault> = unknown
            .map(|(name, _)| {
                let help = nearest(&name, known.iter().copied()).map(|near| format!("did you mean {near:?}?"));
                FieldFault { help, ..FieldFault::of(name, "unknown parameter") }
            })
            .collect();
        if faults.is_empty() { Ok(form) } else { Err(Refusal::Parameters(faults)) }
    }

    /// What the request takes the entry for (RFC 9110 §13.1).
    pub(super) fn precondition(&self) -> Result<Precondition, Refusal> {
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

/// All lines of a header as one.
fn line(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Refusal> {
    let lines: Result<Vec<&str>, _> = headers.get_all(name).iter().map(|line| line.to_str()).collect();
    let lines = lines.ok().ok_or_else(|| malformed(name, "must be ASCII"))?;
    Ok((!lines.is_empty()).then(|| lines.join(",")))
}

/// The strong entity tags of a list, without their quotes. A weak one is none: it says nothing that a change could rely on.
fn etags(line: &str) -> Result<Vec<String>, Refusal> {
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

fn malformed(name: &HeaderName, what: &str) -> Refusal {
    Refusal::Parameters(vec![FieldFault::of(name.as_str(), what)])
}

/// Exactly one `Content-Type`, that of JSON, whose only parameter may be a charset of UTF-8; and no `Content-Encoding`.
fn is_json(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return false };
    let Ok(value) = value.to_str() else { return false };
    let mut parts = value.split(';').map(str::trim);
    let is_utf8 = |parameter: &str| {
        parameter.split_once('=').is_some_and(|(name, value)| {
            name.eq_ignore_ascii_case("charset") && value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        })
    };
    let is_json = parts.next().is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    is_json && parts.all(is_utf8) && !headers.contains_key(CONTENT_ENCODING)
}
