//! `explain`: shows the rule that allows or refuses an exchange, and the reason.

use std::process::ExitCode;

use sts_protocol::AuthorizationDetail;

use super::CliError;
use super::arguments::{ExplainArguments, Options};
use super::backend::Backend;
use super::output::{Output, Style, text_or_file};
use crate::admin::ExplainRequest;
use crate::exchange::{Explained, Explanation, TokenComparison};
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    arguments: &ExplainArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    check_subject(arguments)?;
    let backend = Backend::of(options, surroundings, out).await?;
    let explanation = backend.explain(&request(arguments)?).await?;
    show(&explanation, out)?;
    if let (Explained::Refused { reason, .. }, false) = (&explanation.outcome, out.is_json())
        && let Some(advice) = advice(arguments, reason)
    {
        out.line(&format!("   {advice}"))?;
    }
    Ok(match explanation.outcome {
        Explained::Allowed { .. } | Explained::Authenticated { .. } => ExitCode::SUCCESS,
        Explained::ApprovalRequired { .. } | Explained::Refused { .. } => ExitCode::FAILURE,
    })
}

/// Refuses a request without a subject, or with several. A credential alone may be explained.
fn check_subject(arguments: &ExplainArguments) -> Result<(), CliError> {
    let ExplainArguments { subject_token, issuer, service_account, actor, .. } = arguments;
    match (subject_token, issuer, service_account) {
        (Some(_), None, false) | (None, Some(_), false) | (None, None, true) => Ok(()),
        (None, None, false) if actor.is_none() => Ok(()),
        _ => Err(CliError::Argument(
            "give one of --subject-token TOKEN, --issuer URL with --sub USER, and --service-account".to_owned(),
        )),
    }
}

/// Returns the flag that may help after a refusal.
fn advice(arguments: &ExplainArguments, reason: &str) -> Option<&'static str> {
    match reason {
        "subject_tenant" if arguments.issuer.is_some() && arguments.tenant.is_none() => {
            Some("give the tenant of the supposed user: --tenant TENANT")
        }
        "target_missing" => Some("name the agent to be called: --target NAME"),
        _ => None,
    }
}

fn request(arguments: &ExplainArguments) -> Result<ExplainRequest, CliError> {
    Ok(ExplainRequest {
        actor: arguments.actor.clone(),
        client_assertion: arguments.client_assertion.as_deref().map(text_or_file).transpose()?,
        actor_token: arguments.actor_token.as_deref().map(text_or_file).transpose()?,
        target: arguments.target.clone(),
        resource: arguments.resource.clone(),
        scope: arguments.scope.clone(),
        authorization_details: arguments.authorization_details.clone(),
        x_tenant_id: arguments.x_tenant_id.clone(),
        service_account: arguments.service_account,
        subject_token: arguments.subject_token.as_deref().map(text_or_file).transpose()?,
        subject_token_type: Some(arguments.subject_token_type.clone()),
        issuer: arguments.issuer.clone(),
        sub: arguments.sub.clone(),
        tenant: arguments.tenant.clone(),
        subject_scope: arguments.subject_scope.clone(),
        role: arguments.role.clone(),
        chain: arguments.chain.clone(),
        subject_bound: arguments.subject_bound,
        dpop: arguments.dpop,
        client_certificate: arguments.client_certificate,
    })
}

fn show(explanation: &Explanation, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(explanation);
    }
    for (number, step) in explanation.steps.iter().enumerate() {
        out.line(&format!("{}. {:<22} {}", number + 1, step.step, step.decision))?;
    }
    for token in &explanation.tokens {
        show_token(token, out)?;
    }
    match &explanation.outcome {
        Explained::Authenticated { client_id, method } => {
            out.line(&out.styled(Style::Good, &format!("authenticated as {client_id} by {method}")))
        }
        Explained::Allowed {
            delegation,
            sub,
            audience,
            scope,
            authorization_details,
            roles,
            tenant_id,
            actors,
            bound_to,
            expires_at,
        } => {
            out.line(&out.styled(Style::Good, &format!("allowed by {delegation}")))?;
            for (name, value) in [
                ("sub", sub.as_str()),
                ("act", &actors.join(", before it ")),
                ("aud", audience),
                ("scope", scope),
                ("roles", &roles.join(" ")),
                ("tenant", tenant_id.as_deref().unwrap_or_default()),
                ("bound to", &if bound_to.is_empty() { "no key".to_owned() } else { bound_to.join(" and ") }),
                ("exp", &expires_at.to_string()),
            ] {
                out.line(&format!("   {name:<8} {}", if value.is_empty() { "none" } else { value }))?;
            }
            show_details(authorization_details, out)
        }
        Explained::ApprovalRequired {
            delegation,
            by,
            approval,
            sub,
            target,
            scope,
            authorization_details,
            tenant_id,
        } => {
            out.line(&out.styled(Style::Bad, &format!("approval required by {delegation}: the {by} decides")))?;
            let waits = approval.as_ref().map_or_else(|| "none yet".to_owned(), Clone::clone);
            for (name, value) in [
                ("approval", waits.as_str()),
                ("sub", sub),
                ("target", target),
                ("scope", scope),
                ("tenant", tenant_id.as_deref().unwrap_or("none")),
            ] {
                out.line(&format!("   {name:<8} {value}"))?;
            }
            show_details(authorization_details, out)
        }
        Explained::Refused { error, reason, detail } => {
            out.line(&out.styled(Style::Bad, &format!("refused: {error} ({reason})")))?;
            out.line(&format!("   {detail}"))
        }
    }
}

fn show_details(details: &[AuthorizationDetail], out: &mut Output) -> Result<(), CliError> {
    for detail in details {
        out.line(&format!("   {:<8} {}", "detail", serde_json::to_string(detail)?))?;
    }
    Ok(())
}

/// Prints the table of a token: its claims and their expected values.
fn show_token(token: &TokenComparison, out: &mut Output) -> Result<(), CliError> {
    out.line(&out.styled(Style::Heading, &format!("{}: {}", token.parameter, token.protection)))?;
    if token.claims.is_empty() {
        return Ok(());
    }
    let says = |claim: &crate::exchange::ComparedClaim| claim.token_says.clone().unwrap_or_else(|| "absent".to_owned());
    let width = token.claims.iter().map(|claim| says(claim).chars().count()).max().unwrap_or(0).clamp(11, 60);
    out.line(&format!("   {:<10} {:<width$}    registry expects", "claim", "token says"))?;
    for claim in &token.claims {
        let (mark, style) = if claim.fits { (" ", Style::Plain) } else { ("!", Style::Bad) };
        let row = format!("{:<10} {:<width$}    {}", claim.claim, says(claim), claim.registry_expects);
        out.line(&out.joined(&[(style, mark), (Style::Plain, "  "), (style, &row)]))?;
        if let Some(nearest) = &claim.nearest {
            out.line(&format!("   {:<10} did you mean {nearest}?", ""))?;
        }
    }
    Ok(())
}
