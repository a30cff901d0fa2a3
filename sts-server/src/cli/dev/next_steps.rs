//! The end of the demonstration: commands to type next.

use std::fmt::Write as _;
use std::path::Path;

use sts_protocol::{TokenType, parameter};

use super::super::CliError;
use super::super::arguments::DevArguments;
use super::super::output::{Output, Style};
use super::chain::{Demonstrated, Stage};
use super::user::DEMO_USER;
use crate::environment;

/// The width of a command, before its explanation.
const COMMAND_WIDTH: usize = 44;

/// Writes the script that repeats hop 1, and prints the next steps unless the server ends now.
pub(super) fn print(
    demonstrated: Demonstrated,
    stage: &Stage<'_>,
    arguments: &DevArguments,
    [issuer, console]: [&str; 2],
    out: &mut Output,
) -> Result<(), CliError> {
    stage.folder.keep("hop1.sh", &script(issuer))?;
    let folder = arguments.directory.display();
    let remedy = match demonstrated {
        Demonstrated::Whole => None,
        Demonstrated::Refused => Some(format!("Change {folder}/registry.toml, or delete {folder} to start again.")),
        Demonstrated::UserRevoked => {
            Some(format!("Lift it: sts-server revoke -c {folder}/sts.toml --sub {DEMO_USER} --lift"))
        }
    };
    if let Some(remedy) = remedy {
        out.line(&out.styled(Style::Quiet, &remedy))?;
    }
    if arguments.once {
        return Ok(());
    }
    let program = environment::program().unwrap_or_else(|| Path::new("sts-server").to_owned());
    out.line("")?;
    out.line(&format!("Serving on {issuer}. In another terminal, from this folder:"))?;
    out.line(&format!("  S={}; C={folder}/sts.toml", program.display()))?;
    let story = format!("$S audit list -c $C --correlation {}", stage.correlation_id);
    let steps = [
        (format!("sh {folder}/hop1.sh"), "repeat hop 1 (curl, readable)"),
        (format!("$S token decode @{folder}/hop2.jwt"), "what a token says"),
        (story, "the story of alice's request"),
        ("$S audit list -c $C".to_owned(), "who did what"),
        ("$S revoke -c $C --sub alice".to_owned(), "stop alice; then repeat hop 1"),
        ("$S revoke -c $C --sub alice --lift".to_owned(), "let alice go on"),
        (format!("${{EDITOR:-vi}} {folder}/registry.toml"), "change who may call whom, and save"),
    ];
    for (command, meaning) in steps {
        if command.chars().count() < COMMAND_WIDTH {
            out.line(&format!("  {command:<COMMAND_WIDTH$}{meaning}"))?;
        } else {
            out.line(&format!("  {command}"))?;
            out.line(&format!("  {:<COMMAND_WIDTH$}{meaning}", ""))?;
        }
    }
    out.line("The console, signed in by this link once:")?;
    out.line(&format!("  {console}"))?;
    out.line("Every decision appears here when it is made. Ctrl-C stops the server.")?;
    out.line(&format!("Delete {folder} to start again."))
}

/// Returns a script that repeats hop 1 with curl.
fn script(issuer: &str) -> String {
    let mut text = "# Hop 1: the coordinator trades alice's token for one that it can show the inventory.\n".to_owned();
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "cd \"$(dirname \"$0\")\" || exit\n\
         curl -sS -w '\\n' {issuer}/oauth2/token \\\n  \
           -u \"coordinator:$(cat coordinator.secret)\" \\\n  \
           -d grant_type={} \\\n  \
           -d subject_token_type={} \\\n  \
           --data-urlencode subject_token@user.jwt \\\n  \
           -d audience=inventory\n",
        parameter::GRANT_TOKEN_EXCHANGE,
        TokenType::Jwt.as_str(),
    );
    text
}
