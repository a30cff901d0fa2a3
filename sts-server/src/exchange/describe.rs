//! The additions of each step to the audit event, so that a refusal shows all facts known by then.

use jiff::Timestamp;
use sts_protocol::{AccessTokenClaims, Act, Actor};

use super::{Call, TokenRequest};
use crate::client_auth::AuthenticatedAgent;
use crate::policy::{ParentBinding, Ruling, Subject};
use crate::record::{Event, EventKind};
use crate::telemetry::Trail;

/// Creates the event before step 1.
pub(super) fn describe_call(kind: EventKind, call: &Call<'_>, now: Timestamp) -> Event {
    let mut event = Event::new(kind, now);
    event.correlation_id = Some(call.correlation_id.to_owned());
    event.source = Some(call.source.to_string());
    event
}

/// Adds the client after step 2.
pub(super) fn describe_client(event: &mut Event, client: &AuthenticatedAgent) {
    event.client_id = Some(client.agent().id.clone());
    event.auth_method = Some(client.method().as_str().to_owned());
}

/// Adds the request after step 3.
pub(super) fn describe_request(event: &mut Event, request: &TokenRequest<'_>) {
    event.target = Some(request.target.id.clone());
    event.audience = Some(request.target.minted_audience().to_owned());
    event.requested_scope.clone_from(&request.scope);
    event.requested_details.clone_from(&request.details);
}

/// Adds the subject after step 4.
pub(super) fn describe_subject(event: &mut Event, subject: &Subject, our_issuer: &str) {
    event.subject_issuer = Some(subject.principal.iss.clone());
    event.sub = Some(subject.sub.clone());
    event.actors = actors(subject.act.as_ref(), our_issuer);
    event.tenant_id.clone_from(&subject.tenant);
    event.parent_iss = Some(subject.token.iss.clone());
    event.parent_jti = Some(subject.token.jti.clone());
    event.parent_bound = subject.binding == ParentBinding::Bound;
    event.parent_exp = Some(subject.expires_at.as_second());
    event.txn.clone_from(&subject.txn);
}

/// Adds the ruling after step 6.
pub(super) fn describe_ruling(event: &mut Event, ruling: &Ruling, our_issuer: &str) {
    event.sub = Some(ruling.sub.clone());
    event.actors = actors(ruling.act.as_ref(), our_issuer);
    event.scope = Some(ruling.scope.clone());
    event.authorization_details.clone_from(&ruling.authorization_details);
    event.roles.clone_from(&ruling.roles);
    event.dropped_roles.clone_from(&ruling.dropped_roles);
    event.tenant_ids = ruling.tenants.clone().unwrap_or_default();
    event.cnf.clone_from(&ruling.cnf);
    event.delegation = Some(ruling.delegation.id.clone());
    event.approval.clone_from(&ruling.approval);
}

/// Adds the token after step 7.
pub(super) fn describe_token(event: &mut Event, claims: &AccessTokenClaims) {
    event.jti = Some(claims.jti.clone());
    event.txn = Some(claims.txn.clone());
    event.exp = Some(claims.exp);
}

/// Adds the duration before step 8.
pub(super) fn describe_duration(event: &mut Event, trail: &Trail) {
    event.duration_micros = Some(u64::try_from(trail.elapsed().as_micros()).unwrap_or(u64::MAX));
}

/// Returns the actors of a chain, the current actor first. Our actors appear as ids, which contain
/// no space; others appear with their issuer.
pub(super) fn actors(act: Option<&Act>, our_issuer: &str) -> Vec<String> {
    let name = |actor: Actor<'_>| match actor.iss {
        Some(iss) if iss == our_issuer => actor.sub.to_owned(),
        Some(iss) => format!("{} of {iss}", actor.sub),
        None => format!("{} of an unnamed issuer", actor.sub),
    };
    act.into_iter().flat_map(Act::actors).map(name).collect()
}
