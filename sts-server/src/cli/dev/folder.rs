//! The folder of `dev`. Missing files are made, existing files are used again.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::SecretString;
use serde_json::{Value, json};
use sts_jose::{Algorithm, Entropy, MAX_FILE_BYTES, SigningKey, error_chain, hex, read_file};

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
    /// The names of the files that this run made.
    made: Vec<String>,
    issuer_key: SigningKey,
    secrets: BTreeMap<String, SecretString>,
}

impl Folder {
    /// Makes the missing files. Existing files must belong to the user of this process, because
    /// another owner would know the keys.
    pub(super) fn make(path: &Path, entropy: &dyn Entropy) -> Result<Self, CliError> {
        check_owner(path)?;
        let is_new = !path.exists();
        std::fs::create_dir_all(path).map_err(|source| not_writable(path, source))?;
        let before = names(path);
        let master = path.join("master.key");
        if !master.exists() {
            check_no_database(path)?;
            MasterKey::create(&master, entropy)?;
        }
        let issuer_key = issuer_key(&path.join("demo-issuer.key"))?;
        make_key_set(path, &issuer_key)?;
        let secrets = secrets(&path.join("secrets.toml"), entropy)?;
        make(&path.join("registry.toml"), &registry(&secrets))?;
        make(&path.join("sts.toml"), CONFIGURATION)?;
        for (agent, secret) in &secrets {
            make(&path.join(format!("{agent}.secret")), secret)?;
        }
        let secrets = secrets.into_iter().map(|(agent, secret)| (agent, secret.into())).collect();
        let mut made: Vec<_> = names(path).into_iter().filter(|name| !before.contains(name)).collect();
        // The server makes the database.
        made.extend(Some("sts.db").filter(|name| !path.join(name).exists()).map(str::to_owned));
        Ok(Self { path: path.to_owned(), is_new, made, issuer_key, secrets })
    }

    /// Returns a line about the folder: made, or used again, with the files that were missing.
    pub(super) fn described(&self) -> String {
        let folder = self.path.display();
        match (self.is_new, self.made.as_slice()) {
            (true, _) => format!("made: {folder}"),
            (false, []) => format!("used again: {folder}"),
            (false, made) => format!("used again: {folder} (made again: {})", made.join(", ")),
        }
    }

    /// Excludes other runs of `dev` in this folder until the returned file is dropped.
    pub(super) fn lock(&self) -> Result<File, CliError> {
        let path = self.path.join("lock");
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|source| not_writable(&self.path, source))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(CliError::Argument(format!(
                "{} is in use by another `sts-server dev`: stop that one, or choose another folder with --directory",
                self.path.display()
            ))),
            Err(TryLockError::Error(source)) => Err(CliError::File { path, source }),
        }
    }

    /// Writes the addresses of this run into the configuration file, so that other commands use
    /// them.
    pub(super) fn configure(&self, [public, admin]: [SocketAddr; 2]) -> Result<(), CliError> {
        let path = self.config_file();
        let text = read(&path)?;
        let replaced = [
            ("issuer = \"http://127.0.0.1:", format!("issuer = \"http://{public}\"")),
            ("public = \"127.0.0.1:", format!("public = \"{public}\"")),
            ("admin = \"127.0.0.1:", format!("admin = \"{admin}\"")),
        ];
        let line = |line: &str| {
            let replaced = replaced.iter().find(|(start, _)| line.starts_with(start));
            replaced.map_or_else(|| line.to_owned(), |(_, new)| new.clone()) + "\n"
        };
        let configured: String = text.lines().map(line).collect();
        if configured == text {
            return Ok(());
        }
        std::fs::write(&path, configured).map_err(|source| CliError::File { path, source })
    }

    /// Returns the reason why the secret of an agent is refused.
    pub(super) fn wrong_secret(&self, agent: &str) -> String {
        let folder = self.path.display();
        format!("the secret of {agent} in {folder}/secrets.toml is not the one in {folder}/registry.toml")
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

    /// Writes a text to a file that only its owner may read, in place of an existing file.
    pub(super) fn keep(&self, name: &str, text: &str) -> Result<(), CliError> {
        let path = self.path.join(name);
        let failed = |source| CliError::File { path: path.clone(), source };
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
            Ok(()) | Err(_) => {}
        }
        write_private(&path, text.as_bytes()).map_err(failed)
    }
}

/// Returns the names in a folder.
fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn not_writable(path: &Path, source: std::io::Error) -> CliError {
    match source.kind() {
        std::io::ErrorKind::PermissionDenied | std::io::ErrorKind::ReadOnlyFilesystem => {
            let path = path.display();
            CliError::Argument(format!("{path} cannot be written by this user: choose another folder with --directory"))
        }
        _ => CliError::File { path: path.to_owned(), source },
    }
}

/// Writes the key set of the demo issuer. An existing one must hold the key of the demo issuer.
fn make_key_set(path: &Path, issuer_key: &SigningKey) -> Result<(), CliError> {
    let file = path.join("demo-issuer.jwks.json");
    let key = issuer_key.public_jwk();
    make(&file, &format!("{}\n", json!({ "keys": [key] })))?;
    let kept: Value = serde_json::from_str(&read(&file)?).unwrap_or_default();
    let (kept, key) = (kept.get("keys").and_then(Value::as_array), json!(key));
    let is_key = |kept: &Value| kept.get("x").is_some() && kept.get("x") == key.get("x");
    if kept.is_some_and(|keys| keys.iter().any(is_key)) {
        return Ok(());
    }
    let (file, path) = (file.display(), path.display());
    Err(CliError::Argument(format!(
        "{file} does not hold the key of {path}/demo-issuer.key: delete {path} to start again"
    )))
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
        "{} is sealed under a master key that is missing: put {} back, or delete the database",
        database.display(),
        path.join("master.key").display()
    )))
}

fn issuer_key(path: &Path) -> Result<SigningKey, CliError> {
    let failed = |source| match path.parent() {
        Some(folder) => not_writable(folder, source),
        None => CliError::File { path: path.to_owned(), source },
    };
    if path.exists() {
        let pkcs8 = read_file(path, MAX_FILE_BYTES).map_err(failed)?;
        return SigningKey::from_pkcs8(Algorithm::Es256, &pkcs8).map_err(|error| {
            let (path, error) = (path.display(), error_chain(&error));
            CliError::Argument(format!("{path} is not an ES256 key in PKCS#8, delete it to make a new one: {error}"))
        });
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

[listen]
public = "127.0.0.1:8080"
admin = "127.0.0.1:8081"

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
scopes_from = "token"               # a user has the scopes of their token

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
scopes = ["stock:read"]

[[delegations]]
actor = "inventory"
target = "warehouse"
scopes = [{{ scope = "bin:read", from = ["stock:read"] }}]
max_ttl = "2m"
"#
    )
}
