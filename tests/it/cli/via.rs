//! `--via`: commands on a running server, without its configuration, its database and its master key.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Uri;
use axum::response::Redirect;
use axum::{Json, Router};
use serde_json::json;
use sts_tests::Operators;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{IDP, Shop, claims, follows};
use crate::process::{Outcome, Serving, command, outcome};

/// The laptop of an operator: a folder with the tokens of three roles, and nothing of the server's.
struct Laptop(TempDir);

impl Laptop {
    fn open() -> Self {
        let laptop = Self(tempfile::tempdir().expect("a folder"));
        for role in ["reader", "operator", "admin"] {
            laptop.write(role, &format!("{}\n", Operators::all().token(role)), 0o600);
        }
        laptop
    }

    fn write(&self, name: &str, text: &str, mode: u32) {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).expect("the folder is ours");
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(path, permissions).expect("the file is ours");
    }

    /// Runs a command by a server, with the token of a role.
    async fn run(&self, server: &str, role: &str, arguments: &[&str]) -> Outcome {
        let mut command = command(self.0.path()).await;
        command.args(arguments).args(["--via", server, "--via-token-file", role]);
        outcome(command).await
    }
}

/// A shop whose server knows an operator of each role.
async fn serving() -> (Shop, Serving, Laptop) {
    let shop = Shop::open();
    let server = shop.folder.serve_with(&[("ADMIN__TOKENS", &Operators::all().option)]).await;
    (shop, server, Laptop::open())
}

/// Asserts that a command prints the same by the server as beside the database.
async fn same(shop: &Shop, (laptop, server): (&Laptop, &Serving), arguments: &[&str], code: i32) -> String {
    let [here, there] = [shop.folder.run(arguments).await, laptop.run(server.admin(), "reader", arguments).await];
    assert_eq!(here.ended_with(code), there.ended_with(code), "{arguments:?}");
    here.stdout
}

#[tokio::test]
async fn what_a_command_reads_is_the_same_by_a_server_as_beside_the_database() {
    let (shop, server, laptop) = serving().await;
    let token = shop.token().await;
    let jti = claims(&token)["jti"].as_str().expect("a name").to_owned();
    assert_eq!(shop.exchange("no token").await["error"], "invalid_request");
    // Each explanation is of its moment: what they say of times differs.
    let alice = ["explain", "--actor", "coordinator", "--target", "inventory", "--issuer", IDP, "--sub", "alice"];
    let allowed = laptop.run(server.admin(), "reader", &[&alice[..], &["--tenant", "acme"]].concat()).await;
    assert!(allowed.ended_with(0).contains("allowed by coordinator->inventory"), "{allowed:?}");
    let asked = laptop.run(server.admin(), "reader", &alice).await;
    assert!(asked.ended_with(1).contains("give the tenant of the supposed user: --tenant TENANT"), "{asked:?}");

    shop.folder.run(&["revoke", "--sub", "alice", "--issuer", IDP]).await.ended_with(0);
    shop.folder.run(&["revoke", "--agent", "inventory", "--hold"]).await.ended_with(0);

    for (arguments, code) in [
        (&["revoke", "--list"][..], 0),
        (&["keys", "list"], 0),
        (&["approvals", "list"], 0),
        (&["audit", "list"], 0),
        (&["audit", "list", "--limit", "1"], 0),
        (&["audit", "list", "--jti", &jti], 0),
        (&["audit", "list", "--outcome", "refused", "--since", "1h"], 0),
        (&["audit", "list", "--correlation", "the-request-of-alice"], 0),
        (&["audit", "list", "--correlation", "another"], 1),
        (&["audit", "export"], 0),
        (&["audit", "export", "--heads"], 0),
    ] {
        let text = same(&shop, (&laptop, &server), arguments, code).await;
        let json = same(&shop, (&laptop, &server), &[arguments, &["--json"]].concat(), code).await;
        let is_empty = arguments[0] == "approvals" || code == 1;
        assert!(is_empty || (!text.is_empty() && !json.is_empty()), "{arguments:?}");
    }
    for arguments in [&["registry", "export"][..], &["registry", "export", "--json"]] {
        let [here, there] = [shop.folder.run(arguments).await, laptop.run(server.admin(), "admin", arguments).await];
        assert_eq!(here.ended_with(0), there.ended_with(0), "{arguments:?}");
    }
}

#[tokio::test]
async fn what_a_command_changes_by_a_server_is_in_force_at_once_and_recorded_under_the_operators_name() {
    let (shop, server, laptop) = serving().await;
    let token = shop.token().await;
    let jti = claims(&token)["jti"].as_str().expect("a name").to_owned();

    let done = laptop.run(server.admin(), "operator", &["revoke", "--jti", &jti]).await;
    assert!(done.ended_with(0).starts_with("revoked: 1 entry, until "), "{done:?}");
    assert!(!shop.is_active(&token).await, "no second passes: the server answered");
    let lifted = laptop.run(server.admin(), "operator", &["revoke", "--jti", &jti, "--lift"]).await;
    assert_eq!(lifted.ended_with(0), "lifted\n");
    let nothing = laptop.run(server.admin(), "operator", &["revoke", "--jti", &jti, "--lift"]).await;
    assert_eq!(nothing.ended_with(1), "nothing to lift\n");
    follows("the token is active again", async || shop.is_active(&token).await).await;

    let rotated = laptop.run(server.admin(), "operator", &["keys", "rotate", "--now", "--json"]).await;
    rotated.ended_with(0);
    let retired = rotated.json().into_iter().find(|key| key["state"] == "retired").expect("a retired key");
    let kid = retired["kid"].as_str().expect("a kid").to_owned();
    laptop.run(server.admin(), "admin", &["keys", "revoke", &kid]).await.ended_with(0);

    let events = laptop.run(server.admin(), "reader", &["audit", "list", "--json"]).await;
    events.ended_with(0);
    for (event, operator) in [("revoked", "operator"), ("revocation.lifted", "operator"), ("keys.changed", "admin")] {
        let is_it = |row: &serde_json::Value| row["event"] == event && row["admin"] == operator;
        assert!(events.json().iter().any(is_it), "{event}: {}", events.stdout);
    }
}

#[tokio::test]
async fn a_refusal_by_a_server_names_flags_and_roles() {
    let (shop, server, laptop) = serving().await;
    for (role, arguments, error) in [
        (
            "operator",
            &["revoke", "--agent", "inventry"][..],
            "error: --agent: the registry has no agent \"inventry\"; did you mean \"inventory\"? add --unknown to revoke it anyway",
        ),
        ("operator", &["revoke", "--jti", "x", "--hold"], "error: --hold: is only for sub, agent, tenant and owner"),
        ("reader", &["revoke", "--agent", "inventory"], "refused: the token must have the role operator"),
        ("operator", &["keys", "revoke", "x"], "refused: the token must have the role admin"),
        ("operator", &["registry", "export"], "refused: the token must have the role admin"),
        ("admin", &["registry", "accept"], "`registry accept` needs the master key"),
        ("reader", &["approvals", "show", "x"], "The object does not exist. (not_found)"),
        ("reader", &["serve"], "--via (STS_VIA): `serve` starts a server on this machine"),
        ("reader", &["audit", "verify"], "`audit verify` needs the master key"),
        ("reader", &["keys", "list", "--config", "sts.toml"], "does not accept --config"),
    ] {
        let refused = laptop.run(server.admin(), role, arguments).await;
        refused.ended_with(2);
        assert!(refused.stderr.contains(error), "{arguments:?}: {}", refused.stderr);
    }
    assert_eq!(shop.folder.run(&["revoke", "--list"]).await.stdout, "", "nothing was revoked");
}

#[tokio::test]
async fn the_variable_of_a_server_and_a_configuration_are_refused_together() {
    let (_shop, server, laptop) = serving().await;
    for (arguments, code, error) in
        [(&["keys", "list"][..], 0, ""), (&["keys", "list", "--config", "sts.toml"], 2, "does not accept --config")]
    {
        let mut command = command(laptop.0.path()).await;
        command.args(arguments).env("STS_VIA", server.admin()).env("STS_VIA_TOKEN_FILE", "reader");
        let ended = outcome(command).await;
        ended.ended_with(code);
        assert!(ended.stderr.contains(error), "{arguments:?}: {}", ended.stderr);
    }
}

#[tokio::test]
async fn unused_entries_are_listed_and_the_agents_of_an_owner_revoked_by_a_server() {
    let idle = "\n[[agents]]\nid = \"idle\"\nowner = \"Team Stock\"\n";
    let shop = Shop::with("sqlite://sts.db", idle);
    let server = shop.folder.serve_with(&[("ADMIN__TOKENS", &Operators::all().option)]).await;
    let laptop = Laptop::open();
    shop.token().await;
    let unused = laptop.run(server.admin(), "reader", &["registry", "unused", "--days", "30"]).await;
    let lines = unused.ended_with(0);
    assert!(lines.starts_with("agent idle: never used, owner Team Stock\n1 entry without a use since "), "{lines}");

    let owner = ["revoke", "--owner", "Team Stock"];
    let refused = laptop.run(server.admin(), "reader", &owner).await;
    refused.ended_with(2);
    assert!(refused.stderr.contains("the token must have the role operator"), "{refused:?}");
    let unknown = laptop.run(server.admin(), "operator", &["revoke", "--owner", "Team Stok"]).await;
    unknown.ended_with(2);
    assert!(unknown.stderr.contains("--owner: no agent of the registry has the owner \"Team Stok\""), "{unknown:?}");
    assert_eq!(shop.folder.run(&["revoke", "--list"]).await.stdout, "", "nothing was revoked");
    let revoked = laptop.run(server.admin(), "operator", &owner).await;
    assert!(revoked.ended_with(0).starts_with("1 agent of Team Stock: idle\nrevoked: 1 entry, until "), "{revoked:?}");
    let lift = [&owner[..], &["--lift"]].concat();
    assert_eq!(laptop.run(server.admin(), "operator", &lift).await.ended_with(0), "lifted\n");
    // The revocation of the agent alone is lifted too.
    laptop.run(server.admin(), "operator", &["revoke", "--agent", "idle"]).await.ended_with(0);
    assert_eq!(laptop.run(server.admin(), "operator", &lift).await.ended_with(0), "lifted\n");
    assert_eq!(shop.folder.run(&["revoke", "--list"]).await.stdout, "");
}

/// A server whose registry has two pages. Each answer has the next version, and the last one stays.
async fn registry_of_versions(versions: &'static [&'static str]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let answers = Arc::new(AtomicUsize::new(0));
    let pages = Router::new().fallback(async move |uri: Uri| {
        let answer = answers.fetch_add(1, Ordering::Relaxed);
        let version = versions.get(answer).or(versions.last());
        Json(match uri.query() {
            None => json!({ "version": version, "agents": [{ "id": "a" }], "delegations": [], "next": "1" }),
            Some(_) => json!({ "version": version, "agents": [{ "id": "b" }], "delegations": [] }),
        })
    });
    tokio::spawn(async move { axum::serve(listener, pages).await });
    address
}

#[tokio::test]
async fn an_export_has_pages_of_one_version_alone() {
    let laptop = Laptop::open();
    let export = ["registry", "export", "--json"];
    let changed_once = registry_of_versions(&["1", "2"]).await;
    let exported = laptop.run(&changed_once, "admin", &export).await;
    exported.ended_with(0);
    assert_eq!(exported.json(), [json!({ "agents": [{ "id": "a" }, { "id": "b" }] })]);

    let changes = &["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"];
    let exported = laptop.run(&registry_of_versions(changes).await, "admin", &export).await;
    assert_eq!(exported.ended_with(2), "");
    assert!(exported.stderr.contains("changed while it was read: run the command again"), "{exported:?}");
}

#[tokio::test]
async fn a_token_goes_to_no_other_server_and_comes_from_no_open_file() {
    let (_shop, server, laptop) = serving().await;
    laptop.write("open", Operators::all().token("reader"), 0o644);
    laptop.write("empty", "\n", 0o600);
    laptop.write("wrong", "stsadmin_carol.x", 0o600);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let elsewhere = format!("http://{}", listener.local_addr().expect("an address"));
    let target = format!("{}/admin/v1/keys", server.admin());
    let redirects = Router::new().fallback(async move || Ok::<_, Infallible>(Redirect::temporary(&target)));
    tokio::spawn(async move { axum::serve(listener, redirects).await });
    for (server, token, error) in [
        (server.admin(), "open", "holds secrets, and others may read or write it (mode 0644): chmod 0600"),
        (server.admin(), "empty", "must have one line: the token"),
        (server.admin(), "missing", "cannot be read"),
        (server.admin(), "wrong", "The bearer token is not accepted. (admin_token_invalid)"),
        ("http://sts.example.com", "reader", "http is for the loopback interface only"),
        ("http://127.0.0.1:1", "reader", "no answer from http://127.0.0.1:1"),
        (server.public(), "reader", "--via must name the admin listener of sts-server"),
        (elsewhere.as_str(), "reader", "redirects are not followed"),
    ] {
        let refused = laptop.run(server, token, &["keys", "list"]).await;
        refused.ended_with(2);
        assert!(refused.stderr.contains(error), "{server} {token}: {}", refused.stderr);
    }
    let mut without = command(laptop.0.path()).await;
    without.args(["keys", "list", "--via", server.admin()]);
    assert!(outcome(without).await.stderr.contains("--via needs --via-token-file FILE"));
}
