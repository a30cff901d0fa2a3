//! The fault suite: the fault rows of the threat model, by name.
//!
//! Each scenario starts real servers on a real database, lets clients ask them, does something to them, and checks what must hold
//! afterwards: [`trial::Trial`] is what they share. A new one is a function in `scenario/`, and a line of [`SCENARIOS`].

use std::path::PathBuf;

pub mod figures;
mod former;
pub mod ledger;
pub mod load;
pub mod operator;
pub mod proof;
pub mod proxy;
mod scenario;
pub mod shop;
pub mod tally;
pub mod trial;

pub use figures::Figures;
pub use scenario::{SCENARIOS, Scenario};

/// How a scenario is run.
#[derive(Debug, Clone)]
pub struct Run {
    /// How much of it.
    pub length: Length,
    /// For how long the clients of `hostile` go on, in minutes.
    pub minutes: f64,
    /// The program, in place of the one that is built.
    pub program: Option<PathBuf>,
    /// The program of the servers that a rolling deployment or an upgrade replaces: by default the same one, or that of the former release.
    pub former: Option<PathBuf>,
}

/// How much of a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// As much as fits into every run of the tests.
    Short,
    /// All of it.
    Long,
}

impl Run {
    /// The one or the other.
    #[must_use]
    pub fn pick<T>(&self, short: T, long: T) -> T {
        match self.length {
            Length::Short => short,
            Length::Long => long,
        }
    }
}

/// What a scenario came to, unless something did not hold.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// All held.
    Held(Figures),
    /// It cannot be tried here.
    NotHere(String),
}
