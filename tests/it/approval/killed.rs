//! Three server processes on one database, of which one is killed (SIGKILL) at each step of an approval: with the request on its way, with
//! its effect committed, and after its answer.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sts_server::keys::MasterKey;
use sts_server::record::{Event, EventKind};
use sts_server::storage::{self, ApprovalState, AuditFilter, Store};
use sts_tests::invariants::check_invariants;

use crate::cli::{SECRET, Shop};
use crate::process::{Launch, Serving};

const APPROVAL: &str = "approval = { scopes = ['stock:read'], by = 'user' }\n";
const EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const DEFERRED: &str = "urn:ietf:params:oauth:grant-type:deferred";
/// The longest until a server has read what another one committed.
const PATIENCE: Duration = Duration::from_secs(30);

/// The requests of an approval, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Deferral,
    Decision,
    Redemption,
}

/// The moment at which the server of a request is killed.
#[derive(Debug, Clone, Copy)]
enum Cut {
    /// As soon as the request is on its way.
    Sent,
    /// As soon as the effect of the request is in the database.
    Committed,
    /// Once the answer has arrived.
    After,
}

struct Site {
    shop: Shop,
    launches: [Launch; 3],
    servers: [Option<Serving>; 3],
    store: Arc<dyn Store>,
}

impl Site {
    async fn open(url: &str) -> Self {
        let shop = Shop::with(url, APPROVAL);
        let launches = [Launch::default(), Launch::default().elsewhere(), Launch::default().elsewhere()];
        let first = shop.folder.launch(&launches[0]).await;
        let master = MasterKey::read(&shop.folder.path("master.key")).expect("the master key");
        let store = storage::open(url, 4, sts_tests::keyring::row_codes(&master)).await.expect("the database");
        let mut site = Self { shop, launches, servers: [Some(first), None, None], store };
        for number in 1..3 {
            site.start(number).await;
        }
        site
    }

    async fn start(&mut self, number: usize) {
        self.servers[number] = Some(self.shop.folder.launch(&self.launches[number]).await);
    }

    fn server(&self, number: usize) -> &Serving {
        self.servers[number].as_ref().expect("it runs")
    }

    /// The answer of a server, unless it is killed before.
    async fn answer(
        &mut self,
        number: usize,
        request: reqwest::RequestBuilder,
        cut: Option<(Cut, Stage, &str)>,
    ) -> Option<Value> {
        let answer = async { request.send().await.ok()?.json().await.ok() };
        let Some((cut, stage, user)) = cut else { return answer.await };
        let victim = self.servers[number].take().expect("it runs");
        match cut {
            Cut::After => {
                let answer = answer.await;
                victim.kill().await;
                answer
            }
            Cut::Sent => tokio::join!(answer, victim.kill()).0,
            Cut::Committed => {
                let kill = async {
                    tokio::time::timeout(PATIENCE, self.commits(stage, user)).await.expect("it has an effect");
                    victim.kill().await;
                };
                tokio::join!(answer, kill).0
            }
        }
    }

    /// Waits until the effect of a request is in the database.
    async fn commits(&self, stage: Stage, user: &str) {
        while !match stage {
            Stage::Deferral => self.state_of(user).await.is_some(),
            Stage::Decision => self.state_of(user).await == Some(ApprovalState::Granted),
            Stage::Redemption => self.has_token(user).await,
        } {}
    }

    async fn state_of(&self, user: &str) -> Option<ApprovalState> {
        let stored = self.store.approvals().await.expect("the database");
        stored.rows.iter().find(|coded| coded.row.principal_sub == user).map(|coded| coded.row.state)
    }

    async fn has_token(&self, user: &str) -> bool {
        let page = self.store.audit(&AuditFilter::default(), 1_000).await.expect("the audit log");
        let mut events = page.rows.iter().map(|row| serde_json::from_str::<Event>(&row.row.body).expect("an event"));
        events.any(|event| event.event == EventKind::TokenIssued && event.sub.as_deref() == Some(user))
    }

    fn token_request(&self, number: usize, form: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let url = format!("{}/oauth2/token", self.server(number).public());
        self.shop.http.post(url).basic_auth("coordinator", Some(SECRET)).form(form)
    }

    fn deferral(&self, number: usize, user: &str) -> reqwest::RequestBuilder {
        let subject_token = self.shop.token_of(user, "web-app");
        let form = [
            ("grant_type", EXCHANGE),
            ("subject_token", &subject_token),
            ("subject_token_type", "urn:ietf:params:oauth:token-type:jwt"),
            ("audience", "inventory"),
            ("completion_mode", "deferred"),
        ];
        self.token_request(number, &form)
    }

    fn poll(&self, number: usize, code: &str) -> reqwest::RequestBuilder {
        self.token_request(number, &[("grant_type", DEFERRED), ("deferral_code", code)])
    }

    fn approval(&self, number: usize, id: &str, user: &str, decision: Option<&str>) -> reqwest::RequestBuilder {
        let url = format!("{}/approvals/{id}", self.server(number).public());
        let request = match decision {
            Some(decision) => self.shop.http.post(url).json(&json!({ "decision": decision })),
            None => self.shop.http.get(url),
        };
        request.bearer_auth(self.shop.token_of(user, self.shop.folder.issuer()))
    }

    /// The one approval of a user.
    async fn only_approval(&self, user: &str) -> Value {
        let listed = self.shop.folder.run(&["approvals", "list", "--all", "--json"]).await;
        let of_user: Vec<Value> = listed.json().into_iter().filter(|approval| approval["sub"] == user).collect();
        assert_eq!(of_user.len(), 1, "equal requests share one: {of_user:?}");
        of_user[0].clone()
    }

    /// One approval from its request to its token, whose server is killed at a stage.
    async fn run(&mut self, user: &str, victim: usize, killed_at: Stage, cut: Cut) {
        let (other, third) = ((victim + 1) % 3, (victim + 2) % 3);
        let cut_at = |stage| (stage == killed_at).then_some((cut, stage, user));
        let at = |stage| if killed_at < stage { other } else { victim };
        let context = format!("{user}: {killed_at:?} {cut:?}");

        let request = self.deferral(victim, user);
        let answer = match self.answer(victim, request, cut_at(Stage::Deferral)).await {
            Some(answer) => answer,
            None => self.answer(other, self.deferral(other, user), None).await.expect("an answer"),
        };
        let code = answer["deferral_code"].as_str().unwrap_or_else(|| panic!("{context}: {answer}")).to_owned();
        let approval = self.only_approval(user).await;
        assert_eq!(approval["state"], "pending", "{context}");
        let id = approval["id"].as_str().expect("an id");

        let decider = at(Stage::Decision);
        let request = self.approval(decider, id, user, Some("grant"));
        match self.answer(decider, request, cut_at(Stage::Decision)).await {
            Some(answer) => assert_eq!(answer["state"], "granted", "{context}"),
            None => {
                // It is decided, or not: the person decides again.
                let again = self.approval(other, id, user, Some("grant"));
                self.answer(other, again, None).await.expect("an answer");
            }
        }
        assert_eq!(self.only_approval(user).await["state"], "granted", "{context}");

        let redeemer = at(Stage::Redemption);
        for number in [redeemer, other, third] {
            self.follows(number, id, user).await;
        }
        let request = self.poll(redeemer, &code);
        let first = self.answer(redeemer, request, cut_at(Stage::Redemption)).await;
        let second = self.answer(third, self.poll(third, &code), None).await.expect("an answer");
        match first {
            Some(first) => {
                assert!(first["access_token"].is_string(), "{context}: {first}");
                assert_eq!(second["error"], "invalid_grant", "{context}: {second}");
            }
            None => {
                assert!(second["access_token"].is_string() || second["error"] == "invalid_grant", "{context}: {second}")
            }
        }
        self.start(victim).await;
        let late = self.answer(victim, self.poll(victim, &code), None).await.expect("an answer");
        assert_eq!(late["error"], "invalid_grant", "{context}: {late}");
    }

    /// Waits until a server shows the approval as granted.
    async fn follows(&self, number: usize, id: &str, user: &str) {
        let follows = async {
            loop {
                let answer = self.approval(number, id, user, None).send().await.expect("an answer");
                let shown: Value = answer.json().await.expect("JSON");
                if shown["state"] == "granted" {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, follows).await.expect("the server follows");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_at_any_step_of_an_approval_loses_and_doubles_nothing() {
    let database = sts_tests::postgres::database().await;
    let mut site = Site::open(database.url()).await;
    let mut users = Vec::new();
    for stage in [Stage::Deferral, Stage::Decision, Stage::Redemption] {
        for cut in [Cut::Sent, Cut::Committed, Cut::After] {
            let user = format!("user-{}", users.len());
            site.run(&user, users.len() % 3, stage, cut).await;
            users.push(user);
        }
    }
    let master = MasterKey::read(&site.shop.folder.path("master.key")).expect("the master key");
    let issued = check_invariants(&*site.store, &master, site.shop.folder.issuer()).await.expect("the invariants hold");
    for user in users {
        let of_user = |event: &&Event| event.sub.as_deref() == Some(&user);
        assert_eq!(issued.iter().map(|(_, event)| event).filter(of_user).count(), 1, "{user}");
    }
    site.store.close().await;
}
