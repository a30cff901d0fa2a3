//! How a verifier is set up, in the program and from TOML.

use http::HeaderMap;
use serde_json::json;
use sts_client::inbound::{Issuer, Verifier, VerifierBuilder};
use sts_client::{BuildError, Credentials, Sts};
use sts_jose::KeySet;

use super::{Agent, bearer, tenant, with_header};

const IDP: &str = "https://login.example.com";
const STS: &str = "https://sts.example.com";

fn builder() -> VerifierBuilder {
    Verifier::builder(["inventory-agent"]).issuer(Issuer::new(IDP)).issuer(Issuer::sts(STS))
}

fn of(issuer: Issuer) -> VerifierBuilder {
    Verifier::builder(["inventory-agent"]).issuer(issuer)
}

#[test]
fn a_verifier_that_cannot_be_honoured_is_not_built() {
    let url = |text: &str| text.parse().unwrap();
    let sts = |issuer: &str| Sts::builder(issuer, "inventory", Credentials::ClientSecret("x".into())).build().unwrap();
    let cases = [
        ("no audience", Verifier::builder([""; 0]).issuer(Issuer::new(IDP)), "audience"),
        ("an empty audience", Verifier::builder(["a", ""]).issuer(Issuer::new(IDP)), "audience"),
        ("no issuer", Verifier::builder(["a"]), "needs an issuer"),
        ("an issuer twice", builder().issuer(Issuer::new(IDP)), "twice"),
        ("an issuer as both kinds", builder().issuer(Issuer::new(STS)), "twice"),
        ("plain http", of(Issuer::new("http://login.example.com")), "https"),
        ("keys over plain http", of(Issuer::new(IDP).jwks_uri(url("http://login.example.com/jwks"))), "https"),
        ("keys of a file url", of(Issuer::new(IDP).jwks_uri(url("file:///etc/passwd"))), "url"),
        ("keys with a password", of(Issuer::new(IDP).jwks_uri(url("https://a:b@login.example.com/"))), "url"),
        ("nothing to discover at", of(Issuer::new("spiffe://shop.example")), "bundle"),
        ("no url to discover at", of(Issuer::new("login")), "not a url"),
        ("an issuer with a query", of(Issuer::new("https://login.example.com/?a=b")), "query"),
        ("no algorithm", of(Issuer::new(IDP).algorithms([])), "algorithm"),
        ("no key", of(Issuer::new(IDP).jwks(KeySet::empty())), "key"),
        ("an STS with a tenant claim", of(Issuer::sts(STS).tenant_claim("org_id")), "STS"),
        ("an STS with a scope claim", of(Issuer::sts(STS).scope_claim("scp")), "STS"),
        ("an account of no trusted issuer", builder().service_account("https://other", "a", []), "not trusted"),
        ("an account of an STS", builder().service_account(STS, "a", []), "STS"),
        ("an account twice", builder().service_account(IDP, "a", []).service_account(IDP, "a", []), "twice"),
        ("a resource with a query", builder().resource(url("https://a.example/?b")), "resource"),
        ("a resource with a fragment", builder().resource(url("https://a.example/#b")), "resource"),
        ("a resource with a password", builder().resource(url("https://a:b@a.example/")), "resource"),
        ("a resource that looks like a pattern", builder().resource(url("https://a.example/b/:c")), "resource"),
        ("a resource that looks like a wildcard", builder().resource(url("https://a.example/*b")), "resource"),
        ("a resource that is no place", builder().resource(url("urn:a")), "resource"),
        ("introspection elsewhere", builder().introspect(sts("https://other.example.com")), "introspection"),
        ("introspection at the IdP", builder().introspect(sts(IDP)), "introspection"),
    ];
    builder().service_account(IDP, "a", [tenant("acme")]).introspect(sts(STS)).build().unwrap();
    for (label, builder, message) in cases {
        match builder.build() {
            Err(BuildError::Contradiction(what)) => assert!(what.contains(message), "{label}: {what}"),
            other => panic!("{label}: {other:?}"),
        }
    }
    let no_ca = of(Issuer::new(IDP).ca_pem(b"no pem".to_vec())).build();
    assert!(matches!(no_ca, Err(BuildError::Http(_))), "{no_ca:?}");
    of(Issuer::new("http://login.example.com").allow_http()).build().unwrap();
}

#[tokio::test]
async fn a_verifier_can_be_read_from_toml() {
    let agent = Agent::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("jwks.json");
    std::fs::write(&path, agent.idp.jwks().to_string()).unwrap();
    let text = format!(
        r#"
        [inbound]
        audience = ["inventory-agent"]
        resource = "https://inventory.shop.example/"
        required_scopes = ["stock:read"]
        service_accounts = [{{ issuer = "{idp}", subject = "nightly", tenants = ["acme"] }}]
        [[inbound.issuers]]
        issuer = "https://sts.example.com"
        sts = true
        [[inbound.issuers]]
        issuer = "{idp}"
        jwks_file = "{path}"
        tenant_claim = "org_id"
        algorithms = ["ES256"]
        "#,
        idp = agent.idp.url(),
        path = path.display(),
    );
    let builder = Verifier::from_toml(&text).unwrap().clock(std::sync::Arc::new(agent.clock.clone()));
    let verifier = builder.build().unwrap();
    let caller = verifier.verify(&agent.request(&json!({}))).await.unwrap();
    assert_eq!(caller.tenant(), Some(&tenant("acme")));
    let nightly = agent.request(&json!({ "sub": "nightly" }));
    verifier.verify(&with_header(nightly.clone(), "x-tenant-id", "acme")).await.unwrap();
    for (headers, reason) in [
        (with_header(nightly, "x-tenant-id", "globex"), "tenant_forbidden"),
        (agent.request(&json!({ "scope": "" })), "insufficient_scope"),
        (agent.request(&json!({ "aud": "other" })), "not_addressed"),
        (HeaderMap::new(), "token_missing"),
        (bearer("a.b.c"), "token_malformed"),
    ] {
        assert_eq!(verifier.verify(&headers).await.unwrap_err().reason(), reason);
    }
    assert_eq!(verifier.resource_metadata().unwrap().resource.as_str(), "https://inventory.shop.example/");
}

#[test]
fn the_error_of_a_file_does_not_quote_a_secret_that_should_not_stand_there() {
    let text = "[sts]\nissuer = 'https://sts.example.com'\nclient_id = 'a'\nclient_secret = 'hunter2'\n";
    let error = Verifier::from_toml(text).unwrap_err();
    let BuildError::Toml(cause) = &error else { panic!("{error}") };
    assert!(cause.to_string().starts_with("line 4: "), "{cause}");
    assert!(!format!("{error:?}{cause}").contains("hunter2"));
}

#[test]
fn toml_at_fault_is_refused_with_its_line() {
    let read = |text: &str| Verifier::from_toml(text).map(|_builder| ()).unwrap_err();
    let issuer = "[inbound]\naudience = ['a']\n[[inbound.issuers]]\nissuer = 'https://login.example.com'\n";
    for (label, text) in [
        ("an unknown key", "[inbound]\naudience = ['a']\nissuers = []\naudiences = ['a']\n".to_owned()),
        ("an unknown key of an issuer", format!("{issuer}scopes_from = 'token'")),
        ("a symmetric algorithm", format!("{issuer}algorithms = ['HS256']")),
        ("no algorithm at all", format!("{issuer}algorithms = ['none']")),
        ("a list of tenants with one that is none", format!("{issuer}tenants = ['acme', 'a b']")),
        ("a tenant that is none", format!("{issuer}tenant = 'a b'")),
        ("a url that is none", format!("{issuer}jwks_uri = '/jwks'")),
        ("no issuers", "[inbound]\naudience = ['a']\n".to_owned()),
        ("an unknown table", format!("{issuer}[outbound]\n")),
    ] {
        let BuildError::Toml(error) = read(&text) else { panic!("{label}") };
        assert!(error.to_string().contains("line "), "{label}: {error}");
    }
    for (label, text) in [
        ("two places of keys", format!("{issuer}jwks_uri = 'https://a.example/'\njwks_file = 'a.json'")),
        ("introspection, and no sts", format!("[inbound]\nintrospect = true\n{}", &issuer["[inbound]\n".len()..])),
        ("two sources of the tenant", format!("{issuer}tenant = 'acme'\ntenant_claim = 'org_id'")),
    ] {
        assert!(matches!(read(&text), BuildError::Contradiction(_)), "{label}");
    }
    assert!(matches!(read(""), BuildError::Contradiction(_)), "no inbound side");
    assert!(matches!(read(&format!("{issuer}ca_file = '/nowhere/ca.crt'")), BuildError::File { .. }));
}
