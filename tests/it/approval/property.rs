//! No token is issued that no standing approval covers, by no sequence of requests, decisions, revocations and time.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};
use serde_json::{Value, json};
use sts_server::keys::MasterKey;
use sts_tests::invariants::check_invariants;
use sts_tests::{Answer, FormRequest, Harness, Replica, Setup};

use super::{BY_OPERATOR, decide};

const USERS: [&str; 3] = ["alice", "bob", "carol"];
/// What a granted approval is remembered for, in seconds.
const REMEMBER: i64 = 600;
const WAIT: i64 = 300;
/// The polls with one code that are not slowed down.
const POLLS: usize = 12;

#[derive(Debug, Clone)]
enum Step {
    /// An exchange for a user, of an amount, here or at the other server, that waits or comes back.
    Ask {
        user: usize,
        amount: u32,
        elsewhere: bool,
        waits: bool,
    },
    /// A poll with one of the codes.
    Poll {
        code: usize,
        elsewhere: bool,
    },
    Decide {
        approval: usize,
        decision: &'static str,
    },
    /// A revocation, which is lifted at once.
    Revoke {
        what: usize,
    },
    Advance {
        seconds: u64,
    },
}

#[derive(Debug)]
struct Known {
    id: String,
    user: usize,
    amount: u32,
    state: &'static str,
    expires_at: i64,
}

struct Code {
    code: String,
    user: usize,
    amount: u32,
    expires_at: i64,
    is_redeemed: bool,
    polls: usize,
}

struct Run {
    harness: Harness,
    replica: Replica,
    approvals: Vec<Known>,
    codes: Vec<Code>,
    issued: usize,
}

fn step() -> impl Strategy<Value = Step> {
    let (user, amount) = (0..USERS.len(), 1..3_u32);
    prop_oneof![
        5 => (user, amount, any::<bool>(), any::<bool>())
            .prop_map(|(user, amount, elsewhere, waits)| Step::Ask { user, amount, elsewhere, waits }),
        3 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(code, elsewhere)| Step::Poll { code: code.index(1000), elsewhere }),
        4 => (any::<prop::sample::Index>(), prop::sample::select(vec!["grant", "grant", "grant", "deny", "withdraw"]))
            .prop_map(|(approval, decision)| Step::Decide { approval: approval.index(1000), decision }),
        1 => (0..4_usize).prop_map(|what| Step::Revoke { what }),
        1 => (1..400_u64).prop_map(|seconds| Step::Advance { seconds }),
    ]
}

impl Run {
    async fn start() -> Self {
        let setup = Setup::default().operators();
        let setup = setup.registry(|registry| registry.delegation("coordinator", "inventory", BY_OPERATOR));
        let harness = setup.start().await;
        let replica = harness.replica().await;
        Self { harness, replica, approvals: Vec::new(), codes: Vec::new(), issued: 0 }
    }

    /// Whether an approval stands for this user and amount.
    fn is_covered(&self, user: usize, amount: u32) -> bool {
        let now = self.harness.now();
        let mut of = self.approvals.iter().filter(|known| (known.user, known.amount) == (user, amount));
        of.any(|known| known.state == "granted" && known.expires_at > now)
    }

    async fn take(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Ask { user, amount, elsewhere, waits } => self.ask(*user, *amount, (*elsewhere, *waits)).await,
            Step::Poll { code, elsewhere } => self.poll(*code, *elsewhere).await,
            Step::Decide { approval, decision } => {
                self.decide(*approval, decision).await;
                Ok(())
            }
            Step::Revoke { what } => {
                self.revoke(*what).await;
                Ok(())
            }
            Step::Advance { seconds } => {
                self.harness.advance(*seconds);
                Ok(())
            }
        }
    }

    /// The answer here, or at the other server. That one may not know a grant yet: what must pass is sent again after it has read, if its
    /// answer says that an approval is missing.
    async fn answer(&self, request: &FormRequest, elsewhere: bool, must_pass: bool) -> Answer {
        if !elsewhere {
            return request.clone().send().await;
        }
        let answer = request.clone().at(&self.replica.wire).send().await;
        let is_behind =
            answer.status == 400 && ["interaction_required", "authorization_pending"].contains(&answer.error());
        if !must_pass || !is_behind {
            return answer;
        }
        self.replica.server.sts().refresh().await.expect("a database");
        request.clone().at(&self.replica.wire).send().await
    }

    async fn ask(&mut self, user: usize, amount: u32, (elsewhere, waits): (bool, bool)) -> Result<(), String> {
        let details = json!([{ "type": "mcp_tool", "actions": ["refund"], "limits": { "amount": amount } }]);
        let token = self.harness.user_token_with(&json!({ "sub": USERS[user] }));
        let request = self.harness.exchange_by("coordinator", &token, "inventory");
        let request = request.set("scope", "stock:read").set("authorization_details", details.to_string());
        let request = if waits { request.set("completion_mode", "deferred") } else { request };
        let answer = self.answer(&request, elsewhere, self.is_covered(user, amount)).await;
        self.judge(&answer, (user, amount), self.is_covered(user, amount))?;
        if let Some(code) = answer.json["deferral_code"].as_str() {
            self.harness.seen.remember(code);
            let expires_at = self.harness.now() + answer.json["expires_in"].as_i64().expect("a number");
            self.codes.push(Code { code: code.to_owned(), user, amount, expires_at, is_redeemed: false, polls: 0 });
        }
        self.learn(user, amount).await;
        Ok(())
    }

    /// Learns the approval that a request made.
    async fn learn(&mut self, user: usize, amount: u32) {
        let answer = self.harness.admin("GET", "/approvals").by("reader").send().await;
        for approval in answer.json["approvals"].as_array().expect("approvals") {
            let id = approval["id"].as_str().expect("an id");
            if self.approvals.iter().all(|known| known.id != id) {
                let expires_at = self.harness.now() + WAIT;
                self.approvals.push(Known { id: id.to_owned(), user, amount, state: "pending", expires_at });
            }
        }
    }

    /// Issues nothing that is not covered, and everything that must pass.
    fn judge(&mut self, answer: &Answer, (user, amount): (usize, u32), must_pass: bool) -> Result<(), String> {
        if answer.status == 200 {
            self.issued += 1;
            let granted = &answer.claims()["authorization_details"][0]["limits"]["amount"];
            let is_covered = self.is_covered(user, amount);
            if !is_covered || *granted != json!(amount) || answer.claims()["sub"] != USERS[user] {
                return Err(format!("a token without an approval: {}", answer.text()));
            }
        } else if must_pass {
            return Err(format!("an approval that does not count: {}", answer.text()));
        }
        Ok(())
    }

    async fn poll(&mut self, code: usize, elsewhere: bool) -> Result<(), String> {
        if self.codes.is_empty() {
            return Ok(());
        }
        // Half of the polls are with a code that may still pass.
        let open: Vec<usize> = (0..self.codes.len()).filter(|index| !self.codes[*index].is_redeemed).collect();
        let index =
            if code.is_multiple_of(2) && !open.is_empty() { open[code % open.len()] } else { code % self.codes.len() };
        let Code { code, user, amount, expires_at, is_redeemed, polls } = &mut self.codes[index];
        *polls += 1;
        let (user, amount, is_redeemed, is_slow) = (*user, *amount, *is_redeemed, *polls <= POLLS);
        let is_late = *expires_at <= self.harness.now();
        let request = FormRequest::new(self.harness.wire(), "/oauth2/token")
            .set("grant_type", "urn:ietf:params:oauth:grant-type:deferred")
            .set("deferral_code", code.as_str())
            .authenticated(self.harness.credentials("coordinator"));
        let must_pass = self.is_covered(user, amount) && !is_redeemed && !is_late && is_slow;
        let answer = self.answer(&request, elsewhere, must_pass).await;
        self.judge(&answer, (user, amount), must_pass)?;
        if answer.status == 200 {
            if is_redeemed || is_late {
                return Err(format!("a code that is redeemed twice, or late: {}", answer.text()));
            }
            self.codes[index].is_redeemed = true;
        }
        Ok(())
    }

    async fn decide(&mut self, approval: usize, decision: &str) {
        if self.approvals.is_empty() {
            return;
        }
        let now = self.harness.now();
        // Most decisions are on an approval that waits.
        let pending: Vec<usize> = (0..self.approvals.len())
            .filter(|index| self.approvals[*index].state == "pending" && self.approvals[*index].expires_at > now)
            .collect();
        let index = if approval.is_multiple_of(4) || pending.is_empty() {
            approval % self.approvals.len()
        } else {
            pending[approval % pending.len()]
        };
        let known = &mut self.approvals[index];
        let answer = decide(&self.harness, &known.id, decision).await;
        if answer.status == 200 {
            known.state = match decision {
                "grant" => "granted",
                "deny" => "denied",
                _ => "withdrawn",
            };
            if decision == "grant" {
                known.expires_at = now + REMEMBER;
            }
        }
    }

    async fn revoke(&mut self, what: usize) {
        let named: Value = match what {
            0 => json!({ "sub": "alice" }),
            1 => json!({ "sub": "bob" }),
            2 => json!({ "agent": "coordinator" }),
            _ => json!({ "tenant": "acme" }),
        };
        let answer = self.harness.admin("POST", "/revocations").by("operator").json(&named).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let (name, value) = named.as_object().expect("an object").iter().next().expect("a name");
        let path = format!("/revocations?{name}={}", value.as_str().expect("a text"));
        assert_eq!(self.harness.admin("DELETE", &path).by("operator").send().await.status, 204);
        for known in &mut self.approvals {
            let is_open = ["pending", "granted"].contains(&known.state);
            if is_open && (what >= 2 || known.user == what) {
                known.state = "ended";
            }
        }
    }
}

#[test]
fn no_token_is_issued_that_no_standing_approval_covers() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let config = Config { cases: 12, rng_seed: RngSeed::Fixed(9396), max_shrink_iters: 64, ..Config::default() };
    let issued = std::cell::Cell::new(0);
    let steps = prop::collection::vec(step(), 20..60);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(async {
            let mut run = Run::start().await;
            for step in &steps {
                run.take(step).await.map_err(TestCaseError::fail)?;
            }
            let master = MasterKey::read(&run.harness.config.keys.master_key_file).expect("the master key");
            let checked = check_invariants(&*run.harness.store, &master, run.harness.issuer()).await;
            checked.map_err(|error| TestCaseError::fail(error.to_string()))?;
            issued.set(issued.get() + run.issued);
            Ok(())
        })
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
    assert!(issued.get() >= 25, "{} tokens: the steps lead nowhere", issued.get());
}
