//! Sealed messages between two agents: users → support → (envelope) → billing, behind a real STS.
//!
//! To copy from: [`billing`], which opens and answers, [`support`], which seals and asks, and [`till`], whose tools need a token each. Everything else is the stage: the
//! [`stage`] itself, the suites of cases, and the report.

mod approvals;
pub mod billing;
mod envelopes;
mod exchanges;
mod report;
pub mod stage;
pub mod support;
pub mod till;

use report::Report;
use stage::Stage;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Print {
    /// The measures, and a line for each act.
    Verdicts,
    /// Also every case.
    Details,
    /// The measures alone.
    Measures,
}

/// Plays the suites and prints them; whether all went as expected.
pub async fn play(print: Print) -> anyhow::Result<bool> {
    let mut stage = Stage::start().await?;
    let mut report = Report::default();
    exchanges::play(&mut stage, &mut report).await?;
    envelopes::play(&mut stage, &mut report).await?;
    approvals::play(&mut stage, &mut report).await?;
    println!("All cases: how often it happened, of how many, and how often it should:\n");
    let is_as_expected = report.print_measures(&stage);
    match print {
        Print::Measures => {}
        Print::Verdicts | Print::Details => {
            println!("\nThe acts: what is tried, and whether all came as it should. -v shows each case.\n");
            report.print_acts(print);
        }
    }
    println!("\n{}", if is_as_expected { "all as expected" } else { "NOT as expected" });
    stage.sts.stop().await;
    Ok(is_as_expected)
}
