//! The six questions of an operator, each answered by a page.

use serde_json::json;
use sts_tests::Setup;

use super::Browser;

#[tokio::test]
async fn the_agents_are_listed_with_their_credentials_and_calls() {
    let said = "owner = 'warehouse team'\npurpose = 'plans'\nexpires_at = '2099-01-31T00:00:00Z'";
    let setup = Setup::default().operators().registry(|registry| registry.agent("coordinator", said));
    let harness = setup.start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    let of_the_owner = browser.page("/console?q=warehouse+team").await;
    assert!(of_the_owner.contains("<td>warehouse team</td>") && of_the_owner.contains("1 found"), "{of_the_owner}");
    let page = browser.page("/console").await;
    assert!(page.contains(r#"<a href="/console/agents/coordinator">coordinator</a>"#), "{page}");
    let found = browser.page("/console?q=coord").await;
    assert!(found.contains("coordinator") && !found.contains(">inventory</a>"), "{found}");
    let agent = browser.page("/console/agents/coordinator").await;
    for text in ["Secret", "May call", ">inventory</a>", "No event.", "warehouse team", "plans", "2099-01-31 00:00:00Z"]
    {
        assert!(agent.contains(text), "{text}: {agent}");
    }
    for secret in ["client_secret", "sha256", "argon2"] {
        assert!(!agent.contains(secret), "{secret}: {agent}");
    }
    assert_eq!(browser.get("/console/agents/unknown").await.status, 404);
}

#[tokio::test]
async fn the_graph_draws_an_arrow_for_each_delegation() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    let page = browser.page("/console/graph").await;
    assert!(page.contains("<title>coordinator may call inventory: "), "{page}");
    let near = browser.page("/console/graph?agent=inventory&hops=1").await;
    assert!(near.contains("box center") && near.contains("coordinator may call inventory"), "{near}");
    let none = browser.page("/console/graph?agent=unknown").await;
    assert!(none.contains("No delegation.") && !none.contains("<svg"), "{none}");
}

#[tokio::test]
async fn a_chain_is_a_tree_of_its_tokens_with_the_refusal_in_words() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.operators().start().await;
        let browser = Browser::signed_in(&harness, "reader").await;
        let first = harness.first_hop().await;
        harness.exchange_by("inventory", &first, "warehouse").send().await.token();
        let refused = harness.exchange_by("inventory", &first, "warehouse").set("scope", "payroll:read").send().await;
        assert_eq!(refused.status, 400, "{}", refused.text());
        let found = browser.page("/console/chains?agent=inventory").await;
        let (_, rest) = found.split_once(r#"href="/console/chains/"#).expect("a chain");
        let txn = rest.split('"').next().expect("an id");
        let page = browser.page(&format!("/console/chains/{txn}")).await;
        let place = |text: &str| page.find(text).unwrap_or_else(|| panic!("{text}: {page}"));
        let (parent, child) =
            (place("<strong>coordinator -&#62; inventory"), place("<strong>inventory -&#62; warehouse"));
        assert!(parent < child, "{page}");
        assert!(page.contains("<code>scope_beyond</code>") && page.contains(">Why?</a>"), "{page}");
        assert_eq!(page.matches("<ul").count(), page.matches("</ul>").count(), "{page}");
        assert_eq!(page.matches("<li>").count(), page.matches("</li>").count(), "{page}");

        let (_, rest) = found.split_once(r#"href="/console/events/"#).expect("an event");
        let event = browser.page(&format!("/console/events/{}", rest.split('"').next().expect("an id"))).await;
        assert!(event.contains("<code>event</code>") && event.contains("The whole chain"), "{event}");
        for text in [">Stop this transaction</a>", ">Stop the agent inventory</a>", ">Stop the user alice</a>"] {
            assert!(event.contains(text), "{text}: {event}");
        }
        assert!(event.contains(r#"<p class="bad">the scope &#34;payroll:read&#34; is beyond"#), "{event}");
        // Whose token it was is unknown, so there is nothing to explain without it.
        let forged = harness.exchange().set("subject_token", "no token").send().await;
        assert_eq!(forged.status, 400, "{}", forged.text());
        let found = browser.page("/console/chains?agent=coordinator&outcome=refused").await;
        let (_, rest) = found.split_once(r#"href="/console/events/"#).expect("an event");
        let event = browser.page(&format!("/console/events/{}", rest.split('"').next().expect("an id"))).await;
        assert!(event.contains(">Stop the agent coordinator</a>") && !event.contains(">Why?</a>"), "{event}");
    }
}

#[tokio::test]
async fn what_a_stop_reaches_is_counted_before_the_name_is_typed() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.operators().start().await;
        let browser = Browser::signed_in(&harness, "operator").await;
        let first = harness.first_hop().await;
        harness.exchange_by("inventory", &first, "warehouse").send().await.token();
        for (query, count) in [
            ("agent=coordinator", "2 valid tokens"),
            ("agent=inventory", "1 valid token<"),
            ("kind=sub&name=alice", "2 valid tokens"),
            ("tenant=acme", "2 valid tokens"),
            ("sub=bob", "0 valid tokens"),
        ] {
            let page = browser.page(&format!("/console/stop?{query}")).await;
            assert!(page.contains(count), "{query}: {count}: {page}");
        }
        let form = |confirm| [("kind", "agent"), ("name", "coordinator"), ("hold", "true"), ("confirm", confirm)];
        for wrong in ["", "inventory", "coordinato"] {
            assert_eq!(browser.submit("/console/stop", &form(wrong)).await.status, 422, "{wrong}");
        }
        harness.exchange().send().await.token();
        assert_eq!(browser.submit("/console/stop", &form("coordinator")).await.status, 303);
        assert_eq!(harness.exchange().send().await.status, 401);
        let page = browser.page("/console/stop").await;
        assert!(page.contains("Lift the revocation of coordinator") && page.contains("all, a hold"), "{page}");
        let lifted = browser.submit("/console/stop/lift", &[("kind", "agent"), ("name", "coordinator")]).await;
        assert_eq!(lifted.status, 303, "{}", lifted.text());
        harness.exchange().send().await.token();
        let unknown = [("kind", "agent"), ("name", "nobody"), ("confirm", "nobody")];
        assert_eq!(browser.submit("/console/stop", &unknown).await.status, 422);
    }
}

#[tokio::test]
async fn the_agents_of_an_owner_are_stopped_together() {
    let harness = Setup::default().operators().registry(|registry| {
        registry.agent("coordinator", "owner = 'Team Web'");
        registry.agent("inventory", "owner = 'Team Stock'");
        registry.agent("warehouse", "owner = 'Team Stock'");
    });
    let harness = harness.start().await;
    let browser = Browser::signed_in(&harness, "operator").await;
    let first = harness.first_hop().await;
    harness.exchange_by("inventory", &first, "warehouse").send().await.token();
    let page = browser.page("/console/stop?kind=owner&name=Team+Stock").await;
    assert!(page.contains("1 valid token<") && page.contains("Type <strong>Team Stock</strong>"), "{page}");
    let form = [("kind", "owner"), ("name", "Team Stock"), ("confirm", "Team Stock")];
    assert_eq!(browser.submit("/console/stop", &form).await.status, 303);
    let page = browser.page("/console/stop").await;
    for agent in ["inventory", "warehouse"] {
        assert!(page.contains(&format!("Lift the revocation of {agent}")), "{page}");
    }
    assert!(!page.contains("Lift the revocation of coordinator"), "{page}");
    assert_eq!(browser.get("/console/stop?owner=Team+Stok").await.status, 422);
}

#[tokio::test]
async fn an_agent_is_shown_with_its_uses_its_credentials_and_the_rules_of_its_delegations() {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let harness = setup.operators().registry(|registry| {
            let approval = "approval = { scopes = ['stock:write'], by = 'operator' }";
            registry.delegation(
                "coordinator",
                "inventory",
                &format!("expires_at = '2999-01-02T03:04:05Z'\n{approval}"),
            );
        });
        let mut harness = harness.start().await;
        let browser = Browser::signed_in(&harness, "reader").await;
        let row = async |agent: &str| {
            let page = browser.page("/console").await;
            let (_, row) = page.split_once(&format!(">{agent}</a></th>")).expect("a row");
            row.split("</tr>").next().expect("a row").to_owned()
        };
        assert!(row("inventory").await.contains("<td>never</td>"), "{}", row("inventory").await);
        harness.exchange().set("scope", "stock:read").send().await.token();
        harness.advance(1200);
        harness.apply(|registry, _| registry.agent("coordinator", "dpop_bound_access_tokens = true")).await;
        for agent in ["coordinator", "inventory"] {
            assert!(row(agent).await.contains("<td>20 min ago</td>"), "{}", row(agent).await);
        }
        assert!(row("warehouse").await.contains("<td>never</td>"), "{}", row("warehouse").await);
        let page = browser.page("/console/agents/coordinator").await;
        for text in [
            "<dt>Last use</dt><dd>20 min ago</dd>",
            "<dt>Secret</dt><dd>one</dd>",
            "<td>operator: stock:write</td><td>DPoP key</td><td>20 min ago</td><td>2999-01-02 03:04Z</td>",
        ] {
            assert!(page.contains(text), "{text}: {page}");
        }
        let graph = browser.page("/console/graph?agent=coordinator").await;
        for text in [
            "approval by operator: stock:write; bound to: DPoP key</title>",
            "class=\"arrow waits bound\"",
            ">stock:read stock:wri… + approval + key</text>",
            "<td>operator: stock:write</td><td>DPoP key</td>",
        ] {
            assert!(graph.contains(text), "{text}: {graph}");
        }
    }
}

#[tokio::test]
async fn the_health_page_says_what_an_issuer_has_lost() {
    let harness = Setup::default().operators().start().await;
    harness.exchange().send().await.token();
    let browser = Browser::signed_in(&harness, "reader").await;
    assert!(browser.page("/console/health").await.contains("nothing</td>"));
    let mut other = sts_tests::TestKey::new(sts_jose::Algorithm::Es256).jwk();
    other["kid"] = "another".into();
    harness.idp.publish(json!({ "keys": [other, { "kty": "EC", "kid": "broken", "alg": "ES256" }] }));
    harness.server.sts().snapshot().trusted.refresh().await;
    let page = browser.page("/console/health").await;
    for text in ["disappeared 0 s ago", "The key broken cannot be used: "] {
        assert!(page.contains(text), "{text}: {page}");
    }
    harness.idp.fail(sts_tests::Fault::Status(500));
    harness.server.sts().snapshot().trusted.refresh().await;
    let page = browser.page("/console/health").await;
    assert!(page.contains("The last read failed: ") && page.contains("failing"), "{page}");
}

#[tokio::test]
async fn the_health_page_names_keys_issuers_and_the_server() {
    let harness = Setup::default().operators().start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    let page = browser.page("/console/health").await;
    for text in ["ready", "ES256", "active", "Snapshot confirmed", "Revocations version", harness.idp.url()] {
        assert!(page.contains(text), "{text}: {page}");
    }
}

#[tokio::test]
async fn a_graph_of_many_delegations_is_drawn_in_part() {
    let harness = Setup::default().operators().registry(|registry| {
        let agent = |number| format!("[[agents]]\nid = \"bot-{number:02}\"\n");
        registry.add(&(0..40).map(agent).collect::<String>());
        let pairs = (0..40).flat_map(|actor| (actor + 1..40).map(move |target| (actor, target)));
        let delegation = |(actor, target)| {
            format!("[[delegations]]\nactor = \"bot-{actor:02}\"\ntarget = \"bot-{target:02}\"\nscopes = [\"a:b\"]\n")
        };
        registry.add(&pairs.map(delegation).collect::<String>());
    });
    let harness = harness.start().await;
    let browser = Browser::signed_in(&harness, "reader").await;
    let page = browser.page("/console/graph").await;
    assert!(page.contains("delegations are left out"), "{page}");
    assert!(page.matches("class=\"arrow").count() <= 300);
}
