//! The state of the service: this server, the signing keys, and the issuers.

use std::borrow::Cow;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::Frame;
use crate::admin::ListedKey;
use crate::config::Role;

#[derive(Template)]
#[template(path = "console/health.html")]
struct Health {
    frame: Frame,
    version: &'static str,
    is_ready: bool,
    registry_version: String,
    keys: Vec<KeyRow>,
    issuers: Vec<IssuerRow>,
}

struct KeyRow {
    kid: String,
    algorithm: String,
    state: Cow<'static, str>,
    age: String,
}

struct IssuerRow {
    issuer: String,
    is_failing: bool,
    fetched: String,
    fetches: u64,
    lost_keys: usize,
}

/// Shows the state of this server, of the signing keys and of the issuers.
pub(super) async fn health(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let sts = &api.app.sts;
        let now = sts.now();
        let keys = api.administration.keys().await?;
        let snapshot = sts.snapshot();
        let issuers = snapshot.trusted.issuer_health().map(|(issuer, health)| IssuerRow {
            issuer: issuer.to_owned(),
            is_failing: health.failing,
            fetched: health.fetched_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(now, at))),
            fetches: health.fetches,
            lost_keys: health.lost_keys,
        });
        let mut issuers: Vec<IssuerRow> = issuers.collect();
        issuers.sort_unstable_by(|left, right| left.issuer.cmp(&right.issuer));
        let page = Health {
            frame: Frame::new(&api, &asked),
            version: env!("CARGO_PKG_VERSION"),
            is_ready: sts.readiness() && !api.app.is_withdrawn(),
            registry_version: snapshot.registry.version().counter.to_string(),
            keys: keys.into_iter().map(|key| row(key, now)).collect(),
            issuers,
        };
        Ok::<_, Refused>(answer::page(&page))
    };
    call::answer_as(Browser, api, request, (Role::Reader, Turn::Act), act).await
}

fn row(key: ListedKey, now: Timestamp) -> KeyRow {
    KeyRow { age: age(now, key.state_since), kid: key.kid, algorithm: key.algorithm, state: key.state }
}

/// Returns a span of time by its greatest unit.
fn age(now: Timestamp, since: Timestamp) -> String {
    let seconds = now.duration_since(since).max(SignedDuration::ZERO).as_secs();
    match seconds {
        ..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
