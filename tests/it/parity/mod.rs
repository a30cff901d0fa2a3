//! One table: every credential that a request can carry, against everything that can be wrong with it.
//!
//! Each cell says what becomes of the credential, or why the question does not arise for it. A cell is tried with its valid twin
//! before: a good credential is served, then one thing changes, then a credential like it meets that.

mod credentials;
mod table;

use serde_json::{Value, json};
use sts_tests::{Answer, Harness, Setup, TestIssuer};

use self::credentials::{AUDIENCE, Carried, Carrier, Entries, Forgery, Names, Presented};
use self::table::{Cell, Wrong, cell};

/// Past every margin that a comparison of clocks allows for, in seconds.
const LATER: u64 = 120;

/// The outcome of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Served,
    Inactive,
    /// With this status, and this reason in the audit log or the answer; empty where no agent is known and nothing is recorded.
    Refused(u16, String),
}

struct Trial {
    harness: Harness,
    operators: TestIssuer,
    carried: Carried,
}

impl Trial {
    async fn begin(setup: Setup, carried: Carried) -> Self {
        let operators = TestIssuer::start().await;
        let harness = setup
            .operators()
            .option("ADMIN__OIDC__ISSUER", operators.url())
            .option("ADMIN__OIDC__AUDIENCE", AUDIENCE)
            .option("ADMIN__OIDC__ALGORITHMS", "ES256")
            .option("ADMIN__OIDC__READERS", "staff")
            .registry_with(|registry, names| {
                registry.delegation("runner", "inventory", "service_account = true");
                let workload = format!(
                    "workload = [{{ issuer = '{}', subject = 'system:serviceaccount:shop:coordinator' }}]",
                    names.cluster.url()
                );
                registry.agent_auth("coordinator", &workload);
            })
            .start()
            .await;
        Self { harness, operators, carried }
    }

    async fn present(&self, forgery: &Forgery) -> Presented {
        self.carried.present(&self.harness, &self.operators, forgery).await
    }

    async fn good(&self) -> Presented {
        self.present(&Forgery::default()).await
    }

    /// Every request that carries a good credential is served.
    async fn assert_served(&self, label: &str) {
        let presented = self.good().await;
        self.assert_outcome(label, presented, &Outcome::Served).await;
    }

    async fn assert_outcome(&self, label: &str, presented: Presented, expected: &Outcome) {
        for carrier in presented.carriers {
            let words = format!("{carrier:?}");
            let outcome = self.outcome(carrier).await;
            assert_eq!(outcome, *expected, "{:?}, {label}: {words}", self.carried);
        }
    }

    async fn outcome(&self, carrier: Carrier) -> Outcome {
        match carrier {
            Carrier::Admin(request) => match request.send().await {
                answer if answer.status == 200 => Outcome::Served,
                answer => Outcome::Refused(answer.status, text(&answer, "reason")),
            },
            Carrier::Asks(request) => match request.send().await {
                answer if answer.status == 200 => Outcome::Served,
                answer => Outcome::Refused(answer.status, String::new()),
            },
            Carrier::Form(request) => {
                let correlation_id = request.correlation_id();
                let answer = request.send().await;
                match (answer.status, &answer.json["active"]) {
                    (200, Value::Bool(false)) => Outcome::Inactive,
                    (200, _) => Outcome::Served,
                    (status, _) => {
                        let events = self.harness.events(&correlation_id).await;
                        let reason = events.last().and_then(|event| event.reason.clone());
                        Outcome::Refused(status, reason.unwrap_or_default())
                    }
                }
            }
        }
    }

    async fn try_cell(&mut self, wrong: Wrong) {
        let label = format!("{wrong:?}");
        let cell = cell(self.carried, wrong);
        self.assert_served(&format!("{label}: the twin")).await;
        match wrong {
            Wrong::Expired | Wrong::Typ | Wrong::Bound => self.try_forgery(wrong, cell).await,
            Wrong::IssuerDisabled | Wrong::AgentDisabled | Wrong::DelegationDisabled | Wrong::TargetDisabled => {
                self.try_disabled(wrong, cell).await;
            }
            Wrong::Token | Wrong::Transaction | Wrong::User | Wrong::Agent | Wrong::Tenant => {
                self.try_revoked(wrong, cell).await;
            }
            Wrong::UserHeld | Wrong::AgentHeld | Wrong::TenantHeld => self.try_held(wrong, cell).await,
        }
        self.assert_served(&format!("{label}: afterwards")).await;
    }

    async fn try_forgery(&self, wrong: Wrong, cell: Cell) {
        let forgery = match wrong {
            Wrong::Expired => Forgery { claims: json!({ "exp": self.harness.now() }), typ: None },
            Wrong::Typ => Forgery { claims: Value::Null, typ: Some("logout+jwt") },
            _ => Forgery { claims: json!({ "cnf": { "jkt": "x" } }), typ: None },
        };
        let Some(expected) = cell.outcome() else { return };
        let presented = self.present(&forgery).await;
        self.assert_outcome(&format!("{wrong:?}"), presented, &expected).await;
    }

    async fn try_disabled(&mut self, wrong: Wrong, cell: Cell) {
        let entries = self.carried.entries(&self.harness);
        let Some(Entries { issuer, agent, target }) = entries else {
            return assert_eq!(cell.outcome(), None, "{wrong:?}");
        };
        if wrong == Wrong::IssuerDisabled && issuer.is_none() {
            return assert_eq!(cell.outcome(), None, "{wrong:?}");
        }
        let presented = self.good().await;
        for disabled in ["disabled = true", "disabled = false"] {
            let issuer = issuer.clone();
            self.harness
                .apply(move |registry, _| match wrong {
                    Wrong::IssuerDisabled => registry.issuer(&issuer.unwrap_or_default(), disabled),
                    Wrong::AgentDisabled => registry.agent(agent, disabled),
                    Wrong::DelegationDisabled => registry.delegation(agent, target, disabled),
                    _ => registry.agent(target, disabled),
                })
                .await;
            if disabled == "disabled = true" {
                let expected = cell.outcome().expect("a cell about an entry that the credential rests on");
                for carrier in &presented.carriers {
                    let outcome = self.outcome(carrier.clone()).await;
                    assert_eq!(outcome, expected, "{:?}, {wrong:?}: {carrier:?}", self.carried);
                }
            }
        }
    }

    async fn try_revoked(&self, wrong: Wrong, cell: Cell) {
        let presented = self.good().await;
        let Some(named) = named(&presented.names, wrong) else {
            return assert_eq!(cell.outcome(), None, "{:?}, {wrong:?}", self.carried);
        };
        let expected = cell.outcome().expect("a cell about what the credential names");
        self.revoke(&named).await;
        self.assert_outcome(&format!("{wrong:?}"), presented, &expected).await;
        self.later().await;
        // A block is of what was issued until then; a credential that is issued later is served.
        self.assert_served(&format!("{wrong:?}: a later one")).await;
        self.lift(&named).await;
    }

    async fn try_held(&self, wrong: Wrong, cell: Cell) {
        let presented = self.good().await;
        let Some(mut named) = named(&presented.names, wrong) else {
            return assert_eq!(cell.outcome(), None, "{:?}, {wrong:?}", self.carried);
        };
        let expected = cell.outcome().expect("a cell about what the credential names");
        // Made before, because nothing of its kind is issued under the hold.
        let later = self.is_made_by_request().then_some(self.good().await);
        named["hold"] = json!(true);
        self.revoke(&named).await;
        self.assert_outcome(&format!("{wrong:?}"), presented, &expected).await;
        self.later().await;
        let later = match later {
            Some(later) => later,
            None => self.good().await,
        };
        self.assert_outcome(&format!("{wrong:?}: a later one"), later, &expected).await;
        self.lift(&named).await;
    }

    /// Returns true if the credential is a token that this service issues, and does not issue under a hold.
    fn is_made_by_request(&self) -> bool {
        matches!(self.carried, Carried::OwnToken | Carried::Introspected | Carried::IntrospectedServiceAccount)
    }

    async fn later(&self) {
        self.harness.advance(LATER);
        self.harness.refresh().await;
    }

    async fn revoke(&self, named: &Value) {
        let answer = self.harness.admin("POST", "/revocations").by("operator").json(named).send().await;
        assert_eq!(answer.status, 200, "{:?}: {named}: {}", self.carried, answer.text());
    }

    async fn lift(&self, named: &Value) {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let members = named.as_object().expect("an object").iter();
        for (name, value) in members.filter_map(|(name, value)| Some((name, value.as_str()?))) {
            query.append_pair(name, value);
        }
        let request = self.harness.admin("DELETE", &format!("/revocations?{}", query.finish())).by("operator");
        assert_eq!(request.send().await.status, 204, "{:?}: {named}", self.carried);
        // What began a transaction stays revoked when that is lifted: later credentials are others.
    }
}

fn named(names: &Names, wrong: Wrong) -> Option<Value> {
    match wrong {
        Wrong::Token => names.token.clone(),
        Wrong::Transaction => names.transaction.clone(),
        Wrong::User | Wrong::UserHeld => names.user.clone(),
        Wrong::Agent | Wrong::AgentHeld => names.agent.clone(),
        _ => names.tenant.clone(),
    }
}

fn text(answer: &Answer, member: &str) -> String {
    answer.json[member].as_str().unwrap_or_default().to_owned()
}

async fn try_row(carried: Carried) {
    for setup in [Setup::default(), Setup::default().postgres()] {
        let mut trial = Trial::begin(setup, carried).await;
        for wrong in Wrong::ALL {
            trial.try_cell(wrong).await;
        }
    }
}

/// One test for each row of the table.
macro_rules! rows {
    ($($name:ident: $carried:ident,)*) => {
        $(
            #[tokio::test]
            async fn $name() {
                try_row(Carried::$carried).await;
            }
        )*
    };
}

rows! {
    a_users_token: UserToken,
    a_token_of_this_service: OwnToken,
    an_actor_token: ActorToken,
    an_actor_token_beside_another_authentication: ActorTokenBeside,
    a_workload_token_as_client_assertion: WorkloadAssertion,
    a_workload_token_of_an_agent_that_asks_about_tokens: AskersAssertion,
    a_client_assertion: ClientAssertion,
    a_client_secret: ClientSecret,
    an_introspected_token: Introspected,
    an_introspected_token_of_a_service_account: IntrospectedServiceAccount,
    an_operators_token: OperatorToken,
}
