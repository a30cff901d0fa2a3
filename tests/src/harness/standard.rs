//! The standard registry: the issuers, agents and delegations that a test finds unless it says otherwise.

use std::collections::HashMap;

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm as Variant, Argon2, Params, Version};
use serde_json::{Value, json};

use super::{Names, random_name};
use crate::{Registry, Seen, TestKey};

pub(super) fn secrets(seen: &Seen) -> HashMap<String, String> {
    let agents = ["coordinator", "inventory", "warehouse", "auditor"];
    let secrets = agents.map(|agent| (agent.to_owned(), format!("{agent}+secret/{}&=:%", random_name())));
    for (_, secret) in &secrets {
        seen.remember(secret);
    }
    secrets.into_iter().collect()
}

pub(super) fn standard(names: &Names, secrets: &HashMap<String, String>, reporter: &TestKey) -> Registry {
    let sha256 = |agent: &str| sha256_hex(&secrets[agent]);
    let inline = |jwks: Value| toml::Value::try_from(jwks).expect("TOML").to_string();
    Registry::parse(&format!(
        r#"
[[issuers]]
issuer = "{idp}"
tenant_claim = "org_id"

[[issuers]]
issuer = "{cluster}"
jwks = {cluster_jwks}

[[agents]]
id = "coordinator"
accepts = ["web-app"]
forward_tenants = ["acme", "globex"]
auth = {{ client_secret_sha256 = "{coordinator}" }}

[[agents]]
id = "inventory"
audience = ["inventory-agent", "https://inventory.shop.example/"]
auth = {{ client_secret_sha256 = "{inventory}" }}

[[agents]]
id = "warehouse"
auth = {{ client_secret_sha256 = "{warehouse}" }}

[[agents]]
id = "shelf"

[[agents]]
id = "reporter"
accepts = ["web-app"]
auth = {{ jwks = {reporter} }}

[[agents]]
id = "runner"
accepts = ["web-app"]
default_target = "inventory"
auth = {{ workload = [{{ issuer = "{cluster}", subject = "system:serviceaccount:shop:runner" }}] }}

[[agents]]
id = "auditor"
accepts = ["web-app"]
auth = {{ client_secret_hash = "{auditor}" }}

[[delegations]]
actor = "coordinator"
target = "inventory"
scopes = ["stock:read", "stock:write"]
service_account = true

[[delegations]]
actor = "inventory"
target = "warehouse"
scopes = ["stock:read", {{ scope = "bin:read", from = ["stock:read"] }}]

[[delegations]]
actor = "warehouse"
target = "shelf"
scopes = ["bin:read"]

[[delegations]]
actor = "reporter"
target = "inventory"
scopes = ["stock:read"]

[[delegations]]
actor = "runner"
target = "inventory"
scopes = ["stock:read"]

[[delegations]]
actor = "auditor"
target = "inventory"
scopes = ["stock:read"]
"#,
        idp = names.idp.url(),
        cluster = names.cluster.url(),
        cluster_jwks = inline(names.cluster.jwks()),
        reporter = inline(json!({ "keys": [reporter.jwk()] })),
        coordinator = sha256("coordinator"),
        inventory = sha256("inventory"),
        warehouse = sha256("warehouse"),
        auditor = argon2_hash(&secrets["auditor"]),
    ))
}

/// The SHA-256 of a secret as the registry holds it.
fn sha256_hex(secret: &str) -> String {
    sts_jose::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes()).as_ref())
}

/// A cheap hash: what it costs is no matter of these tests.
fn argon2_hash(secret: &str) -> String {
    let params = Params::new(Params::MIN_M_COST, 1, 1, None).expect("parameters");
    let argon2 = Argon2::new(Variant::Argon2id, Version::V0x13, params);
    argon2.hash_password(secret.as_bytes()).expect("a hash").to_string()
}
