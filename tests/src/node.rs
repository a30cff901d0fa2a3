//! The packages that programs in TypeScript and JavaScript need.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::lock::lock;

/// Copies these files of `sources` to `directory`, and installs the packages of their lock file there. Once they are
/// there, it changes nothing. Returns false where the machine has no npm, which CI always has; `what` is not checked then.
///
/// # Panics
/// When npm fails, or is missing in CI.
pub async fn node_packages(directory: &Path, sources: &Path, files: &[&str], what: &str) -> bool {
    let question = Command::new("npm").arg("--version").stdin(Stdio::null()).output().await;
    if !question.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var_os("CI").is_none(), "tests/setup installs npm");
        crate::not_checked(&format!("{what} (npm is not installed)"));
        return false;
    }
    std::fs::create_dir_all(directory).expect("the target folder is ours");
    let _lock = lock(directory.join("lock")).await;
    let read = |name: &&str| std::fs::read_to_string(sources.join(name)).expect("a file of the tests");
    let (made, wanted) = (directory.join("made"), files.iter().map(read).collect::<String>());
    if std::fs::read_to_string(&made).is_ok_and(|made| made == wanted) {
        return true;
    }
    for name in files {
        std::fs::copy(sources.join(name), directory.join(name)).expect("the target folder is ours");
    }
    let install = ["ci", "--no-audit", "--no-fund", "--ignore-scripts"];
    let output = Command::new("npm").args(install).current_dir(directory).stdin(Stdio::null()).output().await;
    let output = output.expect("npm runs");
    assert!(output.status.success(), "npm: {}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(made, wanted).expect("the target folder is ours");
    true
}
