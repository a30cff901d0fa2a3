//! What operators do is in the audit log, which they search; and they ask what the rules would say.

use serde_json::{Value, json};
use sts_server::record::{DETAIL_CHARS, Event, EventKind};
use sts_server::storage::AuditFilter;
use sts_tests::{AdminRequest, Setup};

use super::{assert_refused, on_both, robot};

#[tokio::test]
async fn every_change_is_an_event_with_who_and_what() {
    for harness in on_both().await {
        let ask = |method: &str, path: &str| harness.admin(method, path).by("admin");
        let table: Vec<(AdminRequest, EventKind, &str)> = vec![
            (ask("PUT", "/agents/robot").if_new().json(&robot()), EventKind::RegistryChanged, "add agent robot"),
            (
                ask("PUT", "/agents/robot")
                    .header("if-match", "*")
                    .json(&json!({ "id": "robot", "tenants": ["acme"] })),
                EventKind::RegistryChanged,
                "change agent robot: audience",
            ),
            (ask("DELETE", "/agents/robot").header("if-match", "*"), EventKind::RegistryChanged, "remove agent robot"),
            (
                ask("PUT", "/agents/shelf").header("if-match", "*").json(&json!({ "id": "shelf", "disabled": true })),
                EventKind::RegistryChanged,
                "change agent shelf (disabled by an administrator)",
            ),
            (
                ask("PUT", "/agents/shelf").header("if-match", "*").json(&json!({ "id": "shelf" })),
                EventKind::RegistryChanged,
                "change agent shelf (no longer disabled by an administrator)",
            ),
            (
                ask("POST", "/revocations").json(&json!({ "jti": "j", "unknown": true })),
                EventKind::Revoked,
                "a token of",
            ),
            (ask("DELETE", "/revocations?jti=j"), EventKind::RevocationLifted, "a token of"),
            (ask("POST", "/keys/rotate").json(&json!({ "now": true })), EventKind::KeysChanged, "is active"),
        ];
        for (request, kind, what) in table {
            let answer = request.send().await;
            assert!((200..300).contains(&answer.status), "{request:?}: {}", answer.text());
            let events = harness.events(&request.correlation_id()).await;
            let [event] = events.as_slice() else { panic!("{request:?}: {events:?}") };
            assert_eq!((event.event, event.admin.as_deref()), (kind, Some("admin")), "{event:?}");
            assert_eq!(event.source.as_deref(), Some("127.0.0.1"));
            assert!(event.detail.as_deref().is_some_and(|detail| detail.contains(what)), "{what}: {event:?}");
        }
    }
}

#[tokio::test]
async fn what_a_known_operator_is_refused_is_an_event_and_what_nobody_known_is_refused_is_none() {
    for harness in on_both().await {
        let put = |by: &str| harness.admin("PUT", "/agents/robot").by(by).json(&robot());
        for (request, by, reason) in [
            (put("reader").if_new(), "reader", "role_insufficient"),
            (put("admin"), "admin", "precondition_required"),
            (put("admin").if_new().json(&json!({ "id": 7 })), "admin", "body_at_fault"),
            (harness.admin("GET", "/agents/nobody").by("reader"), "reader", "not_found"),
        ] {
            request.send().await;
            let events = harness.events(&request.correlation_id()).await;
            let [event] = events.as_slice() else { panic!("{request:?}: {events:?}") };
            assert_eq!((event.event, event.admin.as_deref()), (EventKind::AdminRefused, Some(by)), "{event:?}");
            assert_eq!(event.reason.as_deref(), Some(reason));
            assert!(event.detail.as_deref().is_some_and(|detail| detail.contains("/admin/v1/agents/")), "{event:?}");
        }
        let before = harness.audit_count().await;
        for request in [harness.admin("GET", "/agents"), harness.admin("GET", "/agents").bearer("garbage")] {
            assert_eq!(request.send().await.status, 401);
        }
        assert_eq!(harness.audit_count().await, before);
    }
}

#[tokio::test]
async fn what_an_operator_is_refused_is_no_larger_an_event_for_a_long_path_or_body() {
    for harness in on_both().await {
        let long = "A".repeat(12_000);
        let faults: serde_json::Map<String, Value> = (0..2_000).map(|key| (format!("key{key}"), json!(1))).collect();
        for request in [
            harness.admin("DELETE", &format!("/agents/{long}")).by("reader").header("if-match", "*"),
            harness.admin("GET", &format!("/agents/{long}")).by("reader"),
            harness.admin("PUT", "/agents/robot").by("admin").if_new().json(&Value::Object(faults)),
        ] {
            assert!((400..500).contains(&request.send().await.status), "{request:?}");
            let events = harness.events(&request.correlation_id()).await;
            let [event] = events.as_slice() else { panic!("{events:?}") };
            let detail = event.detail.as_deref().expect("a detail");
            assert!(detail.chars().count() <= DETAIL_CHARS && detail.contains("/admin/v1/agents/"), "{detail}");
        }
    }
}

#[tokio::test]
async fn refusals_of_an_operator_beyond_its_bound_are_counted_and_not_stored() {
    let setup = Setup::default().operators().option("LIMITS__REFUSALS_PER_MINUTE_PER_CLIENT", "2");
    let harness = setup.start().await;
    let before = harness.audit_count().await;
    for _ in 0..5 {
        let refused = harness.admin("GET", "/agents/nobody").by("reader").send().await;
        assert_eq!(refused.status, 404, "an operator gets the answer all the same");
    }
    assert_eq!(harness.audit_count().await, before + 2);
    harness.server.sts().record_last_suppressed_refusals().await;
    let rows = harness.store.audit(&AuditFilter::default(), 1_000).await.expect("the audit log").rows;
    let event: Event = serde_json::from_str(&rows.last().expect("an event").row.body).expect("an event");
    assert_eq!((event.event, event.count), (EventKind::RefusalsSuppressed, Some(3)));
    assert_eq!((event.admin.as_deref(), event.reason.as_deref()), (Some("reader"), Some("not_found")));
}

#[tokio::test]
async fn a_change_of_many_entries_is_several_events_and_none_is_left_out() {
    for mut harness in on_both().await {
        let before = harness.audit_count().await;
        harness
            .apply(|registry, _| {
                for number in 0..100 {
                    registry.add(&format!("[[agents]]\nid = \"robot-{number}-{}\"\n", "x".repeat(60)));
                }
            })
            .await;
        let rows = harness.store.audit(&AuditFilter::default(), 1_000).await.expect("the audit log").rows;
        let new = rows.iter().skip(usize::try_from(before).expect("a count"));
        let events: Vec<Event> = new.map(|row| serde_json::from_str(&row.row.body).expect("an event")).collect();
        assert!(events.len() > 1, "{events:?}");
        let details: Vec<&str> = events.iter().filter_map(|event| event.detail.as_deref()).collect();
        assert!(details.iter().all(|detail| detail.len() <= DETAIL_CHARS), "{details:?}");
        assert_eq!(details.iter().flat_map(|detail| detail.split("; ")).count(), 100);
        assert!(events.iter().all(|event| event.cut.is_empty()), "{events:?}");
    }
}

#[tokio::test]
async fn the_log_is_searched_and_read_page_by_page() {
    for harness in on_both().await {
        let exchange = harness.exchange();
        let correlation_id = "the-request-of-alice";
        let issued = exchange.header("x-correlation-id", correlation_id).send().await;
        let claims = issued.claims();
        harness.exchange().send().await;
        let ask = async |query: &str| {
            let answer = harness.admin("GET", &format!("/audit?{query}")).by("reader").send().await;
            assert_eq!(answer.status, 200, "{query}: {}", answer.text());
            answer.json
        };
        let jti = claims["jti"].as_str().expect("a name");
        for query in [
            format!("correlation_id={correlation_id}"),
            format!("jti={}", claims["jti"].as_str().expect("a name")),
            format!("txn={}&since=1h", claims["txn"].as_str().expect("a name")),
            format!("sub=alice&agent=coordinator&tenant=acme&target=inventory&outcome=allowed&since=1h&jti={jti}"),
        ] {
            let found = ask(&query).await;
            assert_eq!(found["events"].as_array().expect("events").len(), 1, "{query}: {found}");
            assert_eq!(found["events"][0]["sub"], "alice", "{query}");
        }
        let all = ask("limit=1000").await;
        let (mut paged, mut cursor): (Vec<Value>, String) = (Vec::new(), String::new());
        loop {
            let page = ask(&format!("limit=1{cursor}")).await;
            paged.extend(page["events"].as_array().expect("events").iter().cloned());
            let Some(next) = page["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(json!(paged), all["events"]);
        let (mut followed, mut after): (Vec<Value>, String) = (Vec::new(), "0".to_owned());
        while followed.len() < paged.len() {
            let page = ask(&format!("limit=2&after={after}")).await;
            followed.extend(page["events"].as_array().expect("events").iter().cloned());
            after = page["next"].as_str().expect("a cursor").to_owned();
        }
        followed.reverse();
        assert_eq!(followed, paged);
        assert_eq!(after, all["first"].as_str().expect("the cursor of the latest event"));
        let end = ask(&format!("after={after}")).await;
        assert_eq!((end["events"].as_array().map(Vec::len), &end["next"]), (Some(0), &json!(after)));
        assert!(paged.len() >= 3, "the registry was applied, and two tokens issued: {paged:?}");
        for query in [
            "limit=0",
            "limit=1001",
            "limit=x",
            "since=yesterday",
            "until=0s",
            "outcome=maybe",
            "cursor=x",
            "after=x",
            "cursor=1&after=1",
            "txm=a",
            "jti=a&jti=b",
        ] {
            let request = harness.admin("GET", &format!("/audit?{query}")).by("reader");
            assert_refused(&harness, query, request, 400, "parameters_malformed").await;
        }
    }
}

#[tokio::test]
async fn a_page_is_bounded_by_bytes_and_names_what_is_malformed_in_it() {
    for harness in on_both().await {
        for _ in 0..3 {
            harness.exchange().send().await.token();
        }
        let all = harness.admin("GET", "/audit?limit=1000").by("reader").send().await.json;
        let count = all["events"].as_array().expect("events").len();
        let of_a_token = "WHERE body LIKE '%token.issued%'";
        // The same event, of 600 KB.
        let spaces = if harness.config.database.url.starts_with("sqlite") {
            "replace(hex(zeroblob(300000)), '0', ' ')"
        } else {
            "repeat(' ', 600000)"
        };
        harness.execute(&format!("UPDATE audit_events SET body = body || {spaces} {of_a_token}")).await;
        let malformed = "UPDATE audit_events SET body = 'none' WHERE id = (SELECT MIN(id) FROM audit_events)";
        harness.execute(malformed).await;
        let (mut pages, mut found, mut cursor) = (0, 0, String::new());
        let mut named = Vec::new();
        loop {
            let page = harness.admin("GET", &format!("/audit?limit=1000{cursor}")).by("reader").send().await;
            assert_eq!(page.status, 200, "{}", page.text());
            (pages, found) = (pages + 1, found + page.json["events"].as_array().expect("events").len());
            named.extend(page.json["malformed"].as_array().cloned().unwrap_or_default());
            let Some(next) = page.json["next"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        assert_eq!(pages, 2, "two of three large events are one page");
        let [row] = named.as_slice() else { panic!("{named:?}") };
        assert!(row["id"].is_i64() && row["writer"].is_string() && row["writer_sequence"] == 1, "{row}");
        assert_eq!(found + 1, count);
    }
}

#[tokio::test]
async fn what_the_rules_would_say_is_explained_and_nothing_is_issued() {
    let harness = &on_both().await[0];
    let idp = harness.idp.url();
    let ask = async |question: &Value| {
        let answer = harness.admin("POST", "/explain").by("reader").json(question).send().await;
        assert_eq!(answer.status, 200, "{question}: {}", answer.text());
        answer.json
    };
    let alice =
        json!({ "actor": "coordinator", "target": ["inventory"], "issuer": idp, "sub": "alice", "tenant": "acme" });
    let allowed = ask(&alice).await;
    assert_eq!(
        (&allowed["outcome"]["outcome"], &allowed["outcome"]["delegation"]),
        (&json!("allowed"), &json!("coordinator->inventory"))
    );
    let with_token = json!({ "actor": "coordinator", "target": ["inventory"], "subject_token": harness.user_token() });
    assert_eq!(ask(&with_token).await["outcome"]["outcome"], "allowed");
    // Also the ancestors of a token: the kill switch reaches what descends from a revoked one.
    let first = harness.first_hop().await;
    let second = harness.exchange_by("inventory", &first, "warehouse").send().await.token().to_owned();
    let descendant = json!({ "actor": "warehouse", "target": ["shelf"], "subject_token": second });
    assert_eq!(ask(&descendant).await["outcome"]["outcome"], "allowed");
    harness.revoke("coordinator", &first).send().await;
    assert_eq!(ask(&descendant).await["outcome"]["reason"], "token_revoked");
    let issued = harness.token_count().await;
    let mut more = alice.clone();
    more["scope"] = json!("stock:burn");
    assert_eq!(ask(&more).await["outcome"]["reason"], "scope_beyond");
    assert_eq!(harness.token_count().await, issued);

    for (change, pointer) in [
        (json!({ "sub": null }), "/sub"),
        (json!({ "tenant": "a b" }), "/tenant"),
        (json!({ "subject_token": "x" }), ""),
        (json!({ "actr": "x" }), "/actr"),
        (json!({ "x_tenant_id": "a\nb" }), "/x_tenant_id"),
    ] {
        let mut question = alice.clone();
        question.as_object_mut().expect("an object").extend(change.as_object().expect("an object").clone());
        let request = harness.admin("POST", "/explain").by("reader").json(&question);
        let answer = assert_refused(harness, &question.to_string(), request, 422, "body_at_fault").await;
        assert!(super::pointers(&answer).contains(&pointer), "{question}: {}", answer.text());
    }
}
