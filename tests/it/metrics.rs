//! `/metrics`: what is counted, under which labels, and that nothing of a requester's choice is among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sts_server::telemetry::{METRICS, Metric, MetricKind};
use sts_tests::{Fault, Harness, TestKey};

/// A sample of the text format: name, labels, value.
type Sample = (String, BTreeMap<String, String>, f64);

#[tokio::test]
async fn decisions_are_counted_by_grant_outcome_and_reason() {
    let harness = Harness::start().await;
    for _ in 0..3 {
        harness.exchange().send().await.token();
    }
    harness.exchange().set("subject_token", "no token").send().await;
    harness.exchange().set("grant_type", "password").send().await;
    let samples = scrape(&harness).await;
    let requests = |grant: &str, outcome: &str, reason: &str| {
        let labels = [("endpoint", "token"), ("grant", grant), ("outcome", outcome), ("reason", reason)];
        value(&samples, "sts_requests_total", &labels)
    };
    assert_eq!(requests("token_exchange", "ok", "none"), Some(3.0));
    assert_eq!(requests("token_exchange", "refused", "subject_malformed"), Some(1.0));
    assert_eq!(requests("other", "refused", "grant_unsupported"), Some(1.0));
}

#[tokio::test]
async fn latency_is_measured_per_request_and_per_step_in_buckets() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    harness.exchange().set("subject_token", "no token").send().await;
    let samples = scrape(&harness).await;
    let count = |name: &str, label: (&str, &str)| value(&samples, &format!("{name}_count"), &[label]);
    assert_eq!(count("sts_request_duration_seconds", ("endpoint", "token")), Some(2.0));
    for (step, times) in
        [("form", 2.0), ("client_auth", 2.0), ("request", 2.0), ("subject", 2.0), ("policy", 1.0), ("record", 2.0)]
    {
        assert_eq!(count("sts_step_duration_seconds", ("step", step)), Some(times), "{step}");
    }
    let seconds = |name: &str| -> f64 {
        let of =
            |sample: &&Sample| sample.0 == name && sample.1.get("endpoint").is_none_or(|endpoint| endpoint == "token");
        samples.iter().filter(of).map(|sample| sample.2).sum()
    };
    let (request, steps) = (seconds("sts_request_duration_seconds_sum"), seconds("sts_step_duration_seconds_sum"));
    assert!(request > 0.0 && (request - steps).abs() < request * 0.05, "the steps are the request: {request} {steps}");
    let buckets = samples.iter().filter(|sample| sample.0 == "sts_step_duration_seconds_bucket").count();
    assert!(buckets >= 8 * 10, "{buckets} buckets");
}

#[tokio::test]
async fn each_sample_has_exactly_the_labels_that_are_listed_and_no_other_metric_is_there() {
    let mut harness = Harness::start().await;
    harness.apply(|registry, _| registry.agent("inventory", "expires_at = \"2999-01-01T00:00:00Z\"")).await;
    harness.exchange().send().await.token();
    harness.exchange().set("subject_token", "no token").send().await;
    let mut seen = BTreeSet::new();
    for (name, labels, _) in scrape(&harness).await {
        let metric = listed(&name).unwrap_or_else(|| panic!("{name} is not listed"));
        seen.insert(metric.name);
        let names: BTreeSet<&str> = labels.keys().map(String::as_str).filter(|label| *label != "le").collect();
        assert_eq!(names, metric.labels.iter().copied().collect(), "{name}");
    }
    // Those of the certificate are shown with TLS alone, in another test.
    let is_shown = |name: &&str| !name.starts_with("sts_certificate_");
    let shown = METRICS.iter().map(|metric| metric.name).filter(is_shown);
    let missing: Vec<&str> = shown.filter(|name| !seen.contains(name)).collect();
    assert!(missing.is_empty(), "never shown: {missing:?}");
}

#[tokio::test]
async fn nothing_that_a_requester_chose_is_in_the_metrics() {
    let harness = Harness::start().await;
    let odd = "a-name-that-stands-nowhere-else";
    let exchange = || harness.exchange();
    for request in [
        exchange().header("x-correlation-id", odd),
        exchange().header("x-tenant-id", odd),
        exchange().set("grant_type", odd),
        exchange().set("audience", odd),
        exchange().set("scope", odd),
        exchange().set("subject_token", harness.user_token_with(&serde_json::json!({ "sub": odd, "org_id": odd }))),
        exchange().set("subject_token", harness.user_token_with(&serde_json::json!({ "iss": odd }))),
    ] {
        request.send().await;
    }
    let text = text(&harness).await;
    assert!(!text.contains(odd) && !text.contains("alice") && !text.contains("acme"), "{text}");
}

#[tokio::test]
async fn keys_and_what_the_server_holds_are_shown() {
    let harness = Harness::start().await;
    harness.exchange().send().await.token();
    let samples = scrape(&harness).await;
    let gauge = |name: &str, labels: &[(&str, &str)]| value(&samples, name, labels);
    let idp = harness.idp.url();
    assert_eq!(gauge("sts_issuer_keys_failing", &[("issuer", idp)]), Some(0.0));
    assert_eq!(gauge("sts_issuer_keys_age_seconds", &[("issuer", idp)]), Some(0.0), "the clock stands still");
    assert_eq!(gauge("sts_signing_keys", &[("algorithm", "ES256"), ("state", "active")]), Some(1.0));
    assert_eq!(gauge("sts_signing_keys", &[("algorithm", "RS256"), ("state", "next")]), Some(1.0));
    assert_eq!(gauge("sts_database_up", &[]), Some(1.0));
    assert_eq!(gauge("sts_signing_key_rotation_seconds", &[]), Some(30.0 * 86_400.0));
    let version = |part: &str| gauge("sts_snapshot_version", &[("part", part)]).expect("a version");
    assert!(version("registry") >= 1.0 && version("keys") >= 1.0);
    assert_eq!(gauge("sts_connections", &[("listener", "admin")]), Some(1.0), "that of this very request");
}

#[tokio::test]
async fn an_expiry_shows_before_it_comes() {
    let mut harness = Harness::start().await;
    assert_eq!(value(&scrape(&harness).await, "sts_registry_next_expiry_seconds", &[]), None);
    let ends_in = |harness: &Harness, days: i64, more: &str| {
        let at = jiff::Timestamp::from_second(harness.now() + days * 86_400).expect("a time");
        format!("expires_at = \"{at}\"\n{more}")
    };
    let [soon, disabled, late] =
        [(14, ""), (1, "disabled = true"), (15, "")].map(|(days, more)| ends_in(&harness, days, more));
    harness.apply(|registry, _| registry.agent("warehouse", &disabled)).await;
    harness.apply(|registry, _| registry.agent("inventory", &late)).await;
    harness.apply(|registry, _| registry.delegation("coordinator", "inventory", &soon)).await;
    let shown = async |harness: &Harness| {
        let samples = scrape(harness).await;
        let expiring = |kind: &str| value(&samples, "sts_registry_expiring", &[("kind", kind)]);
        (value(&samples, "sts_registry_next_expiry_seconds", &[]), expiring("agent"), expiring("delegation"))
    };
    assert_eq!(shown(&harness).await, (Some(14.0 * 86_400.0), Some(0.0), Some(1.0)));
    harness.advance(14 * 86_400);
    harness.refresh().await;
    assert_eq!(shown(&harness).await, (Some(86_400.0), Some(1.0), Some(0.0)));
}

#[tokio::test]
async fn an_outage_of_an_issuer_and_of_the_database_shows() {
    let harness = Harness::start().await;
    harness.idp.fail(Fault::Status(500));
    harness.server.sts().snapshot().trusted.refresh().await;
    let samples = scrape(&harness).await;
    assert_eq!(value(&samples, "sts_issuer_keys_failing", &[("issuer", harness.idp.url())]), Some(1.0));
    assert_eq!(value(&samples, "sts_issuer_keys_failing", &[("issuer", harness.cluster.url())]), Some(0.0));

    harness.drop_table("counters").await;
    // Whoever was following meanwhile has come to its end.
    harness.server.sts().refresh().await.expect_err("the database is broken");
    harness.exchange().send().await;
    harness.advance(6);
    let samples = scrape(&harness).await;
    assert_eq!(value(&samples, "sts_database_up", &[]), Some(0.0));
    assert_eq!(value(&samples, "sts_snapshot_age_seconds", &[]), Some(6.0));
    let failed = [("outcome", "unavailable"), ("reason", "not_recorded")];
    assert_eq!(value(&samples, "sts_requests_total", &failed), Some(1.0));
    assert_eq!(value(&samples, "sts_recorder_failures_total", &[]), Some(1.0));
}

#[tokio::test]
async fn a_request_whose_requester_goes_away_counts_as_abandoned() {
    let harness = Harness::start().await;
    let key = TestKey::new(sts_jose::Algorithm::Es256);
    // Nobody knows the key, and whoever could say so is slow.
    harness.idp.fail(Fault::Delay(Duration::from_secs(60)));
    let request = harness.exchange().set("subject_token", key.sign(&harness.user_claims()));
    let sent = tokio::spawn(request.send());
    let asked = harness.idp.paths().len();
    until(async || harness.idp.paths().len() > asked || sent.is_finished()).await;
    assert!(!sent.is_finished(), "it does not wait for the issuer");
    sent.abort();
    until(async || {
        let abandoned =
            [("endpoint", "token"), ("grant", "token_exchange"), ("outcome", "abandoned"), ("reason", "none")];
        value(&scrape(&harness).await, "sts_requests_total", &abandoned) == Some(1.0)
    })
    .await;
}

/// Asks again and again until it is so, for a while.
async fn until(is_so: impl AsyncFn() -> bool) {
    let asked = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(15), asked).await.expect("it never is so");
}

async fn scrape(harness: &Harness) -> Vec<Sample> {
    let text = text(harness).await;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| sample(line).unwrap_or_else(|| panic!("no sample: {line}"))).collect()
}

async fn text(harness: &Harness) -> String {
    let answer = reqwest::get(format!("http://{}/metrics", harness.server.admin())).await.expect("an answer");
    assert!(answer.headers()["content-type"].to_str().expect("ASCII").starts_with("text/plain; version=0.0.4"));
    answer.text().await.expect("text")
}

/// No value of a label here has a quote, a comma or a brace.
fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, labels) = series.split_once('{').map_or((series, ""), |(name, rest)| (name, rest.trim_end_matches('}')));
    let pairs = labels.split(',').filter(|pair| !pair.is_empty());
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=')?;
        Some((name.to_owned(), value.trim_matches('"').to_owned()))
    };
    Some((name.to_owned(), pairs.map(pair).collect::<Option<_>>()?, value.parse().ok()?))
}

/// The metric that a sample belongs to.
fn listed(name: &str) -> Option<&'static Metric> {
    METRICS.iter().copied().find(|metric| match metric.kind {
        MetricKind::Counter | MetricKind::Gauge => metric.name == name,
        MetricKind::Histogram(_) => {
            name.strip_prefix(metric.name).is_some_and(|rest| ["_bucket", "_sum", "_count"].contains(&rest))
        }
    })
}

fn value(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let is_it = |sample: &&Sample| {
        sample.0 == name && labels.iter().all(|(name, value)| sample.1.get(*name).is_some_and(|found| found == value))
    };
    samples.iter().find(is_it).map(|sample| sample.2)
}
