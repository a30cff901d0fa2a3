//! schemathesis, which tries what the OpenAPI document of the admin API describes, and what it does not.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use sts_tests::Operators;
use tokio::process::Command;

use crate::process::Folder;

const REQUIREMENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/it/interop/schemathesis.txt");
/// The longest that it may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// An entry that is not what a request takes it for is refused before anybody reads what it should become.
const CONFIGURATION: &str = "[checks]\nnegative_data_rejection.expected-statuses = [400, 401, 403, 404, 405, 408, 409, 412, 413, 415, 422, 428, 429]\n";
const REGISTRY: &str = r#"
[[issuers]]
issuer = "https://login.example.com"
jwks_uri = "https://login.example.com/jwks"

[[agents]]
id = "coordinator"
auth = { client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }

[[agents]]
id = "inventory"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read"]
"#;

#[tokio::test]
async fn whatever_is_asked_the_admin_api_answers_as_its_document_says() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("schemathesis");
    let python = sts_tests::python(&directory, Path::new(REQUIREMENTS), "schemathesis").await;
    let folder = Folder::on_sqlite(REGISTRY);
    let operators = Operators::all();
    let server = folder.serve_with(&[("ADMIN__TOKENS", &operators.option)]).await;
    let mut command = Command::new(python.with_file_name("schemathesis"));
    folder.write("schemathesis.toml", CONFIGURATION);
    command.args(["run", &format!("{}/admin/v1/openapi.json", server.admin())]);
    command.args(["--header", &format!("Authorization: Bearer {}", operators.token("admin"))]);
    // What a schema cannot say is refused too, such as a name that nobody has: that is no rejection of valid data.
    command.args(["--checks", "all", "--exclude-checks", "positive_data_acceptance"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "1"]);
    command.current_dir(folder.path(".")).env("NO_PROXY", "*").env("no_proxy", "*");
    let run = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("it ends").expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{printed}\nthe server's log:\n{}", server.log());
    assert!(printed.contains("Tested: 27") || printed.contains("27 selected"), "every operation: {printed}");
}
