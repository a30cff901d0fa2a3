//! Lists, page by page.

use serde_json::{Value, json};
use sts_tests::Harness;

use super::{assert_refused, on_both};

/// The lists, each with the name of its elements and the role that reads it.
const LISTS: [(&str, &str, &str); 6] = [
    ("/issuers", "entries", "reader"),
    ("/agents", "entries", "reader"),
    ("/delegations", "entries", "reader"),
    ("/revocations", "revocations", "reader"),
    ("/audit/heads", "heads", "reader"),
    ("/audit/rows", "rows", "reader"),
];

async fn page(harness: &Harness, (path, role): (&str, &str), query: &str) -> Value {
    let answer = harness.admin("GET", &format!("{path}{query}")).by(role).send().await;
    assert_eq!(answer.status, 200, "{path}{query}: {}", answer.text());
    answer.json
}

/// The elements of all pages of this many.
async fn read(harness: &Harness, list: (&str, &str), member: &str, limit: usize) -> Vec<Value> {
    let (mut elements, mut query) = (Vec::new(), format!("?limit={limit}"));
    loop {
        let page = page(harness, list, &query).await;
        let listed = page[member].as_array().expect("a list").clone();
        assert!(listed.len() <= limit, "{list:?}: {}", listed.len());
        elements.extend(listed);
        let Some(next) = page["next"].as_str() else { return elements };
        query = format!("?limit={limit}&after={next}");
    }
}

#[tokio::test]
async fn the_pages_of_a_list_together_are_the_list() {
    for harness in on_both().await {
        for sub in ["bob", "carol", "dave"] {
            let revoked =
                harness.admin("POST", "/revocations").by("operator").json(&json!({ "sub": sub })).send().await;
            assert_eq!(revoked.status, 200, "{}", revoked.text());
        }
        harness.exchange().send().await.token();
        for (path, member, role) in LISTS {
            let whole = read(&harness, (path, role), member, 1000).await;
            assert!(whole.len() >= 2, "{path}: {whole:?}");
            for limit in [1, 2] {
                assert_eq!(read(&harness, (path, role), member, limit).await, whole, "{path}");
            }
        }
        let all = page(&harness, ("/registry", "admin"), "").await;
        assert!(all["next"].is_null(), "{all}");
        for member in ["issuers", "agents", "delegations"] {
            let whole = all[member].as_array().expect("a list");
            assert_eq!(&read(&harness, ("/registry", "admin"), member, 1).await, whole, "{member}");
        }
    }
}

#[tokio::test]
async fn a_page_that_cannot_be_is_refused() {
    for harness in on_both().await {
        for (path, _, role) in LISTS.into_iter().chain([("/registry", "", "admin")]) {
            for query in ["?limit=0", "?limit=1001", "?limit=x", "?after=%C3%A9", "?after=a", "?cursor=1"] {
                let request = harness.admin("GET", &format!("{path}{query}")).by(role);
                assert_refused(&harness, path, request, 400, "parameters_malformed").await;
            }
        }
        // A cursor of another list is no place in the chains of the audit log.
        let request = harness.admin("GET", "/audit/rows?after=YWdlbnQ").by("reader");
        assert_refused(&harness, "/audit/rows", request, 400, "parameters_malformed").await;
        let request = harness.admin("GET", "/registry").by("operator");
        assert_refused(&harness, "/registry", request, 403, "role_insufficient").await;
    }
}
