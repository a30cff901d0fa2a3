//! Runs scenarios by name: `cargo run --release -p sts-faults -- list`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde_json::json;
use sts_faults::{Length, Outcome, Run, SCENARIOS, Scenario, figures};
use sts_jose::{Clock as _, SystemClock};

/// Tries what happens to the service when servers, databases and networks fail, and says whether all held that must hold.
#[derive(Debug, Parser)]
#[command(name = "sts-faults")]
struct Arguments {
    /// The scenarios, by name; `all`, or `list` to see which there are.
    #[arg(required = true)]
    names: Vec<String>,
    /// The form that is part of every run of the tests.
    #[arg(long)]
    short: bool,
    /// For how long the hostile load goes on, in minutes.
    #[arg(long, default_value_t = 30.0)]
    minutes: f64,
    /// The sts-server to try, in place of one that is built for this.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// The sts-server that a rolling deployment or an upgrade replaces.
    #[arg(long, value_name = "FILE")]
    former_server: Option<PathBuf>,
    /// Prints one JSON object for each scenario.
    #[arg(long)]
    json: bool,
    /// Puts the figures into this page, in place of those of the same scenarios.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.names == ["list"] {
        for Scenario { name, about, in_ci, .. } in SCENARIOS {
            println!("{name:22}{} {about}", if *in_ci { " CI " } else { "    " });
        }
        return Ok(ExitCode::SUCCESS);
    }
    let run = Run {
        length: if arguments.short { Length::Short } else { Length::Long },
        minutes: arguments.minutes,
        program: arguments.server.as_deref().map(std::path::absolute).transpose()?,
        former: arguments.former_server.as_deref().map(std::path::absolute).transpose()?,
    };
    let mut held = true;
    for scenario in chosen(&arguments.names)? {
        held &= try_one(scenario, &run, &arguments).await?;
    }
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The scenarios of these names.
fn chosen(names: &[String]) -> anyhow::Result<Vec<&'static Scenario>> {
    if names == ["all"] {
        return Ok(SCENARIOS.iter().collect());
    }
    let find = |name: &String| {
        let found = SCENARIOS.iter().find(|scenario| scenario.name == name);
        found.ok_or_else(|| anyhow::anyhow!("there is no scenario {name:?}; `list` shows them"))
    };
    names.iter().map(find).collect()
}

/// Runs a scenario and tells what came of it; whether all held.
async fn try_one(scenario: &Scenario, run: &Run, arguments: &Arguments) -> anyhow::Result<bool> {
    eprintln!("{} …", scenario.name);
    let name = scenario.name;
    // A scenario that panics has failed, and the next one is tried all the same.
    let outcome = match tokio::spawn((scenario.run)(run.clone())).await {
        Ok(outcome) => outcome,
        Err(panicked) => Err(panicked.into()),
    };
    let told = match &outcome {
        Ok(Outcome::Held(figures)) => json!({ "scenario": name, "held": true, "figures": figures }),
        Ok(Outcome::NotHere(why)) => json!({ "scenario": name, "held": null, "why": why }),
        Err(breach) => json!({ "scenario": name, "held": false, "why": format!("{breach:#}") }),
    };
    match &outcome {
        _ if arguments.json => println!("{told}"),
        Ok(Outcome::Held(figures)) => println!("{name}: held: {}", figures.line()),
        Ok(Outcome::NotHere(why)) => println!("{name}: not tried here: {why}"),
        Err(breach) => println!("{name}: FAILED: {breach:#}"),
    }
    if let (Ok(Outcome::Held(figures)), Some(path)) = (&outcome, &arguments.write) {
        // Written after each, so that a run that is ended keeps what it has.
        let former = std::fs::read_to_string(path).unwrap_or_default();
        let cores = std::thread::available_parallelism()?;
        let build = if cfg!(debug_assertions) { "debug" } else { "release" };
        let date: String = SystemClock.now().to_string().chars().take("2026-01-01".len()).collect();
        let length = if arguments.short { ", short" } else { "" };
        let when = format!("{date}, {cores} cores, {build}{length}");
        std::fs::write(path, figures::page(&former, &[(name, figures.clone())], &when))?;
    }
    Ok(outcome.is_ok())
}
