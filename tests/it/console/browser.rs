//! The pages in a real Chromium: the six questions as six stories by clicks alone, and what axe finds.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use sts_tests::{Operators, Setup};
use tokio::process::Command;

/// The program of the browser; `None` where it is missing and may not be installed, which CI does.
async fn chromium() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let find = || std::env::split_paths(&path).map(|folder| folder.join("chromium")).find(|program| program.is_file());
    if find().is_none()
        && let Err(error) = sts_tests::install(&["chromium"]).await
    {
        assert!(std::env::var_os("CI").is_none(), "chromium: {error:#}");
        sts_tests::not_checked(&format!("the console in a browser ({error:#})"));
    }
    find()
}

/// The pictures of all pages are in `target/tmp/console-browser/shots`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_six_questions_are_answered_by_clicks_and_every_page_is_accessible() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("console-browser");
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("it/console/browser");
    let files = ["package.json", "package-lock.json", "stories.mjs"];
    let what = "the console in a browser";
    let (true, Some(chromium)) = (sts_tests::node_packages(&directory, &sources, &files, what).await, chromium().await)
    else {
        return;
    };
    let approval = "approval = { scopes = ['stock:write'], by = 'operator', remember = '15m', wait = '5m' }";
    let setup = Setup::default().operators().postgres();
    let setup = setup.registry(move |registry| registry.delegation("coordinator", "inventory", approval));
    let harness = setup.start().await;
    let first = harness.exchange().set("scope", "stock:read").send().await.token().to_owned();
    let second = harness.exchange_by("inventory", &first, "warehouse");
    second.clone().send().await.token();
    let refused = second.clone().set("scope", "payroll:read").send().await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let waiting = harness.exchange().set("scope", "stock:write");
    assert_eq!(waiting.clone().send().await.error(), "interaction_required");

    let output = Command::new("node")
        .arg("stories.mjs")
        .current_dir(&directory)
        .env("BASE", format!("http://{}", harness.server.admin()))
        .env("TOKEN", Operators::all().token("operator"))
        .env("CHROMIUM", chromium)
        .env("SHOTS", directory.join("shots"))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let seen: Value = serde_json::from_slice(&output.stdout).expect("one line of JSON");
    assert_eq!(seen["faults"], json!([]), "{seen}");
    assert_eq!(seen["reach"], json!("2 valid tokens"), "{seen}");
    // What the clicks did: granted one approval, and stopped one chain.
    waiting.send().await.token();
    harness.refresh().await;
    assert_eq!(second.send().await.status, 400, "the chain is stopped");
    let another = harness.exchange().set("scope", "stock:read");
    another.send().await.token();
}
