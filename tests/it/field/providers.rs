//! The entries of `docs/identity-providers.md`: each is read, and a token of its shape is exchanged.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use sts_server::registry::{RegistryFile, check};
use sts_tests::{FormRequest, Harness, Setup};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/identity-providers.md");

const TENANT: &str = "11111111-2222-3333-4444-555555555555";

/// The blocks of the page, by the heading above each.
fn blocks() -> Vec<(String, String)> {
    let page = fs::read_to_string(PAGE).unwrap();
    let sections = page.split("\n## ").skip(1);
    let block = |section: &str| {
        let (heading, text) = section.split_once('\n').unwrap();
        let (_, block) = text.split_once("```toml\n").unwrap();
        (heading.to_owned(), block.split("```").next().unwrap().to_owned())
    };
    sections.map(block).collect()
}

/// What a token of each provider says besides what every token says, and the tenant and subject that come of it. The shapes are those
/// that the providers document; a workload has neither.
fn shape(heading: &str) -> (Value, Option<&'static str>, Option<&'static str>) {
    match heading {
        "Keycloak" => (
            json!({ "typ": "Bearer", "azp": "web-app", "organization": { "acme": { "id": "42" } }, "realm_access": { "roles": ["buyer"] } }),
            Some("acme"),
            Some("alice"),
        ),
        "Entra ID, v2.0, one tenant" => (
            json!({ "ver": "2.0", "tid": TENANT, "oid": "user-1", "scp": "stock:read User.Read" }),
            Some(TENANT),
            Some("user-1"),
        ),
        "Entra ID, v1.0" => (json!({ "ver": "1.0", "tid": TENANT, "oid": "user-1" }), Some(TENANT), Some("user-1")),
        "Entra ID, multi-tenant" => (json!({ "tid": TENANT, "oid": "user-1" }), Some(TENANT), Some("user-1")),
        "Okta" => (
            json!({ "ver": 1, "cid": "0oa", "uid": "00u", "scp": ["stock:read"], "groups": ["buyer"] }),
            None,
            Some("00u"),
        ),
        "Auth0" => (
            json!({
                "aud": ["web-app", "https://example.eu.auth0.com/userinfo"], "sub": "auth0|alice", "azp": "x",
                "https://shop.example/roles": ["buyer"], "org_id": "org_abc",
            }),
            Some("org_abc"),
            Some("auth0|alice"),
        ),
        "Google" => (
            json!({ "iss": "accounts.google.com", "azp": "web-app", "hd": "acme.example" }),
            Some("acme.example"),
            Some("alice"),
        ),
        "Amazon Cognito" => (
            json!({ "aud": null, "client_id": "web-app", "token_use": "access", "cognito:groups": ["buyer"] }),
            None,
            Some("alice"),
        ),
        "GitHub Actions" => {
            (json!({ "sub": "repo:acme/shop:ref:refs/heads/main", "repository_id": "123456" }), None, None)
        }
        "SPIFFE" => (json!({ "iss": null, "sub": "spiffe://shop.example/ns/shop/sa/coordinator" }), None, None),
        "Kubernetes: self-managed" => (json!({ "sub": "system:serviceaccount:batch:nightly" }), None, None),
        heading if heading.starts_with("Kubernetes: ") => {
            (json!({ "sub": "system:serviceaccount:shop:coordinator" }), None, None)
        }
        other => panic!("no token of {other:?}"),
    }
}

#[test]
fn every_entry_of_the_page_is_without_faults() {
    let blocks = blocks();
    assert!(blocks.len() >= 14, "{}", blocks.len());
    for (heading, block) in blocks {
        let agents = "[[agents]]\nid = \"target\"\n";
        let file = RegistryFile::parse(Path::new("page.toml"), &format!("{block}\n{agents}"));
        let faults: Vec<String> = check(&file, None).iter().map(ToString::to_string).collect();
        // The files of a cluster are not here.
        let faults: Vec<&String> = faults.iter().filter(|fault| !fault.contains("cannot be read here")).collect();
        assert!(faults.is_empty(), "{heading}: {faults:?}");
    }
}

/// A server with the entry of a provider, whose keys are those of the test's issuer.
async fn start(block: &str) -> (Harness, String) {
    let mut tables: toml::Table = block.parse().unwrap();
    let issuer = tables["issuers"][0].as_table_mut().unwrap();
    let name = issuer["issuer"].as_str().unwrap().to_owned();
    for key in ["jwks_uri", "bundle_uri", "ca_file", "jwks_bearer_token_file"] {
        issuer.remove(key);
    }
    let agents = tables.get_mut("agents").and_then(|agents| agents.as_array_mut());
    let mut delegations = String::new();
    for agent in agents.into_iter().flatten() {
        let agent = agent.as_table_mut().unwrap();
        let id = agent["id"].as_str().unwrap().replace("coordinator", "of-the-page");
        delegations = format!("[[delegations]]\nactor = '{id}'\ntarget = 'inventory'\nscopes = ['stock:read']\n");
        agent.insert("id".to_owned(), id.into());
        agent.insert("accepts".to_owned(), vec!["web-app".to_owned()].into());
    }
    let issuers = format!("issuers = ['{name}']\nroles = ['buyer']");
    let is_of_users = delegations.is_empty();
    let setup = Setup::default().registry_with(move |registry, names| {
        let key = if is_of_users { names.idp.jwks_uri() } else { names.cluster.jwks_uri() };
        let issuer = tables["issuers"][0].as_table_mut().unwrap();
        issuer.insert("jwks_uri".to_owned(), key.into());
        issuer.insert("algorithms".to_owned(), vec!["ES256".to_owned()].into());
        registry.add(&toml::to_string(&tables).unwrap());
        registry.add(&delegations);
        if is_of_users {
            registry.delegation("coordinator", "inventory", &issuers);
        }
    });
    (setup.start().await, name)
}

fn claims(own: Value, iss: &str, changes: &Value) -> Value {
    let mut claims = own;
    claims["iss"] = json!(iss.replace("{tenantid}", TENANT));
    let members = claims.as_object_mut().unwrap();
    members.remove("org_id");
    members.extend(changes.as_object().unwrap().clone());
    members.retain(|_, value| !value.is_null());
    claims
}

fn request(harness: &Harness, iss: &str, changes: &Value, is_of_users: bool) -> FormRequest {
    if is_of_users {
        let token = harness.idp.sign(&claims(harness.user_claims(), iss, changes));
        return harness.exchange().set("subject_token", token);
    }
    let token = harness.cluster.sign(&claims(harness.workload_claims(), iss, changes));
    harness.exchange_by("runner", &harness.user_token(), "inventory").set("actor_token", token)
}

#[tokio::test]
async fn a_token_of_every_provider_is_exchanged() {
    for (heading, block) in blocks() {
        let (changes, tenant, sub) = shape(&heading);
        let (harness, iss) = start(&block).await;
        let answer = request(&harness, &iss, &changes, sub.is_some()).send().await;
        assert_eq!(answer.status, 200, "{heading}: {}", answer.text());
        let token = answer.claims();
        match sub {
            Some(sub) => {
                assert_eq!((&token["sub"], token["tenant_id"].as_str()), (&json!(sub), tenant), "{heading}");
                let has_roles = block.contains("roles_claim");
                assert_eq!(token["roles"] == json!(["buyer"]), has_roles, "{heading}");
            }
            None => assert!(
                ["of-the-page", "batch/nightly", "shop-ci/main"].contains(&token["act"]["sub"].as_str().unwrap()),
                "{heading}"
            ),
        }
    }
}
