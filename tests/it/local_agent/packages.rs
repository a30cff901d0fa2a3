//! The packages of other languages, whose own tests run against one server and one `sts-agent`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use sts_tests::Harness;
use sts_tests::local_agent::{LocalAgent, LocalFolder};
use sts_tests::process::free_address;
use tempfile::TempDir;
use tokio::process::Command;

/// The longest that the tests of a package may take, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// The server and an `sts-agent` that is both the coordinator and the agent that it calls.
struct World {
    folder: LocalFolder,
    _harness: Harness,
    _agent: LocalAgent,
}

impl World {
    async fn open() -> Self {
        let harness = Harness::start().await;
        let target = format!("http://{}/", free_address());
        let file = format!(
            "[inbound]\naudience = [\"web-app\", \"inventory-agent\"]\n\
             issuers = [{{ issuer = \"{idp}\", tenant_claim = \"org_id\" }}, {{ issuer = \"{sts}\", sts = true }}]\n\n\
             [sts]\nissuer = \"{sts}\"\nclient_id = \"coordinator\"\nclient_secret_file = \"secret\"\n\n\
             [[routes]]\nurl = \"https://inventory.shop.example/\"\naudience = \"inventory-agent\"\n\n\
             [[routes]]\nurl = \"{target}\"\naudience = \"inventory-agent\"\n",
            idp = harness.idp.url(),
            sts = harness.issuer(),
        );
        let folder = LocalFolder::new(&file, &[("secret", &harness.secret("coordinator"))]);
        let agent = folder.serve().await;
        let described = json!({
            "socket": agent.socket(),
            "target": target,
            "tokens": {
                "alice": harness.user_token(),
                "bob": harness.user_token_with(&json!({ "sub": "bob" })),
                "expired": harness.user_token_with(&json!({ "exp": harness.now() - 60 })),
                "elsewhere": harness.user_token_with(&json!({ "aud": "another-app" })),
            },
        });
        folder.write("world.json", &described.to_string());
        Self { folder, _harness: harness, _agent: agent }
    }

    async fn run(&self, mut command: Command) {
        command.env("AGENT_STS_WORLD", self.folder.path("world.json"));
        command.env("AGENT_STS_CONTRACT", source("sts-agent/contract.json"));
        // Another machine's proxy settings are not for a server on loopback.
        command.env("NO_PROXY", "*").env("no_proxy", "*");
        ends_well(command).await;
    }
}

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

#[tokio::test]
async fn the_package_in_python_passes_its_own_tests() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-sts-python");
    let imports = "a2a.server, fastmcp, httpx, httpx2, mcp, mypy, pytest_asyncio, requests, uvicorn";
    let python = sts_tests::python(&directory, &source("python/tests/requirements.txt"), imports).await;
    let command = |arguments: &[&str]| {
        let mut command = Command::new(&python);
        command.current_dir(source("python")).args(arguments);
        command.env("PYTHONPATH", "src").env("PYTHONDONTWRITEBYTECODE", "1");
        command
    };
    let pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "agent_sts.pytest_plugin"];
    let cache = directory.join("mypy");
    // Opened last: the clock of its server stands still, and tokens live for minutes.
    let world = World::open().await;
    let mypy = ["-m", "mypy", "--cache-dir", cache.to_str().expect("UTF-8"), "src"];
    tokio::join!(world.run(command(&pytest)), world.run(command(&mypy)));
}

#[tokio::test]
async fn the_package_in_typescript_passes_its_own_tests() {
    let Some(here) = compiled_typescript().await else { return };
    let tests = ["contract", "real", "requests"].map(|name| format!("dist/test/{name}.test.js"));
    let mut node = Command::new("node");
    node.current_dir(here.path()).args(["--test", "--test-reporter=spec"]).args(tests);
    World::open().await.run(node).await;
}

/// The package in TypeScript with its tests, compiled in a folder that is removed when dropped. `None` where the machine has no npm.
pub(crate) async fn compiled_typescript() -> Option<TempDir> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-sts-typescript");
    let files = ["package.json", "package-lock.json"];
    if !sts_tests::node_packages(&directory, &source("typescript"), &files, "the package in TypeScript").await {
        return None;
    }
    // The packages are found from a folder below theirs.
    let here = tempfile::tempdir_in(&directory).expect("the target folder is ours");
    for part in ["src", "test", "tsconfig.json", "package.json"] {
        std::os::unix::fs::symlink(source("typescript").join(part), here.path().join(part)).expect("it is ours");
    }
    let mut compiler = Command::new(directory.join("node_modules/.bin/tsc"));
    compiler.current_dir(here.path()).args(["--preserveSymlinks", "--project", "."]);
    ends_well(compiler).await;
    Some(here)
}

/// Runs a command to its end.
async fn ends_well(mut command: Command) {
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
}
