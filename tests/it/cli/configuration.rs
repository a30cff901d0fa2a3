//! `config`.

use sts_server::config::{self, OPTIONS};
use tempfile::TempDir;

use crate::process::{command, outcome};

#[tokio::test]
async fn the_reference_is_printed_without_any_configuration() {
    let directory = TempDir::new().expect("a folder");
    let mut text = command(directory.path()).await;
    text.args(["config", "reference"]);
    assert_eq!(outcome(text).await.ended_with(0), config::reference());
    let mut json = command(directory.path()).await;
    json.args(["config", "reference", "--json"]);
    let json = outcome(json).await;
    json.ended_with(0);
    let printed: Vec<String> =
        json.json().iter().map(|row| row["option"].as_str().expect("a path").to_owned()).collect();
    assert_eq!(printed, OPTIONS.iter().map(config::ConfigOption::path).collect::<Vec<_>>());
}
