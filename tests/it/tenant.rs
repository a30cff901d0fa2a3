//! Tenants: where one comes from, where it must fit, and that nothing crosses.

use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_tests::{FormRequest, Harness, Setup};

fn of(harness: &Harness, org_id: Value) -> FormRequest {
    let mut claims = harness.user_claims();
    claims["org_id"] = org_id;
    harness.exchange().set("subject_token", harness.idp.sign(&claims))
}

/// The registry of a user issuer with other values.
fn idp(values: &'static str) -> Setup {
    Setup::default().registry_with(move |registry, names| registry.issuer(names.idp.url(), values))
}

#[tokio::test]
async fn the_tenant_is_copied_along_the_chain() {
    let harness = Harness::start().await;
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await;
    let third = harness.exchange_by("warehouse", second.token(), "shelf").send().await;
    assert_eq!(third.claims()["tenant_id"], "acme");
}

#[tokio::test]
async fn the_tenant_claim_is_one_value_of_the_allowed_characters() {
    let harness = Harness::start().await;
    for (value, tenant) in [
        (json!("acme"), "acme".to_owned()),
        (json!(["acme"]), "acme".to_owned()),
        (json!("Acme.eu_1:x-2"), "Acme.eu_1:x-2".to_owned()),
        (json!("a".repeat(128)), "a".repeat(128)),
    ] {
        assert_eq!(of(&harness, value.clone()).send().await.claims()["tenant_id"], tenant, "{value}");
    }
    let refused = [
        json!("a".repeat(129)),
        json!(""),
        json!("a b"),
        json!("a/b"),
        json!("acm\u{e9}"),
        json!("acme\n"),
        json!("*"),
        json!([]),
        json!(["acme", "globex"]),
        json!(["acme", "acme"]),
        json!([["acme"]]),
        json!([7]),
        json!(7.5),
        json!(true),
        json!({ "id": "acme" }),
        Value::Null,
    ];
    let cases = refused.map(|value| (value.to_string(), of(&harness, value), ErrorKind::Token, "subject_tenant"));
    harness.assert_each_refused(|| harness.exchange(), cases).await;
    let without = harness.exchange().set("subject_token", harness.user_token_with(&json!({ "org_id": null })));
    harness.assert_refused("absent", without, ErrorKind::Token, "subject_tenant").await;
}

#[tokio::test]
async fn the_tenant_claim_is_named_literally() {
    let harness = idp(r#"tenant_claim = "https://shop.example/tenant.id""#).start().await;
    let token = harness.user_token_with(&json!({ "https://shop.example/tenant.id": "acme", "org_id": "globex" }));
    let claims = harness.exchange_by("coordinator", &token, "inventory").send().await.claims();
    assert_eq!(claims["tenant_id"], "acme");
    let nested = harness.user_token_with(&json!({ "https://shop.example/tenant": { "id": "acme" } }));
    let request = harness.exchange_by("coordinator", &nested, "inventory");
    harness.assert_refused("nested", request, ErrorKind::Token, "subject_tenant").await;
}

#[tokio::test]
async fn an_issuer_may_stand_for_one_tenant_whatever_its_tokens_say() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.issuer_without(names.idp.url(), &["tenant_claim"]);
        registry.issuer(names.idp.url(), "tenant = 'acme'");
    });
    let harness = setup.start().await;
    let claims = of(&harness, json!("globex")).set("tenant_id", "globex").send().await.claims();
    assert_eq!(claims["tenant_id"], "acme");
}

#[tokio::test]
async fn a_token_without_a_tenant_fits_only_where_every_tenant_does() {
    let setup = Setup::default().registry_with(|registry, names| {
        registry.issuer_without(names.idp.url(), &["tenant_claim"]);
        registry.agent("warehouse", "tenants = ['acme']");
    });
    let harness = setup.start().await;
    let first = harness.exchange().send().await;
    assert_eq!(first.claims().get("tenant_id"), None);
    let restricted = harness.exchange_by("inventory", first.token(), "warehouse");
    harness.assert_refused("a target with tenants", restricted, ErrorKind::Token, "tenant_outside").await;
    let with_header = harness.exchange().header("x-tenant-id", "acme");
    harness.assert_refused("a header is no source", with_header, ErrorKind::Token, "tenant_header_mismatch").await;
}

#[tokio::test]
async fn the_tenant_must_be_within_issuer_actor_target_and_delegation() {
    for restricted in ["issuer", "actor", "target", "delegation"] {
        let setup = Setup::default().registry_with(move |registry, names| {
            let tenants = "tenants = ['acme', 'globex']";
            match restricted {
                "issuer" => registry.issuer(names.idp.url(), tenants),
                "actor" => registry.agent("coordinator", tenants),
                "target" => registry.agent("inventory", tenants),
                _ => registry.delegation("coordinator", "inventory", tenants),
            }
        });
        let harness = setup.start().await;
        let twin = || of(&harness, json!("acme"));
        let cases = ["initech", "Acme", "acme2"].map(|tenant| {
            (format!("{restricted} {tenant}"), of(&harness, json!(tenant)), ErrorKind::Token, "tenant_outside")
        });
        harness.assert_each_refused(twin, cases).await;
        of(&harness, json!("globex")).send().await.token();
    }
}

#[tokio::test]
async fn tenants_withdrawn_after_issue_hold_at_the_next_hop() {
    for restricted in ["issuer", "actor", "target", "delegation"] {
        let mut harness = Harness::start().await;
        let first = harness.first_hop().await;
        let request = |harness: &Harness| harness.exchange_by("inventory", &first, "warehouse");
        request(&harness).send().await.token();
        let idp = harness.idp.url().to_owned();
        harness
            .apply(|registry, _| {
                let tenants = "tenants = ['globex']";
                match restricted {
                    "issuer" => registry.issuer(&idp, tenants),
                    "actor" => registry.agent("inventory", tenants),
                    "target" => registry.agent("warehouse", tenants),
                    _ => registry.delegation("inventory", "warehouse", tenants),
                }
            })
            .await;
        harness.assert_refused(restricted, request(&harness), ErrorKind::Token, "tenant_outside").await;
    }
}

#[tokio::test]
async fn several_delegations_of_one_pair_are_told_apart_by_tenant_and_never_added_up() {
    let setup = Setup::default()
        .registry(|registry| registry.delegation("coordinator", "inventory", "tenants = ['acme']\nscopes = ['a']"))
        .entries(
            "[[delegations]]\nactor = 'coordinator'\ntarget = 'inventory'\ntenants = ['globex']\nscopes = ['b']\n",
        );
    let harness = setup.start().await;
    for (tenant, scope) in [("acme", "a"), ("globex", "b")] {
        assert_eq!(of(&harness, json!(tenant)).send().await.json["scope"], scope);
    }
    let both = of(&harness, json!("acme")).set("scope", "a b");
    harness.assert_refused("both", both, ErrorKind::Scope, "scope_beyond").await;
    harness.assert_refused("neither", of(&harness, json!("initech")), ErrorKind::Token, "tenant_outside").await;
}

#[tokio::test]
async fn the_header_must_equal_the_tenant_and_never_changes_it() {
    let harness = Harness::start().await;
    let request = |value: &[u8]| harness.exchange().header("x-tenant-id", value);
    let claims = request(b"acme").send().await.claims();
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(request(b"").send().await.claims()["tenant_id"], "acme", "an empty header counts as absent");
    let cases = [
        ("another", request(b"globex"), ErrorKind::Token, "tenant_header_mismatch"),
        ("another case", request(b"Acme"), ErrorKind::Token, "tenant_header_mismatch"),
        ("malformed", request(b"acme/globex"), ErrorKind::Request, "tenant_header_malformed"),
        ("a star", request(b"*"), ErrorKind::Request, "tenant_header_malformed"),
        ("not ASCII", request(b"acm\xc3\xa9"), ErrorKind::Request, "tenant_header_malformed"),
        (
            "twice",
            request(b"acme").another_header("x-tenant-id", "acme"),
            ErrorKind::Request,
            "tenant_header_malformed",
        ),
    ];
    harness.assert_each_refused(|| harness.exchange(), cases).await;
}
