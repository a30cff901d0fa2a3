//! The state of the service: this server, the signing keys, and the issuers.

use std::borrow::Cow;
use std::collections::HashMap;

use askama::Template;
use axum::extract::{Request, State};
use axum::response::Response;
use jiff::Timestamp;
use sts_jose::{KeySetFaults, LostKey};

use super::super::call::{self, Asked};
use super::super::refused::Refused;
use super::super::turns::Turn;
use super::super::{AdminApi, answer};
use super::face::Browser;
use super::page::Frame;
use super::words::age;
use crate::admin::ListedKey;
use crate::config::Role;
use crate::service::Sts;

#[derive(Template)]
#[template(path = "console/health.html")]
struct Health {
    frame: Frame,
    version: &'static str,
    is_ready: bool,
    facts: Vec<(&'static str, String)>,
    faults: Vec<String>,
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
    /// The error of the last read, the keys that cannot be used, and those that have gone.
    faults: Vec<String>,
}

/// Shows the state of this server, of the signing keys and of the issuers.
pub(super) async fn health(State(api): State<AdminApi>, request: Request) -> Response {
    let act = async move |api: AdminApi, asked: Asked| {
        let sts = &api.app.sts;
        let now = sts.now();
        let keys = api.administration.keys().await?;
        let snapshot = sts.snapshot();
        let mut faults: HashMap<&str, Vec<String>> = snapshot
            .trusted
            .issuer_faults()
            .map(|(issuer, faults, error)| (issuer, words(faults, error, now)))
            .collect();
        let issuers = snapshot.trusted.issuer_health().map(|(issuer, health)| IssuerRow {
            issuer: issuer.to_owned(),
            is_failing: health.failing,
            fetched: health.fetched_at.map_or_else(|| "never".to_owned(), |at| format!("{} ago", age(now, at))),
            fetches: health.fetches,
            lost_keys: health.lost_keys,
            faults: faults.remove(issuer).unwrap_or_default(),
        });
        let mut issuers: Vec<IssuerRow> = issuers.collect();
        issuers.sort_unstable_by(|left, right| left.issuer.cmp(&right.issuer));
        let page = Health {
            frame: Frame::new(&api, &asked),
            version: env!("CARGO_PKG_VERSION"),
            is_ready: sts.readiness() && !api.app.is_withdrawn(),
            facts: facts(sts),
            faults: snapshot.faults().map(ToString::to_string).collect(),
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

/// Returns the state of the snapshot that this server decides by.
fn facts(sts: &Sts) -> Vec<(&'static str, String)> {
    let snapshot = sts.snapshot();
    let versions = snapshot.versions();
    vec![
        ("Snapshot confirmed", format!("{} ago", age(sts.now(), sts.confirmed_at()))),
        ("Registry version", versions.registry.counter.to_string()),
        ("Keys version", versions.keys.counter.to_string()),
        ("Revocations version", versions.revocations.counter.to_string()),
        ("Revocations", snapshot.revocations.count().to_string()),
    ]
}

/// Returns the faults of an issuer's keys in words.
fn words(faults: KeySetFaults, error: Option<String>, now: Timestamp) -> Vec<String> {
    let error = error.into_iter().map(|error| format!("The last read failed: {error}"));
    let name = |LostKey { kid, index, .. }: &LostKey| match kid {
        Some(kid) => format!("key {kid}"),
        None => format!("key at place {index}"),
    };
    let lost = faults.lost.iter().map(|lost| format!("The {} cannot be used: {}", name(lost), lost.reason));
    let gone = faults.gone.iter().map(|(kid, at)| format!("The key {kid} disappeared {} ago", age(now, *at)));
    error.chain(lost).chain(gone).collect()
}
