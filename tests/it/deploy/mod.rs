//! The files in `deploy/` speak of what there is.

mod containers;
mod kubernetes;
mod monitoring;
mod reference;
mod systemd;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use sts_server::config::{self, Config, Overrides};
use sts_server::telemetry::{METRICS, Metric, MetricKind};

const DASHBOARD: &str = "deploy/grafana/agent-sts.json";
const ALERTS: &str = "deploy/prometheus/alerts.yaml";

/// The sections of the run-book that an alert may send somebody to.
const SECTIONS: [&str; 10] = [
    "approvals-that-wait",
    "certificate-expires",
    "clock-skew",
    "connections-near-the-limit",
    "database-out-of-reach",
    "entry-expires",
    "high-refusals",
    "issuer-keys-out-of-reach",
    "key-rotation-stuck",
    "replica-behind",
];

#[test]
fn the_dashboard_and_the_alerts_name_only_metrics_and_labels_that_there_are() {
    for path in [DASHBOARD, ALERTS] {
        let text = read(path);
        let found = series(&text);
        assert!(found.len() > 10, "{path}: {found:?}");
        for (name, labels) in found {
            let metric = listed(&name).unwrap_or_else(|| panic!("{path}: there is no {name}"));
            let unknown: Vec<&String> = labels
                .iter()
                .filter(|label| *label != "instance" && !metric.labels.contains(&label.as_str()))
                .collect();
            assert!(unknown.is_empty(), "{path}: {name} has no {unknown:?}");
        }
    }
}

#[test]
fn the_dashboard_shows_what_an_on_call_engineer_asks_first() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let texts: Vec<&str> = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array().expect("targets"))
        .map(|target| target["expr"].as_str().expect("an expression"))
        .collect();
    for name in [
        "sts_requests_total",
        "sts_request_duration_seconds_bucket",
        "sts_step_duration_seconds_bucket",
        "sts_recorder_batch_decisions_bucket",
        "sts_signing_key_age_seconds",
        "sts_issuer_keys_failing",
        "sts_snapshot_age_seconds",
    ] {
        assert!(texts.iter().any(|text| text.contains(name)), "{name}");
    }
}

#[test]
fn every_alert_names_a_section_of_the_run_book_and_every_section_has_an_alert() {
    let text = read(ALERTS);
    let alerts = alerts(&text).len();
    let named = text.lines().filter_map(|line| line.trim().strip_prefix("runbook: docs/operations.md#"));
    let named: Vec<&str> = named.collect();
    assert_eq!(named.len(), alerts);
    assert_eq!(named.into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(SECTIONS));
    let book = read("docs/operations.md");
    let heads: BTreeSet<String> = book.lines().filter_map(anchor).collect();
    let missing: Vec<&&str> = SECTIONS.iter().filter(|section| !heads.contains(**section)).collect();
    assert!(missing.is_empty(), "docs/operations.md lacks {missing:?}");
}

/// The names of the alerts in a file of rules.
fn alerts(text: &str) -> Vec<&str> {
    text.lines().filter_map(|line| line.trim_start().strip_prefix("- alert: ")).collect()
}

/// The anchor of a heading, as Markdown readers make it.
fn anchor(line: &str) -> Option<String> {
    let title = line.strip_prefix('#')?.trim_start_matches('#').trim();
    let kept = title.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-'));
    Some(kept.collect::<String>().to_lowercase().replace(' ', "-"))
}

/// Every `sts_…` of a text, with the labels that it is selected by.
fn series(text: &str) -> Vec<(String, Vec<String>)> {
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    let mut found = Vec::new();
    for (at, _) in text.match_indices("sts_") {
        if text[..at].chars().next_back().is_some_and(is_name) {
            continue;
        }
        let end = text[at..].find(|char| !is_name(char)).map_or(text.len(), |length| at + length);
        let selector = text[end..].strip_prefix('{').and_then(|rest| rest.split_once('}'));
        let labels = selector.map_or("", |(selector, _)| selector).split(',').filter(|pair| !pair.is_empty());
        let labels = labels.map(|pair| pair.chars().take_while(|char| is_name(*char)).collect());
        found.push((text[at..end].to_owned(), labels.collect()));
    }
    found
}

fn listed(name: &str) -> Option<&'static Metric> {
    METRICS.iter().copied().find(|metric| match metric.kind {
        MetricKind::Counter | MetricKind::Gauge => metric.name == name,
        MetricKind::Histogram(_) => {
            let rest = name.strip_prefix(metric.name);
            rest.is_some_and(|rest| ["", "_bucket", "_sum", "_count"].contains(&rest))
        }
    })
}

/// A configuration file of `deploy/`, which has no fault.
fn configuration(path: &str) -> Config {
    let loaded = config::load(Some(&file(path)), [], &Overrides::default());
    assert_eq!(loaded.faults, [], "{path}");
    loaded.config.expect("no fault, so a configuration")
}

/// How long a server of this configuration may take to end.
fn drain(config: &Config) -> Duration {
    config.listen.drain_delay + config.listen.drain_timeout.as_duration()
}

/// The documents of a YAML file.
fn yaml(path: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The strings of an array.
fn strings(array: &Value) -> Vec<&str> {
    let array = array.as_array().unwrap_or_else(|| panic!("{array} is no array"));
    array.iter().map(|item| item.as_str().expect("a string")).collect()
}

fn read(path: &str) -> String {
    let path = file(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn file(path: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).join(path)
}
