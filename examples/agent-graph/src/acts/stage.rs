//! Where the acts are announced and their expectations checked.

use std::fmt::Debug;

use crate::idp::UserToken;
use crate::wiretap::Heard;

/// The conversation of the first call, which a later one resumes.
pub const CONVERSATION: &str = "conversation-1";
/// What alice hears when all is well.
pub const ANSWER: &str = "42 packets of tea";

/// What was announced, what was checked, and what the tables need.
#[derive(Default)]
pub struct Stage {
    act: usize,
    checks: usize,
    failed: Vec<usize>,
    /// The messages of the first call: to the coordinator, to the inventory, to the warehouse.
    pub first_call: Vec<Heard>,
    /// The token of the conversation during which the STS stops.
    pub under_way: Option<UserToken>,
}

impl Stage {
    /// Announces the next act.
    pub fn act(&mut self, title: &str) {
        self.act += 1;
        println!("\nAct {}: {title}", self.act);
    }

    /// Checks that what was found is what was expected, and prints whether it is.
    pub fn expect<T: PartialEq<U> + Debug, U: Debug>(&mut self, claim: &str, found: T, expected: U) {
        self.checks += 1;
        if found == expected {
            println!("  ok          {claim}");
        } else {
            println!("  FAILED      {claim}: {found:?} and not {expected:?}");
            self.failed.push(self.act);
        }
    }

    /// Says how it went; whether all went as told.
    pub fn curtain(&self) -> bool {
        if self.failed.is_empty() {
            println!("\n{} acts, {} expectations: all as told", self.act, self.checks);
            return true;
        }
        let mut acts = self.failed.clone();
        acts.dedup();
        println!("\n{} of {} expectations failed, in the acts {acts:?}", self.failed.len(), self.checks);
        false
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
        stage.expect("it is not", 1, 2);
        assert!(!stage.curtain());
    }
}
