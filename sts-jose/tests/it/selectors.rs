use serde_json::{Value, json};
use sts_jose::{ClaimError, ClaimSelectors, Claims, Selected, SelectorSyntaxError};

fn selectors(value: &Value) -> ClaimSelectors {
    serde_json::from_value(value.clone()).unwrap()
}

fn claims(value: Value) -> Claims {
    serde_json::from_value(value).map(Claims::new).unwrap()
}

fn one(selector: &Value, of: &Value) -> Result<Option<String>, ClaimError> {
    selectors(selector).one(&claims(of.clone())).map(|found| found.map(Into::into))
}

#[test]
fn a_selector_is_a_literal_name_or_a_json_pointer() {
    let token = json!({
        "org_id": "acme", "a.b": "dotted", "https://acme.example/tenant": "url", "number": 42,
        "realm_access": { "roles": ["buyer"] }, "o": { "id": "clerk" }, "a/b": { "c~d": "escaped" }, "list": ["x", "y"],
        "organization": { "acme": { "id": "42" } },
    });
    for (selector, found) in [
        ("org_id", "acme"),
        ("a.b", "dotted"),
        ("https://acme.example/tenant", "url"),
        ("number", "42"),
        ("/org_id", "acme"),
        ("/a.b", "dotted"),
        ("/realm_access/roles", "buyer"),
        ("/realm_access/roles/0", "buyer"),
        ("/o/id", "clerk"),
        ("/a~1b/c~0d", "escaped"),
        ("/list/1", "y"),
        ("/organization/*", "acme"),
        ("/organization/acme/id", "42"),
    ] {
        assert_eq!(one(&json!(selector), &token), Ok(Some(found.to_owned())), "{selector}");
    }
    for selector in ["absent", "/o/absent", "/org_id/x", "/list/2", "/list/01", "/list/-", "/o/id/*", "/absent/*"] {
        assert_eq!(one(&json!(selector), &token), Ok(None), "{selector}");
    }
}

#[test]
fn what_is_no_selector_is_refused() {
    for (text, error) in [
        ("", SelectorSyntaxError::Text),
        ("a\nb", SelectorSyntaxError::Text),
        ("/a~2b", SelectorSyntaxError::Escape),
        ("/a~", SelectorSyntaxError::Escape),
        ("/*", SelectorSyntaxError::Star),
        ("/a/*/b", SelectorSyntaxError::Star),
        ("/*/*", SelectorSyntaxError::Star),
    ] {
        let refused = serde_json::from_value::<ClaimSelectors>(json!(text)).unwrap_err().to_string();
        assert_eq!(refused, error.to_string(), "{text:?}");
    }
    assert!("a".repeat(513).parse::<sts_jose::ClaimSelector>().is_err());
    for value in [json!([]), json!([""]), json!(7), json!({})] {
        assert!(serde_json::from_value::<ClaimSelectors>(value.clone()).is_err(), "{value}");
    }
}

#[test]
fn selectors_are_written_as_they_were_read() {
    for value in [json!("aud"), json!(["aud", "client_id"]), json!("/organization/*")] {
        assert_eq!(serde_json::to_value(selectors(&value)).unwrap(), value);
    }
    assert_eq!(serde_json::to_value(selectors(&json!(["aud"]))).unwrap(), json!("aud"));
}

#[test]
fn the_first_selector_that_yields_a_value_wins() {
    let tenant = json!(["org", "/organization/*", "tid"]);
    for (token, found) in [
        (json!({ "org": "a", "tid": "b" }), Some("a")),
        (json!({ "org": null, "organization": {}, "tid": "b" }), Some("b")),
        (json!({ "org": "", "organization": { "k": 1 } }), Some("k")),
        (json!({ "org": [], "organization": ["x"], "tid": 7 }), Some("7")),
        (json!({ "org": { "not": "a value" }, "tid": "b" }), Some("b")),
        (json!({ "org": ["a"] }), Some("a")),
        (json!({}), None),
    ] {
        assert_eq!(one(&tenant, &token), Ok(found.map(str::to_owned)), "{token}");
    }
}

#[test]
fn what_is_not_one_value_is_refused_and_not_passed_over() {
    let tenant = json!(["organization", "/organization/*", "tid"]);
    for token in
        [json!({ "organization": { "a": {}, "b": {} }, "tid": "x" }), json!({ "organization": ["a", "b"], "tid": "x" })]
    {
        assert!(matches!(one(&tenant, &token), Err(ClaimError::NotOneValue { .. })), "{token}");
    }
    for value in [json!(true), json!({}), json!(1.5), json!(1e300), json!(["a", 1]), json!([["a"]])] {
        let refused = one(&json!("c"), &json!({ "c": value }));
        assert!(matches!(refused, Err(ClaimError::WrongType { .. })), "{value}: {refused:?}");
    }
}

#[test]
fn names_are_texts_numbers_and_objects_with_a_name() {
    let names = |value: Value| -> Vec<String> {
        let roles = selectors(&json!(["/realm_access/roles", "roles", "/by_name/*"]));
        roles.names(&claims(value)).into_iter().map(Into::into).collect()
    };
    for (token, found) in [
        (json!({ "roles": ["a", "b"] }), vec!["a", "b"]),
        (json!({ "roles": "a" }), vec!["a"]),
        (json!({ "roles": [{ "name": "a", "id": 1 }, { "id": 2 }, 7, null, true, ["x"], ""] }), vec!["a", "7"]),
        (json!({ "realm_access": { "roles": ["a"] }, "roles": ["b"] }), vec!["a"]),
        (json!({ "realm_access": { "roles": [] }, "roles": ["b"] }), vec!["b"]),
        (json!({ "by_name": { "admin": {}, "user": {} } }), vec!["admin", "user"]),
        (json!({ "roles": true }), vec![]),
        (json!({}), vec![]),
    ] {
        assert_eq!(names(token.clone()), found, "{token}");
    }
}

#[test]
fn a_list_of_texts_holds_no_number_and_no_empty_text() {
    for value in [json!(7), json!(["a", ""]), json!(["a", 7]), json!({})] {
        let claims = claims(json!({ "aud": value }));
        let refused = selectors(&json!("aud")).texts(&claims);
        assert!(matches!(refused, Err(ClaimError::WrongType { .. })), "{value}: {refused:?}");
    }
}

#[test]
fn the_words_of_a_scope_have_spare_white_space_between_them() {
    let words = |value: Value| -> Vec<String> {
        let claims = claims(json!({ "scope": value }));
        let found = selectors(&json!("scope")).texts(&claims).unwrap();
        found.iter().flat_map(Selected::words).map(str::to_owned).collect()
    };
    for (value, found) in [
        (json!(" openid  stock:read "), vec!["openid", "stock:read"]),
        (json!("openid\tstock:read\n"), vec!["openid", "stock:read"]),
        (json!(["openid", " stock:read", " "]), vec!["openid", "stock:read"]),
        (json!(["one two"]), vec!["one two"]),
        (json!("  "), vec![]),
        (json!(""), vec![]),
        (json!(null), vec![]),
    ] {
        assert_eq!(words(value.clone()), found, "{value}");
    }
}
