//! Real clients of others, against the real program.

mod agentgateway;
mod clients;
mod kagent;
mod outcomes;
pub(crate) mod python;
mod resource_server;
mod schemathesis;

use serde_json::{Value, json};
use sts_jose::{Algorithm, Clock as _, SystemClock};
use sts_tests::{TestIssuer, TestKey};

use crate::process::{Folder, Serving};

/// The service account of the coordinator's pods.
const SERVICE_ACCOUNT: &str = "system:serviceaccount:shop:coordinator";

/// A server, an issuer of users, and a Kubernetes cluster whose service accounts are agents.
struct Shop {
    folder: Folder,
    server: Serving,
    idp: TestIssuer,
    cluster: TestIssuer,
}

impl Shop {
    /// A shop whose workload entry also says this, and whose inventory takes tokens signed with this algorithm.
    async fn open(workload: &str, signing_alg: Algorithm) -> Self {
        let idp = TestIssuer::start().await;
        let cluster = TestIssuer::with_keys(vec![TestKey::new(Algorithm::Rs256)]).await;
        let folder = Folder::on_sqlite(&format!(
            r#"
            [[issuers]]
            issuer = "{idp}"
            jwks_uri = "{jwks_uri}"
            tenant_claim = "org_id"

            [[issuers]]
            issuer = "{cluster}"
            algorithms = ["RS256"]

            [[agents]]
            id = "coordinator"
            accepts = ["web-app"]
            default_target = "inventory"
            [agents.auth]
            workload = [{{ issuer = "{cluster}", subject = "{SERVICE_ACCOUNT}"{workload} }}]

            [[agents]]
            id = "inventory"
            audience = ["inventory-agent"]
            signing_alg = "{signing_alg}"

            [[delegations]]
            actor = "coordinator"
            target = "inventory"
            scopes = ["stock:read"]
            "#,
            idp = idp.url(),
            jwks_uri = idp.jwks_uri(),
            cluster = cluster.url(),
        ));
        let server = folder.serve().await;
        Self { folder, server, idp, cluster }
    }

    /// A token of the user alice, as a browser's application holds it.
    fn user_token(&self) -> String {
        let now = SystemClock.now().as_second();
        self.idp.sign(&json!({
            "iss": self.idp.url(), "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 3600,
        }))
    }

    /// A token of the coordinator's pod, as the kubelet projects it.
    fn workload_token(&self, audience: &str) -> String {
        let now = SystemClock.now().as_second();
        self.cluster.sign(&json!({
            "iss": self.cluster.url(), "sub": SERVICE_ACCOUNT, "aud": [audience], "iat": now, "nbf": now, "exp": now + 3607,
            "jti": "b5bd7b5c-6d5e-4a3c-8f0e-0c6f0e2b6a11",
            "kubernetes.io": {
                "namespace": "shop",
                "pod": { "name": "coordinator-0", "uid": "5d4b8a86-2f8b-4d3a-9a1b-0b9f6a5b6b1e" },
                "serviceaccount": { "name": "coordinator", "uid": "0fb4ab2c-2d6d-4b0b-b7a0-9f2f3d9f6d55" },
            },
        }))
    }

    /// Runs a script, and gives what it printed as JSON.
    async fn python(&self, script: &str, arguments: &[&str]) -> Value {
        let printed = python::run(script, arguments).await;
        printed.unwrap_or_else(|reason| panic!("{reason}\nthe server's log:\n{}", self.server.log()))
    }
}
