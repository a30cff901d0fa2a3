//! `approvals`: lists, shows and decides approvals.

use std::process::ExitCode;

use super::CliError;
use super::arguments::{ApprovalsCommand, Options};
use super::backend::{Backend, ReadBackend};
use super::output::{Output, printable, to_the_second};
use crate::approval::{ApprovalAct, SeenApproval};
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    command: &ApprovalsCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let (id, act) = match command {
        ApprovalsCommand::List { all } => {
            let approvals = ReadBackend::of(options, surroundings, out).await?.approvals().await?;
            for approval in approvals.iter().filter(|approval| *all || is_open(approval)) {
                if out.is_json() { out.json(approval)? } else { out.line(&line(approval))? }
            }
            return Ok(ExitCode::SUCCESS);
        }
        ApprovalsCommand::Show { id } => {
            let approval = ReadBackend::of(options, surroundings, out).await?.approval(id).await?;
            show(&approval, out)?;
            return Ok(ExitCode::SUCCESS);
        }
        ApprovalsCommand::Grant { id } => (id, ApprovalAct::Grant),
        ApprovalsCommand::Deny { id } => (id, ApprovalAct::Deny),
        ApprovalsCommand::Withdraw { id } => (id, ApprovalAct::Withdraw),
    };
    let backend = Backend::of(options, surroundings, out).await?;
    show(&backend.decide_approval(id, act).await?, out)?;
    Ok(ExitCode::SUCCESS)
}

fn is_open(approval: &SeenApproval) -> bool {
    ["pending", "granted"].contains(&&*approval.state)
}

/// Returns an approval as a line.
fn line(approval: &SeenApproval) -> String {
    let SeenApproval { id, state, by, sub, client_id, target, scope, expires_at, .. } = approval;
    let until = to_the_second(*expires_at);
    format!("{id}  {state:<9} {by:<8} {}: {client_id} -> {target} {scope}, until {until}", printable(sub))
}

fn show(approval: &SeenApproval, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(approval);
    }
    let decided = match (&approval.decided_by, approval.decided_at) {
        (Some(name), Some(at)) => format!("by {}, {}", printable(name), to_the_second(at)),
        _ => "no".to_owned(),
    };
    for (name, value) in [
        ("id", approval.id.as_str()),
        ("state", &approval.state),
        ("decides", &approval.by),
        ("user", &printable(&format!("{} of {}", approval.sub, approval.subject_issuer))),
        ("tenant", approval.tenant_id.as_deref().unwrap_or("none")),
        ("actors", &printable(&approval.actors.join(", before it "))),
        ("target", &approval.target),
        ("scope", &approval.scope),
        ("remember", &approval.remember),
        ("requested", &to_the_second(approval.requested_at)),
        ("until", &to_the_second(approval.expires_at)),
        ("decided", &decided),
    ] {
        out.line(&format!("{name:<10} {value}"))?;
    }
    for detail in &approval.authorization_details {
        out.line(&format!("{:<10} {}", "detail", serde_json::to_string(detail)?))?;
    }
    Ok(())
}
