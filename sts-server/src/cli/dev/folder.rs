//! The folder of `dev`. Missing files are made, existing files are used again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::json;
use sts_jose::{Algorithm, Entropy, MAX_FILE_BYTES, SigningKey, hex, read_file};

use super::super::CliError;
use super::super::output::read;
use crate::config::is_of_another_user;
use crate::keys::{KeyLifeError, MasterKey, write_private};

/// The issuer of the demo user. Its keys are in a file, so this name is never fetched.
pub(super) const DEMO_ISSUER: &str = "https://login.demo.example";
/// The agents that request tokens, each with a secret.
const ASKING: [&str; 2] = ["coordinator", "inventory"];

/// The folder, with the key and the secrets for the demonstration.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    is_new: bool,
    issuer_key: SigningKey,
    secrets: BTreeMap<String, SecretString>,
}

impl Folder {
    /// Makes the missing files. Existing files must belong to the user of this process, because
    /// another owner would know the keys.
    pub(super) fn make(path: &Path, entropy: &dyn Entropy) -> Result<Self, CliError> {
        check_owner(path)?;
        let is_new = !path.join("sts.toml").exists();
        std::fs::create_dir_all(path).map_err(|source| CliError::File { path: path.to_owned(), source })?;
        let master = path.join("master.key");
        if !master.exists() {
            check_no_database(path)?;
            MasterKey::create(&master, entropy)?;
        }
        let issuer_key = issuer_key(&path.join("demo-issuer.key"))?;
        let jwks = json!({ "keys": [issuer_key.public_jwk()] });
        make(&path.join("demo-issuer.jwks.json"), &format!("{jwks}\n"))?;
        let secrets = secrets(&path.join("secrets.toml"), entropy)?;
        make(&path.join("registry.toml"), &registry(&secrets))?;
        make(&path.join("sts.toml"), CONFIGURATION)?;
        for (agent, secret) in &secrets {
            make(&path.join(format!("{agent}.secret")), secret)?;
        }
        let secrets = secrets.into_iter().map(|(agent, secret)| (agent, secret.into())).collect();
        Ok(Self { path: path.to_owned(), is_new, issuer_key, secrets })
    }

    /// Returns true if this run made the folder.
    pub(super) fn is_new(&self) -> bool {
        self.is_new
    }

    pub(super) fn config_file(&self) -> PathBuf {
        self.path.join("sts.toml")
    }

    /// Returns the key of the demo issuer.
    pub(super) fn issuer_key(&self) -> &SigningKey {
        &self.issuer_key
    }

    /// Returns the secret of an agent.
    pub(super) fn secret(&self, agent: &str) -> Result<&SecretString, CliError> {
        self.secrets.get(agent).ok_or_else(|| CliError::Demonstration(format!("secrets.toml has no secret of {agent}")))
    }

    /// Writes a token to a file that only its owner may read, and returns the path of the file.
    pub(super) fn keep_token(&self, name: &str, token: &str) -> Result<PathBuf, CliError> {
        let path = self.path.join(name);
        let failed = |source| CliError::File { path: path.clone(), source };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        write_private(&path, token.as_bytes()).map_err(failed)?;
        Ok(path)
    }
}

fn check_owner(path: &Path) -> Result<(), CliError> {
    let inside = std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    match std::iter::once(path.to_owned()).chain(inside).find(|path| is_of_another_user(path)) {
        Some(other) => Err(CliError::Argument(format!(
            "{} belongs to another user, who may know its keys: remove it, or choose another --directory",
            other.display()
        ))),
        None => Ok(()),
    }
}

/// Refuses a database whose master key is missing. A new master key cannot open it.
fn check_no_database(path: &Path) -> Result<(), CliError> {
    let database = path.join("sts.db");
    if !database.exists() {
        return Ok(());
    }
    Err(CliError::Argument(format!(
        "{} is sealed under a master key that is gone: put {} back, or remove the database",
        database.display(),
        path.join("master.key").display()
    )))
}

fn issuer_key(path: &Path) -> Result<SigningKey, CliError> {
    let failed = |source| CliError::File { path: path.to_owned(), source };
    if path.exists() {
        let pkcs8 = read_file(path, MAX_FILE_BYTES).map_err(failed)?;
        return Ok(SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8).map_err(KeyLifeError::from)?);
    }
    let key = SigningKey::generate(Algorithm::Es256).map_err(KeyLifeError::from)?;
    write_private(path, &key.to_pkcs8()).map_err(failed)?;
    Ok(key)
}

fn secrets(path: &Path, entropy: &dyn Entropy) -> Result<BTreeMap<String, String>, CliError> {
    if !path.exists() {
        let mut text = "# The secrets of the demo's agents; the registry holds their SHA-256.\n".to_owned();
        for agent in ASKING {
            let mut secret = [0_u8; 32];
            entropy.fill(&mut secret);
            text.push_str(&format!("{agent} = \"{}\"\n", URL_SAFE_NO_PAD.encode(secret)));
        }
        make(path, &text)?;
    }
    // The cause would quote a secret.
    let malformed = CliError::Argument(format!("{} does not hold one secret per agent", path.display()));
    toml::from_str(&read(path)?).or(Err(malformed))
}

/// Writes a file, unless it already exists.
fn make(path: &Path, text: &str) -> Result<(), CliError> {
    match write_private(path, text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(CliError::File { path: path.to_owned(), source: error })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

const CONFIGURATION: &str = r#"# Made by `sts-server dev`. The other commands work with it too:
#   sts-server audit list --config sts-dev/sts.toml
issuer = "http://127.0.0.1:8080"
registry = "registry.toml"

[database]
url = "sqlite://sts.db"

[keys]
master_key_file = "master.key"
"#;

fn registry(secrets: &BTreeMap<String, String>) -> String {
    let sha256 = |agent: &str| {
        let secret = secrets.get(agent).map(String::as_bytes).unwrap_or_default();
        hex(digest(&SHA256, secret).as_ref())
    };
    let (coordinator, inventory) = (sha256("coordinator"), sha256("inventory"));
    format!(
        r#"# Made by `sts-server dev`: one issuer of users, three agents, and who may call whom.

[[issuers]]
issuer = "{DEMO_ISSUER}"
jwks_file = "demo-issuer.jwks.json"
algorithms = ["ES256"]
tenant_claim = "org_id"

[[agents]]
id = "coordinator"
accepts = ["demo-web-app"]          # what the user's token is addressed to
default_target = "inventory"
[agents.auth]
client_secret_sha256 = "{coordinator}"

[[agents]]
id = "inventory"
[agents.auth]
client_secret_sha256 = "{inventory}"

[[agents]]                          # a tool server: it only receives
id = "warehouse"

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read", {{ scope = "bin:read", from = ["stock:read"] }}]

[[delegations]]
actor = "inventory"
target = "warehouse"
scopes = ["bin:read"]
max_ttl = "2m"
"#
    )
}
