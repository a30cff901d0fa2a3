//! What came of each case, and the measures of them all.

use std::collections::BTreeSet;

use sts_client::envelope::{Capability, Reason};
use sts_client::events::{Boundary, BoundaryOutcome, Event, Guard};

use crate::Print;
use crate::stage::Stage;

/// What the STS and the verifier may say to the tokens of the exchange suite.
const EXCHANGE_DECISIONS: [&str; 5] =
    ["allowed", "invalid_scope", "invalid_target", "invalid_request", "invalid_token"];

/// Which suite a case belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// Tokens.
    Exchange,
    /// Messages.
    Envelope,
    /// Messages that were there before.
    Replay,
    /// Tokens that a person must approve.
    Approval,
}

struct Case {
    suite: Suite,
    expected: String,
    came: String,
}

/// All cases.
#[derive(Default)]
pub(crate) struct Report {
    cases: Vec<Case>,
    acts: Vec<Act>,
}

/// Cases that tell one thing together.
struct Act {
    title: &'static str,
    lines: Vec<Line>,
}

struct Line {
    text: String,
    is_as_expected: bool,
}

/// One row of the table: what was counted, of how many, and how often it should happen.
struct Measure {
    name: &'static str,
    counted: usize,
    of: usize,
    should: Should,
}

enum Should {
    None,
    All,
}

impl Report {
    /// Begins an act.
    pub(crate) fn act(&mut self, title: &'static str) {
        self.acts.push(Act { title, lines: Vec::new() });
    }

    /// What came of a case, beside what was expected.
    pub(crate) fn case(&mut self, suite: Suite, what: &str, expected: &str, came: &str) {
        let text =
            if expected == came { format!("{what}: {came}") } else { format!("{what}: {came}, expected {expected}") };
        self.line(text, expected == came);
        self.cases.push(Case { suite, expected: expected.to_owned(), came: came.to_owned() });
    }

    /// Something else that must hold.
    pub(crate) fn check(&mut self, what: &str, holds: bool) {
        self.line(what.to_owned(), holds);
    }

    fn line(&mut self, text: String, is_as_expected: bool) {
        if let Some(act) = self.acts.last_mut() {
            act.lines.push(Line { text, is_as_expected });
        }
    }

    /// Prints a line for each act, and below it its cases, or those that failed.
    pub(crate) fn print_acts(&self, print: Print) {
        for (number, Act { title, lines }) in (1..).zip(&self.acts) {
            let is_as_expected = lines.iter().all(|line| line.is_as_expected);
            println!("  {number}  {:<6}  {title}", verdict(is_as_expected));
            for line in lines.iter().filter(|line| print == Print::Details || !line.is_as_expected) {
                println!("     {:<6}  {}", verdict(line.is_as_expected), line.text);
            }
        }
    }

    /// Prints the measures. Whether every case, check and measure is as it should be.
    pub(crate) fn print_measures(&self, stage: &Stage) -> bool {
        println!("  {:<28} {:>7}  {:>4}  should", "measure", "counted", "of");
        let lines = || self.acts.iter().flat_map(|act| &act.lines);
        let mut is_as_expected = lines().all(|line| line.is_as_expected);
        for Measure { name, counted, of, should } in self.measures(stage) {
            let (should, holds) = match should {
                Should::None => ("0", counted == 0),
                Should::All => ("all", counted == of),
            };
            let verdict = if holds { "" } else { "  MISSED" };
            println!("  {name:<28} {counted:>7}  {of:>4}  {should}{verdict}");
            is_as_expected &= holds;
        }
        is_as_expected
    }

    fn measures(&self, stage: &Stage) -> Vec<Measure> {
        let events = stage.events.take();
        let refusals: Vec<&Case> = self.cases.iter().filter(|case| case.expected != "allowed").collect();
        let allowed: Vec<&Case> = self.cases.iter().filter(|case| case.expected == "allowed").collect();
        let replays: Vec<&Case> = self.cases.iter().filter(|case| case.suite == Suite::Replay).collect();
        let unapproved: Vec<&Case> = self.cases.iter().filter(|case| is_unapproved(case)).collect();
        let count = |cases: &[&Case], is: fn(&Case) -> bool| cases.iter().filter(|case| is(case)).count();
        let (decided, decisions) = self.coverage(&events);
        let texts = haystacks(&events, &self.acts);
        let decryptions = stage.billing.envelopes().decryptions();
        let (none, all) = (|| Should::None, || Should::All);
        let measure = |name, counted, of, should| Measure { name, counted, of, should };
        vec![
            measure("false allows", count(&refusals, |case| case.came == "allowed"), refusals.len(), none()),
            measure("false denials", count(&allowed, |case| case.came != "allowed"), allowed.len(), none()),
            measure("refused for another reason", count(&refusals, other_reason), refusals.len(), none()),
            measure("replays detected", count(&replays, |case| case.came == "replay"), replays.len(), all()),
            measure("approvals bypassed", count(&unapproved, |case| case.came == "allowed"), unapproved.len(), none()),
            measure("missing trace fields", missing_fields(&events), events.len(), none()),
            measure("policy decisions covered", decided, decisions, all()),
            measure("redaction failures", found(&stage.secrets, &texts), stage.secrets.len(), none()),
            measure(
                "decrypted, then refused",
                usize::try_from(decryptions.succeeded).unwrap_or(usize::MAX).saturating_sub(served(&events)),
                usize::try_from(decryptions.attempted).unwrap_or(usize::MAX),
                none(),
            ),
        ]
    }

    /// How many of the decisions that can be made were made: every reason, every capability that is served, every word of the STS.
    fn coverage(&self, events: &[Event]) -> (usize, usize) {
        let came = |suite: fn(Suite) -> bool| {
            let cases = self.cases.iter().filter(move |case| suite(case.suite));
            cases.map(|case| case.came.as_str()).collect::<BTreeSet<_>>()
        };
        let (exchange, envelope) = (came(|suite| suite == Suite::Exchange), came(of_messages));
        let served: BTreeSet<&str> = events
            .iter()
            .filter(|event| event.boundary == Boundary::Decrypted && event.outcome == BoundaryOutcome::Passed)
            .filter_map(|event| event.about.capability)
            .collect();
        let capabilities = [Capability::Read, Capability::ToolCall, Capability::WorkflowCommand];
        let of_exchange = EXCHANGE_DECISIONS.iter().filter(|decision| exchange.contains(*decision)).count();
        let of_envelope = Reason::ALL.iter().filter(|reason| envelope.contains(reason.as_str())).count();
        let of_policy = capabilities.iter().filter(|capability| served.contains(capability.as_str())).count();
        let all = EXCHANGE_DECISIONS.len() + Reason::ALL.len() + capabilities.len();
        (of_exchange + of_envelope + of_policy, all)
    }
}

fn of_messages(suite: Suite) -> bool {
    match suite {
        Suite::Envelope | Suite::Replay => true,
        Suite::Exchange | Suite::Approval => false,
    }
}

/// Returns true if a case of the approvals must not pass.
fn is_unapproved(case: &Case) -> bool {
    case.suite == Suite::Approval && case.expected != "allowed"
}

fn other_reason(case: &Case) -> bool {
    case.came != "allowed" && case.came != case.expected
}

fn verdict(is_as_expected: bool) -> &'static str {
    if is_as_expected { "ok" } else { "FAILED" }
}

/// How many messages crossed into a handler.
fn served(events: &[Event]) -> usize {
    let invoked = |event: &&Event| event.boundary == Boundary::Invoked && event.outcome == BoundaryOutcome::Passed;
    events.iter().filter(invoked).count()
}

/// How many events lack a field that whoever follows a message needs: the trace id always; of a verified caller who it is, for whom and in
/// which tenant; of a message whose ids were checked, those, the other agent and what it asks.
fn missing_fields(events: &[Event]) -> usize {
    let is_whole = |event: &&Event| {
        let about = &event.about;
        let caller = about.actor.is_some() && about.subject.is_some() && about.tenant_id.is_some();
        let message = about.message_id.is_some() && about.idempotency_key.is_some() && about.peer.is_some();
        let is_known = match event.guard {
            Guard::Token => event.boundary < Boundary::Authorization || caller,
            Guard::Envelope | Guard::Idempotency => caller,
        };
        let is_named = event.guard != Guard::Envelope
            || event.boundary <= Boundary::Authorization
            || message && about.capability.is_some();
        about.trace_id.is_some() && is_known && is_named
    };
    events.iter().filter(|event| !is_whole(event)).count()
}

/// All that was written down: the audit trail, its debug form, and what is printed.
fn haystacks(events: &[Event], acts: &[Act]) -> Vec<String> {
    let json = events.iter().map(|event| serde_json::to_string(event).unwrap_or_default());
    let debug = events.iter().map(|event| format!("{event:?}"));
    let lines = acts.iter().flat_map(|act| &act.lines).map(|line| line.text.clone());
    json.chain(debug).chain(lines).collect()
}

fn found(secrets: &[String], texts: &[String]) -> usize {
    let is_found = |secret: &&String| texts.iter().any(|text| text.contains(secret.as_str()));
    secrets.iter().filter(|secret| secret.len() >= 16).filter(is_found).count()
}
