//! Sealed messages between two agents: users → support → (envelope) → billing, behind a real STS.
//!
//! To copy from: [`billing`], which opens and answers, and [`support`], which seals and asks. Everything else is the stage: the
//! [`stage`] itself, the suites of cases, and the report.

pub mod billing;
mod envelopes;
mod exchanges;
mod report;
pub mod stage;
pub mod support;

use report::Report;
use stage::Stage;

/// What is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Print {
    /// Every case, and the measures.
    All,
    /// The measures alone.
    Measures,
}

/// Plays both suites and prints them; whether all went as told, and every measure is what is owed.
pub async fn play(print: Print) -> anyhow::Result<bool> {
    let mut stage = Stage::start().await?;
    let mut report = Report::default();
    exchanges::play(&mut stage, &mut report).await?;
    envelopes::play(&mut stage, &mut report).await?;
    if print == Print::All {
        println!("Both suites, case by case\n");
        report.print_cases();
        println!();
    }
    println!("The measures\n");
    let as_owed = report.print_measures(&stage);
    println!("\n{}", if as_owed { "all as told" } else { "NOT as told" });
    stage.sts.stop().await;
    Ok(as_owed)
}
