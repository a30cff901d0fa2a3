//! The alerts and the dashboard, as Prometheus and Grafana read them.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{ALERTS, DASHBOARD, file, read};

const ALERT_TESTS: &str = "deploy/prometheus/alerts.test.yaml";
/// Grafana's grid is that wide.
const COLUMNS: u64 = 24;

/// Runs promtool; `None`, and it is told, where there is none.
fn promtool(arguments: &[&str], path: &str) -> Option<Output> {
    let output = Command::new("promtool").args(arguments).arg(file(path)).output();
    if output.is_err() {
        sts_tests::not_checked(&format!("{path} (promtool is not installed; Debian: prometheus)"));
    }
    output.ok()
}

#[track_caller]
fn assert_content(output: &Output) {
    let told = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    assert!(output.status.success(), "{told}");
}

#[test]
fn prometheus_reads_the_alerts_and_each_fires_when_it_should() {
    if let Some(checked) = promtool(&["check", "rules"], ALERTS) {
        assert_content(&checked);
    }
    if let Some(tried) = promtool(&["test", "rules"], ALERT_TESTS) {
        assert_content(&tried);
    }
}

#[test]
fn every_alert_has_a_test_in_which_it_fires() {
    let (tests, alerts) = (read(ALERT_TESTS), read(ALERTS));
    let alerts = super::alerts(&alerts);
    assert!(alerts.len() > 10, "{alerts:?}");
    for alert in alerts {
        let firing = format!("alertname: {alert}\n");
        assert!(tests.contains(&firing), "no test lets {alert} fire");
    }
}

#[test]
fn prometheus_parses_every_query_of_the_dashboard() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let queries = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let rules: Vec<Value> = queries
        .map(|query| {
            let query = query["expr"].as_str().expect("an expression");
            let query = query.replace("$__rate_interval", "5m").replace("$instance", ".*");
            assert!(!query.contains('$'), "a variable that there is not: {query}");
            json!({ "record": "query", "expr": query })
        })
        .collect();
    assert!(rules.len() > 20, "{} queries", rules.len());
    let directory = TempDir::new().expect("a folder");
    let path = directory.path().join("queries.yaml");
    // JSON is YAML.
    let rules = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    std::fs::write(&path, rules.to_string()).expect("the folder is ours");
    if let Some(checked) = promtool(&["check", "rules", "--lint=none"], path.to_str().expect("a path in UTF-8")) {
        assert_content(&checked);
    }
}

#[test]
fn the_dashboard_has_the_shape_that_grafana_loads() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64().is_some_and(|version| version >= 36));
    for name in ["uid", "title"] {
        assert!(dashboard[name].as_str().is_some_and(|text| !text.is_empty() && text.len() <= 40), "{name}");
    }
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let variables: BTreeSet<&str> =
        variables.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
    assert_eq!(variables, BTreeSet::from(["datasource", "instance"]));
    let panels = dashboard["panels"].as_array().expect("panels");
    let (mut ids, mut taken) = (BTreeSet::new(), BTreeSet::new());
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{title}: its id is another's");
        assert!(
            ["stat", "timeseries", "table", "heatmap", "gauge"].contains(&panel["type"].as_str().expect("a type")),
            "{title}"
        );
        let place = |name: &str| panel["gridPos"][name].as_u64().unwrap_or_else(|| panic!("{title} has no {name}"));
        assert!(place("w") > 0 && place("h") > 0 && place("x") + place("w") <= COLUMNS, "{title}");
        for (x, y) in (0..place("w")).flat_map(|x| (0..place("h")).map(move |y| (x, y))) {
            assert!(taken.insert((place("x") + x, place("y") + y)), "{title} lies over another panel");
        }
        let mut references = BTreeSet::new();
        for target in panel["targets"].as_array().expect("targets") {
            assert!(references.insert(target["refId"].as_str().expect("a refId")), "{title}");
            for source in [&panel["datasource"], &target["datasource"]] {
                assert_eq!(*source, json!({ "type": "prometheus", "uid": "${datasource}" }), "{title}");
            }
        }
        assert!(!references.is_empty(), "{title} shows nothing");
    }
}
