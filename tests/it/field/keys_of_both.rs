//! The entry of an issuer, in the registry and in the file of an agent: the same keys with the same meaning.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;
use sts_client::{BuildError, Verifier};
use sts_jose::Algorithm;
use sts_server::registry::{self, RegistryFile, check};
use sts_tests::TestKey;

/// The keys of the registry that an agent has no use for.
const OF_REGISTRY: [(&str, &str); 2] = [
    ("scopes_from", "an agent has no delegations: its scope is what the token says"),
    ("disabled", "the file is the agent's own, and an issuer that is not trusted is left out"),
];

/// The keys of an agent that the registry has no use for.
const OF_AGENT: [(&str, &str); 2] = [
    ("sts", "the server believes its own tokens without an entry"),
    (
        "service_account_claim",
        "the server takes tokens of users alone from an issuer: workloads authenticate as agents",
    ),
];

/// The keys that an error about an unknown one lists.
fn listed(error: &str) -> BTreeSet<String> {
    let (_, expected) = error.split_once("expected").unwrap();
    expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn keys_of_registry() -> BTreeSet<String> {
    listed(&serde_json::from_value::<registry::Issuer>(json!({ "-": 0 })).unwrap_err().to_string())
}

#[test]
fn an_agent_knows_every_key_of_the_registry_that_it_has_a_use_for() {
    let error = Verifier::from_toml("[inbound]\naudience = ['a']\n[[inbound.issuers]]\n'-' = 0\n").unwrap_err();
    let BuildError::Toml(error) = error else { panic!("{error}") };
    let mut expected = keys_of_registry();
    for (key, reason) in OF_REGISTRY {
        assert!(expected.remove(key), "{key}: {reason}");
    }
    for (key, reason) in OF_AGENT {
        assert!(expected.insert(key.to_owned()), "{key}: {reason}");
    }
    assert_eq!(listed(&error.to_string()), expected);
}

/// True if the registry takes an entry, and if an agent does.
fn taken(entry: &str) -> (bool, bool) {
    let only_in_registry = if entry.contains("scope_claim") { "\nscopes_from = 'token'" } else { "" };
    let file = RegistryFile::parse(Path::new("r.toml"), &format!("[[issuers]]\n{entry}{only_in_registry}\n"));
    let faults: Vec<String> = check(&file, None).iter().map(ToString::to_string).collect();
    let text = format!("[inbound]\naudience = ['a']\n[[inbound.issuers]]\n{entry}\n");
    let built = Verifier::from_toml(&text).and_then(|builder| builder.build());
    (!faults.iter().any(|fault| fault.contains(": error: ")), built.is_ok())
}

#[test]
fn an_entry_is_taken_by_both_or_by_neither() {
    let folder = tempfile::tempdir().unwrap();
    let written = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), content).unwrap();
        folder.path().join(name).display().to_string()
    };
    let jwks = json!({ "keys": [TestKey::new(Algorithm::Es256).jwk()] });
    let inline = toml::Value::try_from(&jwks).unwrap();
    let keys = written("keys.json", &jwks.to_string());
    let certificate = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap().cert.pem();
    let (ca, no_ca) = (written("ca.pem", &certificate), written("none.pem", "none"));
    let token = written("token", "secret");
    let login = "issuer = 'https://login.example'\n";
    let domain = "issuer = 'spiffe://shop.example'\n";
    let template = "issuer = 'https://login.example/{tenantid}/v2.0'\njwks_uri = 'https://login.example/keys'\n";
    let rows = [
        (String::new(), false),
        (login.to_owned(), true),
        ("issuer = 'login.example'".to_owned(), false),
        (format!("{login}aliases = ['login.example', 'https://other.example']"), true),
        (format!("{login}aliases = 'login.example'"), false),
        (format!("{login}jwks_uri = 'https://login.example/keys'"), true),
        (format!("{login}jwks_uri = '/keys'"), false),
        (format!("{login}jwks_uri = 'http://login.example/keys'"), false),
        (format!("{login}jwks_uri = 'http://login.example/keys'\nallow_http = true"), true),
        (format!("{login}jwks = {inline}"), true),
        (format!("{login}jwks = {{ keys = [] }}"), false),
        (format!("{login}jwks = {{}}"), false),
        (format!("{login}jwks_file = '{keys}'"), true),
        (format!("{login}jwks_file = '{keys}'\njwks_uri = 'https://login.example/keys'"), false),
        (format!("{login}bundle_uri = 'https://spire.example/bundle'"), false),
        (format!("{login}bundle_file = '{keys}'"), false),
        (domain.to_owned(), false),
        (format!("{domain}bundle_uri = 'https://spire.example/bundle'"), true),
        (format!("{domain}bundle_file = '{keys}'"), true),
        (format!("{domain}bundle_file = '{keys}'\nsubject_claim = 'oid'"), false),
        (format!("issuer = 'spiffe://shop.example/path'\nbundle_file = '{keys}'"), false),
        (format!("{login}algorithms = ['ES512', 'PS256']"), true),
        (format!("{login}algorithms = ['HS256']"), false),
        (format!("{login}algorithms = []"), false),
        (format!("{login}tenant_claim = ['organization', '/organization/*']"), true),
        (format!("{login}tenant_claim = '/*'"), false),
        (format!("{login}tenant_claim = []"), false),
        (format!("{login}tenant = 'acme'"), true),
        (format!("{login}tenant = 'a b'"), false),
        (format!("{login}tenant = 'acme'\ntenant_claim = 'tid'"), false),
        (format!("{login}tenant_claim = 'tid'\ntenants = ['acme', 'globex']"), true),
        (format!("{login}tenant_claim = 'tid'\ntenants = ['*']"), true),
        (format!("{login}tenant_claim = 'tid'\ntenants = ['acme', '*']"), false),
        (format!("{login}tenant_claim = 'tid'\ntenants = ['a b']"), false),
        (format!("{login}tenant_claim = 'tid'\ntenants = []"), false),
        (format!("{login}tenant = 'acme'\ntenants = ['globex']"), false),
        (format!("{login}roles_claim = '/realm_access/roles'"), true),
        (format!("{login}roles_claim = ''"), false),
        (format!("{login}scope_claim = ['scp', 'scope']"), true),
        (format!("{login}scope_claim = 1"), false),
        (format!("{login}audience_claim = ['aud', 'client_id']"), true),
        (format!("{login}audience_claim = []"), false),
        (format!("{login}subject_claim = ['oid', 'sub']"), true),
        (format!("{login}subject_claim = '/a~2'"), false),
        (format!("{login}subject_prefix = 'login:'"), true),
        (format!("{login}max_token_age = '12h'"), true),
        (format!("{login}max_token_age = '0s'"), false),
        (format!("{login}max_token_age = 5"), false),
        (format!("{login}ca_file = '{ca}'"), true),
        (format!("{login}ca_file = '{no_ca}'"), false),
        (format!("{login}jwks_bearer_token_file = '{token}'"), true),
        (format!("{template}tenant_claim = 'tid'"), true),
        (template.to_owned(), false),
        (format!("{template}tenant_claim = 'tid'\naliases = ['https://old.example/{{tenantid}}/']"), true),
        (format!("{template}tenant_claim = 'tid'\naliases = ['https://old.example/']"), false),
        (format!("{login}tenant_claim = 'tid'\naliases = ['https://old.example/{{tenantid}}/']"), false),
        ("issuer = 'https://login.example/{tenantid}/v2.0'\ntenant_claim = 'tid'".to_owned(), false),
        (template.replace("{tenantid}", "x{tenantid}") + "tenant_claim = 'tid'", false),
        (template.replace("{tenantid}", "{tenantid}/{tenantid}") + "tenant_claim = 'tid'", false),
    ];
    for (entry, is_good) in &rows {
        assert_eq!(taken(entry), (*is_good, *is_good), "{entry}");
    }
    let mut tried = keys_of_registry();
    tried.retain(|key| OF_REGISTRY.iter().all(|(alone, _)| alone != key));
    tried.retain(|key| !rows.iter().any(|(entry, is_good)| *is_good && entry.contains(&format!("{key} ="))));
    assert!(tried.is_empty(), "no row has {tried:?}");
}
