//! The service of the page on setup, with the identity provider that the page supposes.

use std::sync::Arc;

use serde_json::json;
use sts_jose::{Algorithm, Clock as _, SystemClock};
use sts_tests::TestKey;
use sts_tests::process::free_address;

use super::SERVICE;
use super::links::{read, root};
use super::page::{Step, blocks, steps};
use super::terminal::Reader;

/// The page with the files.
const PAGE: &str = "docs/serve.md";
/// The admin listener of the pages.
const ADMIN: &str = "127.0.0.1:8081";

/// The addresses of the service, and the keys of the identity provider.
pub(super) struct Shop {
    public: String,
    admin: String,
    idp: Arc<TestKey>,
}

impl Shop {
    pub(super) fn new() -> Self {
        Self { public: free_address(), admin: free_address(), idp: TestKey::new(Algorithm::Es256) }
    }

    /// Writes the files of the page into the reader's folder, a token of alice, and her secret.
    pub(super) async fn write_files(&self, reader: &mut Reader) {
        let (made, code) = reader.run("sts-server agent secret coordinator").await;
        assert_eq!(code, 0, "{made}");
        let secret = made.lines().nth(1).expect("the secret on a line of its own");
        let hash =
            made.split("client_secret_sha256 = \"").nth(1).and_then(|rest| rest.split('"').next()).expect("its hash");
        assert_eq!(reader.run(&format!("SECRET={secret}")).await.1, 0);

        let page = read(&root().join(PAGE));
        let mut files = blocks(&page).into_iter().filter(|block| block.info == "toml").map(|block| block.text);
        let mut file = || files.next().expect("two files");
        let listen =
            format!("\n[listen]\npublic = \"{}\"\nadmin = \"{}\"\ndrain_delay = \"0s\"\n", self.public, self.admin);
        write(reader, "sts.toml", &(file().replace(SERVICE, &self.public) + &listen));
        let keys = "jwks_uri = \"https://login.example.com/jwks\"";
        let registry = file();
        assert!(registry.contains(keys) && registry.contains('…'), "{registry}");
        write(reader, "registry.toml", &registry.replace(keys, "jwks_file = \"idp.json\"").replace('…', hash));
        write(reader, "idp.json", &json!({ "keys": [self.idp.jwk()] }).to_string());
        let now = SystemClock.now().as_second();
        let user = json!({
            "iss": "https://login.example.com", "sub": "alice", "aud": "web-app", "org_id": "acme", "iat": now, "exp": now + 3600,
        });
        write(reader, "user.jwt", &self.idp.sign(&user));
    }

    /// Adds the delegations of the page on approvals to the registry, and writes a token with which alice decides.
    pub(super) fn write_approvals(&self, reader: &Reader, page: &str) {
        let mut registry = read(&reader.folder().join("registry.toml"));
        registry.push_str("\n[[agents]]\nid = \"shop\"\n[[agents]]\nid = \"bank\"\n");
        for block in blocks(&read(&root().join(page))) {
            if block.info == "toml" && block.text.starts_with("[[delegations]]") {
                registry.push_str(&block.text);
                registry.push('\n');
            }
        }
        write(reader, "registry.toml", &registry);
        let now = SystemClock.now().as_second();
        let approver = json!({
            "iss": "https://login.example.com", "sub": "alice", "aud": format!("http://{}", self.public), "org_id": "acme",
            "iat": now, "exp": now + 3600, "auth_time": now,
        });
        write(reader, "approver.jwt", &self.idp.sign(&approver));
    }

    /// The commands of a page, at the addresses of this service.
    pub(super) fn steps(&self, page: &str) -> Vec<Step> {
        let mut steps = steps(page);
        for step in &mut steps {
            step.replace(SERVICE, &self.public);
            step.replace(ADMIN, &self.admin);
        }
        steps
    }

    /// Starts the service, with more lines of configuration.
    pub(super) async fn serve(&self, reader: &mut Reader, configuration: &str) {
        let path = reader.folder().join("sts.toml");
        let text = read(&path) + "\n" + configuration;
        write(reader, "sts.toml", &text);
        let (printed, code) = reader.run("openssl rand -base64 32 > master.key && chmod 600 master.key").await;
        assert_eq!(code, 0, "{printed}");
        reader.serve("sts-server serve --config sts.toml").await;
    }

    /// Makes an exchange, and names what the run-book asks about: a request, its transaction, its token and a signing key.
    pub(super) async fn fill(&self, reader: &mut Reader) {
        let exchange =
            self.steps(PAGE).into_iter().find(|step| step.command.starts_with("curl ")).expect("an exchange");
        let (printed, code) =
            reader.run(&exchange.command.replacen("curl ", "curl -H 'X-Correlation-ID: asked' ", 1)).await;
        assert_eq!(code, 0, "{printed}");
        let answer: serde_json::Value =
            serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
        write(reader, "hop.jwt", answer["access_token"].as_str().unwrap_or_else(|| panic!("{printed}")));
        let names = "claim() { sts-server token decode @hop.jwt | sed -n \"s/^$1 *//p\"; }\n\
            ID=asked TXN=$(claim txn) JTI=$(claim jti)\n\
            KID=$(sts-server keys list --config sts.toml | awk '$1 == \"ES256\" && $2 == \"active\" { print $3 }')\n\
            test -n \"$TXN\" -a -n \"$JTI\" -a -n \"$KID\"";
        let (printed, code) = reader.run(names).await;
        assert_eq!(code, 0, "{printed}");
    }
}

fn write(reader: &Reader, name: &str, text: &str) {
    std::fs::write(reader.folder().join(name), text).expect("the folder is ours");
}
