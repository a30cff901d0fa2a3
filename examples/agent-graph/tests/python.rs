//! Agents in Python behind the coordinator: a sub-agent with the official `a2a-sdk`, a tool server with `fastmcp`. The tokens that they
//! see verify there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use agent_graph::coordinator::{self, Coordinator};
use agent_graph::idp::{ALICE, BOB, Idp};
use agent_graph::inventory::{self, Inventory};
use agent_graph::process::{self, Process, listen};
use agent_graph::sts::EmbeddedSts;
use agent_graph::{agent, user};
use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::sync::OnceCell;
use url::Url;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python");
/// The longest that a script may take to say something: on a busy machine the first import takes long.
const PATIENCE: Duration = Duration::from_secs(120);

/// An agent in Python. It ends when this is dropped.
struct Script {
    url: Url,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Script {
    async fn start(name: &str, arguments: &[&str], secret: &str) -> Self {
        static PYTHON: OnceCell<PathBuf> = OnceCell::const_new();
        let mut command = Command::new(PYTHON.get_or_init(python).await);
        command.arg(Path::new(SCRIPTS).join(name)).args(arguments).env("PYTHONDONTWRITEBYTECODE", "1");
        // Another machine's proxy settings are not for a server on loopback.
        command.env("NO_PROXY", "*").env("no_proxy", "*").kill_on_drop(true);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python");
        let mut stdin = child.stdin.take().expect("it is piped");
        stdin.write_all(format!("{secret}\n").as_bytes()).await.expect("it reads");
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let url = told(&mut lines).await;
        let url = url.as_str().expect("a url").parse().expect("a url");
        Self { url, lines, _child: child }
    }

    /// The claims of the next caller that it verified.
    async fn verified(&mut self) -> Value {
        told(&mut self.lines).await
    }
}

async fn told(lines: &mut Lines<BufReader<ChildStdout>>) -> Value {
    let line = tokio::time::timeout(PATIENCE, lines.next_line()).await.expect("it says something in time");
    let line = line.expect("text").expect("it has not ended");
    serde_json::from_str(&line).expect("JSON")
}

async fn python() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("agent-graph");
    let requirements = Path::new(SCRIPTS).join("requirements.txt");
    sts_tests::python(&directory, &requirements, "a2a.server, fastmcp, httpx, jwt, uvicorn").await
}

/// The STS with its users, and a warehouse in Python.
struct Shop {
    idp: Idp,
    sts: EmbeddedSts,
    warehouse: Script,
}

impl Shop {
    async fn open() -> Self {
        let idp = Idp::start().await.expect("an IdP");
        let sts = EmbeddedSts::start(&idp.issuer).await.expect("an STS");
        let warehouse = Script::start("warehouse.py", &[sts.issuer()], "").await;
        Self { idp, sts, warehouse }
    }

    async fn inventory(&self) -> Script {
        let secret = self.sts.secret("inventory").expect("it has one");
        Script::start("inventory.py", &[self.sts.issuer(), self.warehouse.url.as_str()], secret).await
    }

    async fn coordinator(&self, inventory: &Url) -> (Url, Process) {
        let (listener, url) = listen("/").await.expect("a port");
        let sts = self.sts.client("coordinator").expect("a client");
        let coordinator = Coordinator::new(sts, inventory.clone()).await.expect("a coordinator");
        let verifier = coordinator::verifier(&self.idp.issuer).expect("a verifier");
        let router = agent::router(coordinator, &verifier, url.as_str());
        (url, process::serve(listener, router))
    }
}

/// What the warehouse must have verified of alice's call.
fn assert_delegated_to_the_warehouse(claims: &Value) {
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["aud"], "warehouse");
    assert_eq!(claims["scope"], "bin:read");
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(claims["act"]["sub"], "inventory");
    assert_eq!(claims["act"]["act"]["sub"], "coordinator");
    assert_eq!(claims["act"]["act"]["act"], Value::Null);
}

#[tokio::test]
async fn a_python_sub_agent_and_a_fastmcp_tool_verify_the_tokens_of_the_chain() {
    let mut shop = Shop::open().await;
    let mut inventory = shop.inventory().await;
    let (coordinator, _process) = shop.coordinator(&inventory.url).await;
    let alice = shop.idp.log_in(ALICE).expect("a token");
    let answer = user::ask(coordinator.as_str(), &alice, "conversation", "stock tea").await;
    assert_eq!(answer, Ok("42 packets of tea".to_owned()));

    let claims = inventory.verified().await;
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["aud"], "inventory");
    assert_eq!(claims["scope"], "stock:read");
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(claims["act"], json!({ "iss": shop.sts.issuer(), "sub": "coordinator" }));
    let below = shop.warehouse.verified().await;
    assert_delegated_to_the_warehouse(&below);
    assert_eq!(below["txn"], claims["txn"]);
}

#[tokio::test]
async fn the_rust_inventory_calls_a_fastmcp_tool_in_one_session_with_each_users_own_token() {
    let mut shop = Shop::open().await;
    let (listener, url) = listen("/").await.expect("a port");
    let sts = shop.sts.client("inventory").expect("a client");
    let agent = Inventory::new(sts, shop.warehouse.url.clone()).await.expect("an inventory");
    let verifier = inventory::verifier(shop.sts.issuer()).build().expect("a verifier");
    let _inventory = process::serve(listener, agent::router(agent, &verifier, url.as_str()));
    let (coordinator, _process) = shop.coordinator(&url).await;
    let mut seen = Vec::new();
    for _call in ["first", "resumed"] {
        let alice = shop.idp.log_in(ALICE).expect("a token");
        let answer = user::ask(coordinator.as_str(), &alice, "conversation", "stock tea").await;
        assert_eq!(answer, Ok("42 packets of tea".to_owned()));
        let claims = shop.warehouse.verified().await;
        assert_delegated_to_the_warehouse(&claims);
        seen.push(claims);
    }
    assert_ne!(seen[0]["txn"], seen[1]["txn"], "each call has the token of its own request");
    assert!(seen[0]["mcp_session"].is_string());
    assert_eq!(seen[0]["mcp_session"], seen[1]["mcp_session"]);
    let bob = shop.idp.log_in(BOB).expect("a token");
    let answer = user::ask(coordinator.as_str(), &bob, "conversation", "stock tea").await;
    assert_eq!(answer, Err("the call is not allowed: invalid_scope".to_owned()));
}

#[tokio::test]
async fn agents_in_python_refuse_a_token_that_is_not_for_them() {
    let shop = Shop::open().await;
    let inventory = shop.inventory().await;
    let alice = shop.idp.log_in(ALICE).expect("a token");
    let http = reqwest::Client::builder().no_proxy().build().expect("a client");
    for url in [&inventory.url, &shop.warehouse.url] {
        let request = http.post(url.clone()).bearer_auth(&alice.token).header("content-type", "application/json");
        let answer = request.body("{}").send().await.expect("an answer");
        assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{url}");
        assert!(answer.headers().contains_key(WWW_AUTHENTICATE), "{url}");
    }
}
