//! Where the acts are announced and their expectations checked.

use std::fmt::Debug;

use crate::idp::UserToken;
use crate::verified;
use crate::wiretap::Heard;

/// The conversation of the first call, which a later one resumes.
pub const CONVERSATION: &str = "conversation-1";
/// What alice hears when all is well.
pub const ANSWER: &str = "42 packets of tea";

/// The printed form of an act.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Print {
    /// One line; of a failed act also what failed.
    #[default]
    Verdicts,
    /// Also what each agent verified, and what was expected.
    Details,
}

/// The act that is played, what was checked, and what the table needs.
#[derive(Default)]
pub struct Stage {
    print: Print,
    act: Option<Act>,
    acts: usize,
    checks: usize,
    failed: Vec<usize>,
    /// The messages of the first call: to the coordinator, to the inventory, to the warehouse.
    pub first_call: Vec<Heard>,
    /// The token of the conversation during which the STS stops.
    pub under_way: Option<UserToken>,
    /// Which token is bound to whose key: the token, its key, who holds it, and its scheme.
    pub keys: Vec<[String; 4]>,
}

struct Act {
    title: String,
    details: Vec<String>,
    failures: Vec<String>,
}

impl Stage {
    /// A stage that prints this much of each act.
    pub fn printing(print: Print) -> Self {
        verified::keep();
        Self { print, ..Self::default() }
    }

    /// Ends the act before, and begins the next one.
    pub fn act(&mut self, title: &str) {
        self.end_act();
        self.acts += 1;
        self.act = Some(Act { title: title.to_owned(), details: Vec::new(), failures: Vec::new() });
    }

    /// Checks that what was found is what was expected.
    pub fn expect<T: PartialEq<U> + Debug, U: Debug>(&mut self, claim: &str, found: T, expected: U) {
        self.checks += 1;
        let line = if found == expected {
            format!("ok           {claim}")
        } else {
            format!("FAILED       {claim}: {found:?} and not {expected:?}")
        };
        let Some(act) = &mut self.act else { return };
        act.details.extend(verified::take());
        if found != expected {
            act.failures.push(line.clone());
            self.failed.push(self.acts);
        }
        act.details.push(line);
    }

    /// Says how it went; whether all went as expected.
    pub fn curtain(&mut self) -> bool {
        self.end_act();
        verified::print_again();
        if self.failed.is_empty() {
            println!("\n{} acts, {} checks: all as expected", self.acts, self.checks);
            return true;
        }
        let mut acts = self.failed.clone();
        acts.dedup();
        println!("\n{} of {} checks failed, in the acts {acts:?}", self.failed.len(), self.checks);
        false
    }

    /// Prints the act that was played.
    fn end_act(&mut self) {
        let Some(Act { title, mut details, failures }) = self.act.take() else { return };
        details.extend(verified::take());
        let verdict = if failures.is_empty() { "ok" } else { "FAILED" };
        println!("  {}  {verdict:<6}  {title}", self.acts);
        let below = match self.print {
            Print::Verdicts => failures,
            Print::Details => details,
        };
        for line in below {
            println!("     {line}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_expectation_that_fails_fails_the_run() {
        let mut stage = Stage::default();
        stage.act("one");
        stage.expect("it is", 1, 1);
        assert!(stage.curtain());
        stage.act("two");
        stage.expect("it is not", 1, 2);
        assert!(!stage.curtain());
    }
}
