//! What applying a registry file changes, and what it leaves alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use sts_jose::SystemEntropy;
use sts_server::registry::{Plan, PlanError, Registry, RegistryFile, apply, plan};
use sts_server::storage::sqlite::SqliteStore;
use sts_server::storage::{EntryChange, EntryKind, EntryRow, Origin, RowCodes, Store, Version};

const FILE: &str = r#"
[[issuers]]
issuer = "https://login.example.com"

[[agents]]
id = "a"
auth.client_secret_sha256 = "0000000000000000000000000000000000000000000000000000000000000000"

[[agents]]
id = "b"

[[delegations]]
actor = "a"
target = "b"
scopes = ["s"]
tenants = ["acme"]

[[delegations]]
actor = "a"
target = "b"
scopes = ["t"]
tenants = ["globex"]
"#;

fn file(text: &str) -> RegistryFile {
    let file = RegistryFile::parse(Path::new("/etc/sts/r.toml"), text);
    assert_eq!(file.faults(), []);
    file
}

fn planned(rows: &[EntryRow], text: &str) -> Plan {
    plan(rows, &file(text), None).unwrap()
}

fn lines(plan: &Plan) -> Vec<String> {
    plan.lines.iter().map(ToString::to_string).collect()
}

/// What a store does with a plan.
fn applied(rows: &[EntryRow], plan: &Plan) -> Vec<EntryRow> {
    let mut all: BTreeMap<(EntryKind, String), EntryRow> =
        rows.iter().map(|row| ((row.kind, row.id.clone()), row.clone())).collect();
    for change in &plan.changes {
        match change {
            EntryChange::Put(row) => drop(all.insert((row.kind, row.id.clone()), row.clone())),
            EntryChange::Delete(kind, id) => drop(all.remove(&(*kind, id.clone()))),
            EntryChange::Generation(_) => {}
        }
    }
    all.into_values().collect()
}

fn rows_of(text: &str) -> Vec<EntryRow> {
    applied(&[], &planned(&[], text))
}

fn row<'a>(rows: &'a mut [EntryRow], kind: EntryKind, id: &str) -> &'a mut EntryRow {
    rows.iter_mut().find(|row| row.kind == kind && row.id == id).expect("the row is there")
}

fn errors(rows: &[EntryRow], text: &str) -> Vec<String> {
    match plan(rows, &file(text), None) {
        Err(PlanError::Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
        other => panic!("faults were expected: {other:?}"),
    }
}

#[test]
fn a_plan_says_what_is_added_changed_and_removed() {
    let rows = rows_of(FILE);
    assert_eq!(rows.len(), 5);
    let text = FILE
        .replacen("id = \"b\"", "id = \"b\"\ntoken_ttl = \"2m\"\ntenants = [\"acme\", \"globex\"]", 1)
        .replacen("issuer = \"https://login.example.com\"", "issuer = \"https://login.example.org\"", 1)
        .replacen("scopes = [\"t\"]", "scopes = [\"u\"]", 1);
    let plan = planned(&rows, &text);
    assert_eq!(
        lines(&plan),
        [
            "remove issuer https://login.example.com",
            "add issuer https://login.example.org",
            "change agent b: tenants, token_ttl",
            "change delegation a->b#2: scopes",
        ]
    );
    assert_eq!(plan.changes.len(), 4);
    let json = serde_json::to_value(&plan.lines[2]).unwrap();
    let expected = serde_json::json!({
        "action": "change", "kind": "agent", "id": "b", "keys": ["tenants", "token_ttl"], "disabled_by_admin": false
    });
    assert_eq!(json, expected);
}

#[test]
fn entries_that_only_change_places_change_nothing() {
    let rows = rows_of(FILE);
    let (rest, last) =
        FILE.split_once("[[delegations]]").map(|(head, tail)| (head, format!("[[delegations]]{tail}"))).unwrap();
    let (first, second) = last.split_once("\n\n").unwrap();
    let turned = format!("{second}\n{first}\n{rest}");
    assert_eq!(lines(&planned(&rows, &turned)), [""; 0]);
}

#[test]
fn a_removed_first_delegation_leaves_the_second_its_name() {
    let rows = rows_of(FILE);
    let text = FILE.replacen(
        "\n[[delegations]]\nactor = \"a\"\ntarget = \"b\"\nscopes = [\"s\"]\ntenants = [\"acme\"]\n",
        "",
        1,
    );
    let plan = planned(&rows, &text);
    assert_eq!(lines(&plan), ["remove delegation a->b"]);
    let back = planned(&applied(&rows, &plan), FILE);
    assert_eq!(lines(&back), ["add delegation a->b"]);
}

#[test]
fn what_an_admin_disabled_stays_disabled() {
    let mut rows = rows_of(FILE);
    row(&mut rows, EntryKind::Agent, "b").disabled_by_admin = true;
    assert_eq!(lines(&planned(&rows, FILE)), [""; 0]);
    let changed = FILE.replacen("id = \"b\"", "id = \"b\"\ntoken_ttl = \"2m\"", 1);
    let plan = planned(&rows, &changed);
    assert_eq!(lines(&plan), ["change agent b: token_ttl (disabled by an administrator)"]);
    let mut after = applied(&rows, &plan);
    assert!(row(&mut after, EntryKind::Agent, "b").disabled_by_admin);
}

const WITHOUT_ISSUER: &str = "[[issuers]]\nissuer = \"https://login.example.com\"\n";

#[test]
fn what_an_admin_disabled_outlives_its_place_in_the_file() {
    let mut rows = rows_of(FILE);
    row(&mut rows, EntryKind::Issuer, "https://login.example.com").disabled_by_admin = true;
    let without = FILE.replacen(WITHOUT_ISSUER, "", 1);
    let plan = planned(&rows, &without);
    assert_eq!(lines(&plan), ["keep issuer https://login.example.com (disabled by an administrator)"]);
    let mut rows = applied(&rows, &plan);
    assert!(planned(&rows, &without).is_empty(), "it is told once");

    let back = planned(&rows, FILE);
    assert_eq!(lines(&back), ["change issuer https://login.example.com: disabled (disabled by an administrator)"]);
    let mut again = applied(&rows, &back);
    assert!(row(&mut again, EntryKind::Issuer, "https://login.example.com").disabled_by_admin);

    row(&mut rows, EntryKind::Issuer, "https://login.example.com").disabled_by_admin = false;
    let registry = Registry::from_rows(Version::default(), &rows).unwrap();
    assert!(registry.issuer("https://login.example.com").unwrap().disabled, "a lifted disablement brings nothing back");
    assert_eq!(lines(&planned(&rows, &without)), ["remove issuer https://login.example.com"]);
}

#[test]
fn an_edited_delegation_does_not_escape_its_disablement() {
    let mut rows = rows_of(FILE);
    row(&mut rows, EntryKind::Delegation, "a->b#2").disabled_by_admin = true;
    let edited = FILE.replacen(
        "scopes = [\"t\"]\ntenants = [\"globex\"]",
        "scopes = [\"u\"]\ntenants = [\"globex\", \"initech\"]",
        1,
    );
    let plan = planned(&rows, &edited);
    assert_eq!(lines(&plan), ["change delegation a->b#2: scopes, tenants (disabled by an administrator)"]);
    let split = FILE.replacen("tenants = [\"globex\"]", "tenants = [\"globex\"]\nmax_ttl = \"1m\"\n[[delegations]]\nactor = \"a\"\ntarget = \"b\"\nscopes = [\"x\"]\ntenants = [\"initech\"]", 1);
    assert_eq!(
        lines(&planned(&rows, &split)),
        ["change delegation a->b#2: max_ttl (disabled by an administrator)", "add delegation a->b#3"]
    );
}

#[test]
fn both_halves_of_a_disabled_delegation_are_disabled() {
    let one = FILE.split("\n[[delegations]]").next().unwrap().to_owned()
        + "\n[[delegations]]\nactor = \"a\"\ntarget = \"b\"\nscopes = [\"s\"]\n";
    let mut rows = rows_of(&one);
    row(&mut rows, EntryKind::Delegation, "a->b").disabled_by_admin = true;
    let plan = planned(&rows, FILE);
    assert_eq!(
        lines(&plan),
        [
            "change delegation a->b: tenants (disabled by an administrator)",
            "add delegation a->b#2 (disabled by an administrator)"
        ]
    );
    assert!(planned(&applied(&rows, &plan), FILE).is_empty());
}

#[test]
fn what_the_api_made_is_left_alone() {
    let mut rows = rows_of(FILE);
    for row in &mut rows {
        row.origin = Origin::Api;
    }
    let mine = "[[agents]]\nid = \"c\"\n";
    assert_eq!(lines(&planned(&rows, mine)), ["add agent c"]);
}

#[test]
fn what_the_api_holds_is_a_conflict() {
    let mut rows = rows_of(FILE);
    let agent = row(&mut rows, EntryKind::Agent, "b");
    (agent.origin, agent.body) = (Origin::Api, r#"{"id":"b","audience":["other"]}"#.to_owned());
    assert_eq!(
        errors(&rows, FILE),
        [
            "/etc/sts/r.toml:9: error: agent \"b\" was made through the admin API, with other content; `sts-server registry export` shows it: take it over as it is, delete it there, or leave it out of the file"
        ]
    );
    let named = "[[agents]]\nid = \"c\"\naudience = [\"b\"]\n";
    assert_eq!(
        errors(&rows, named),
        ["/etc/sts/r.toml:3: error: audience \"b\" of agent \"c\" is a name of agent \"b\" in the database"]
    );
}

#[test]
fn what_the_api_made_with_the_same_content_is_taken_over() {
    let mut rows = rows_of(FILE);
    row(&mut rows, EntryKind::Agent, "b").origin = Origin::Api;
    row(&mut rows, EntryKind::Delegation, "a->b").origin = Origin::Api;
    let plan = planned(&rows, FILE);
    assert_eq!(lines(&plan), ["adopt agent b", "adopt delegation a->b"]);
    let adopted = applied(&rows, &plan);
    assert!(adopted.iter().all(|row| row.origin == Origin::File));
    assert!(planned(&adopted, FILE).is_empty());
}

#[test]
fn a_delegation_of_the_file_may_not_cover_what_one_of_the_api_covers() {
    let mut rows = rows_of(FILE);
    row(&mut rows, EntryKind::Delegation, "a->b").origin = Origin::Api;
    assert_eq!(
        errors(&rows, &FILE.replacen("tenants = [\"acme\"]", "tenants = [\"acme\", \"initech\"]", 1)),
        [
            "/etc/sts/r.toml:12: error: delegation a->b covers subjects that the one in the database covers; keep their tenants or their issuers apart: delegations are never combined"
        ]
    );
    let apart = FILE.replacen("tenants = [\"acme\"]", "tenants = [\"initech\"]", 1);
    let plan = planned(&rows, &apart);
    assert_eq!(lines(&plan), ["add delegation a->b#3"]);
}

#[test]
fn a_file_may_drop_what_only_the_api_still_names() {
    let mut rows = rows_of(FILE);
    for id in ["a->b", "a->b#2"] {
        row(&mut rows, EntryKind::Delegation, id).origin = Origin::Api;
    }
    let plan = planned(&rows, "[[agents]]\nid = \"b\"\n");
    assert_eq!(lines(&plan), ["remove issuer https://login.example.com", "remove agent a"]);
    let warnings: Vec<String> = plan.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "database: warning: actor \"a\" of a delegation is not an agent; did you mean \"b\"?",
            "database: warning: actor \"a\" of a delegation is not an agent; did you mean \"b\"?"
        ]
    );
}

#[test]
fn a_file_with_faults_is_not_planned() {
    let file = RegistryFile::parse(Path::new("r.toml"), "[[agents]]\nid = \"a\"\ncolour = 1\n[[agents]]\nid = \"a\"\n");
    let Err(PlanError::Faults(faults)) = plan(&[], &file, None) else { panic!("faults were expected") };
    assert_eq!(faults.len(), 2);
}

#[tokio::test]
async fn a_database_that_a_file_was_applied_to_holds_it() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}/sts.db", directory.path().display());
    let store = SqliteStore::open(&url, RowCodes::new(b"a test", Arc::new(SystemEntropy))).await.unwrap();
    store.migrate().await.unwrap();
    let first = apply(&store, &file(FILE), None, &|_| Vec::new()).await.unwrap();
    assert_eq!(first.changes.len(), 5);
    let stored = store.entries().await.unwrap();
    let version = stored.version;
    let registry = Registry::from_rows(version, &stored.all()).unwrap();
    assert_eq!(registry.delegations("a", "b").len(), 2);
    assert!(apply(&store, &file(FILE), None, &|_| Vec::new()).await.unwrap().is_empty());
    assert_eq!(store.state().await.unwrap().versions.registry, version, "an empty plan writes nothing");
    store.close().await;
}

/// A delegation that the strategy below makes.
#[derive(Debug, Clone)]
struct Drawn {
    actor: usize,
    target: usize,
    tenant: usize,
    max_ttl: u8,
}

/// A registry file of up to four agents and delegations between them that do not overlap, in any order.
fn registry_text() -> impl Strategy<Value = String> {
    let agents = prop::collection::vec(prop::option::of(1_u8..4), 4);
    let drawn = (0..4_usize, 0..4_usize, 0..3_usize, 1_u8..4).prop_map(|(actor, target, tenant, max_ttl)| Drawn {
        actor,
        target,
        tenant,
        max_ttl,
    });
    let delegations = prop::collection::vec(drawn, 0..8);
    (agents, delegations, any::<bool>()).prop_map(|(agents, delegations, issuer)| {
        let mut text = String::new();
        if issuer {
            text += "[[issuers]]\nissuer = \"https://login.example.com\"\n";
        }
        for (index, ttl) in agents.iter().enumerate() {
            if let Some(ttl) = ttl {
                let secret = "0".repeat(64);
                text += &format!("[[agents]]\nid = \"a{index}\"\ntoken_ttl = \"{ttl}m\"\nauth.client_secret_sha256 = \"{secret}\"\n");
            }
        }
        let mut seen = Vec::new();
        for Drawn { actor, target, tenant, max_ttl } in delegations {
            if agents[actor].is_none() || agents[target].is_none() || seen.contains(&(actor, target, tenant)) {
                continue;
            }
            seen.push((actor, target, tenant));
            text += &format!(
                "[[delegations]]\nactor = \"a{actor}\"\ntarget = \"a{target}\"\nscopes = [\"s\"]\ntenants = [\"t{tenant}\"]\nmax_ttl = \"{max_ttl}m\"\nreentrant = true\n"
            );
        }
        text
    })
}

proptest! {
    /// Files are applied one after the other while an administrator disables entries.
    #[test]
    fn applying_twice_changes_nothing_and_no_disablement_is_lifted(
        texts in prop::collection::vec(registry_text(), 1..5),
        disabled in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
    ) {
        let mut rows: Vec<EntryRow> = Vec::new();
        for (round, text) in texts.iter().enumerate() {
            let file = file(text);
            let plan_of_file = plan(&rows, &file, None).unwrap();
            let after = applied(&rows, &plan_of_file);
            prop_assert!(plan(&after, &file, None).unwrap().is_empty());
            prop_assert_eq!(plan_of_file.changes.len(), plan_of_file.lines.len());

            for old in rows.iter().filter(|row| row.disabled_by_admin) {
                prop_assert!(after.iter().any(|row| (row.kind, &row.id) == (old.kind, &old.id) && row.disabled_by_admin));
            }
            let registry = Registry::from_rows(Version::default(), &after).unwrap();
            for agent in &file.entries().agents {
                let stored = registry.agent(&agent.entry.id).unwrap();
                let mut expected = agent.entry.clone();
                expected.disabled = stored.disabled;
                prop_assert_eq!(&**stored, &expected);
            }
            for delegation in &file.entries().delegations {
                let stored = registry.delegations(&delegation.entry.actor, &delegation.entry.target);
                let same = stored.iter().filter(|stored| {
                    let mut expected = delegation.entry.clone();
                    expected.disabled = stored.disabled;
                    expected.id.clone_from(&stored.id);
                    ***stored == expected
                });
                prop_assert_eq!(same.count(), 1);
            }
            let live = |row: &&EntryRow| !row.disabled_by_admin;
            let wanted = file.entries().issuers.len() + file.entries().agents.len() + file.entries().delegations.len();
            prop_assert!(after.iter().filter(live).count() <= wanted);
            rows = after;
            if let Some(index) = disabled.get(round).filter(|_| !rows.is_empty()) {
                let index = index.index(rows.len());
                rows[index].disabled_by_admin = true;
            }
        }
    }
}
