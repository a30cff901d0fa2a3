//! `approvals`: lists, shows and decides approvals.

use std::process::ExitCode;

use super::CliError;
use super::arguments::{ApprovalsCommand, Options};
use super::output::{Output, configuration, printable, to_the_second};
use crate::admin::By;
use crate::approval::{ApprovalAct, ApprovalList, SeenApproval};
use crate::server::{Foundation, Surroundings};

pub(super) async fn run(
    options: &Options,
    command: &ApprovalsCommand,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let administration = Foundation::lay(&config, surroundings).await?.administration(&config);
    let (id, act) = match command {
        ApprovalsCommand::List { all, limit, after } => {
            let list = if *all { ApprovalList::All } else { ApprovalList::Open };
            let page = administration.approvals(list, after.as_deref(), *limit).await?;
            for approval in &page.approvals {
                if out.is_json() { out.json(approval)? } else { out.line(&line(approval))? }
            }
            if let Some(next) = page.next.filter(|_| !out.is_json()) {
                out.line(&format!("more: --after {next}"))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        ApprovalsCommand::Show { id } => {
            show(&administration.approval(id).await?, out)?;
            return Ok(ExitCode::SUCCESS);
        }
        ApprovalsCommand::Grant { id } => (id, ApprovalAct::Grant),
        ApprovalsCommand::Deny { id } => (id, ApprovalAct::Deny),
        ApprovalsCommand::Withdraw { id } => (id, ApprovalAct::Withdraw),
    };
    show(&administration.decide_approval(id, act, &By::default()).await?, out)?;
    Ok(ExitCode::SUCCESS)
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
        ("state", approval.state),
        ("decides", approval.by),
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
