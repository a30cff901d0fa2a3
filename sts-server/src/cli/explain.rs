//! `explain`: which rule allows or refuses an exchange, and why.

use std::process::ExitCode;

use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use sts_protocol::{Scope, Tenant, parameter};

use super::CliError;
use super::arguments::{ExplainArguments, Options};
use super::output::{Output, Style, configuration, text_or_file};
use crate::exchange::{Explanation, Outcome, Sts, Supposition};
use crate::server::{Foundation, Surroundings};
use crate::verify::{SupposedSubject, suppose};

/// Stands for a subject token where a subject is supposed.
const SUPPOSED: &str = "supposed";

pub(super) async fn run(
    options: &Options,
    arguments: &ExplainArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let config = configuration(options, out)?;
    let foundation = Foundation::lay(&config, surroundings).await?;
    let sts = Sts::start(&config, foundation.parts()).await?;
    let subject = match &arguments.issuer {
        None => None,
        Some(_) => {
            let supposed = supposed(arguments)?;
            let now = foundation.surroundings.clock.now();
            let snapshot = sts.snapshot();
            Some(suppose(&snapshot.verify_context(&config.issuer, now), supposed))
        }
    };
    let body = body(arguments)?;
    let headers = headers(arguments)?;
    let supposition = Supposition { actor: &arguments.actor, subject };
    let explanation = sts.explain(body.as_bytes(), &headers, supposition).await;
    show(&explanation, out)?;
    Ok(match explanation.outcome {
        Outcome::Allowed { .. } => ExitCode::SUCCESS,
        Outcome::Refused { .. } => ExitCode::FAILURE,
    })
}

fn supposed(arguments: &ExplainArguments) -> Result<SupposedSubject, CliError> {
    let bad = |what: &str, error: &dyn std::fmt::Display| CliError::Argument(format!("{what}: {error}"));
    let tenant = arguments.tenant.as_deref().map(Tenant::new).transpose().map_err(|error| bad("--tenant", &error))?;
    let scope = arguments.subject_scope.as_deref().map(str::parse::<Scope>).transpose();
    Ok(SupposedSubject {
        issuer: arguments.issuer.clone().unwrap_or_default(),
        sub: arguments.sub.clone().unwrap_or_default(),
        tenant,
        scope: scope.map_err(|error| bad("--subject-scope", &error))?,
        roles: arguments.role.clone(),
        actors: arguments.chain.clone(),
    })
}

/// The body that a request with these parameters would have.
fn body(arguments: &ExplainArguments) -> Result<String, CliError> {
    let mut parameters = Vec::new();
    if arguments.service_account {
        parameters.push((parameter::GRANT_TYPE, parameter::GRANT_CLIENT_CREDENTIALS.to_owned()));
    } else {
        let token = match (&arguments.subject_token, &arguments.issuer) {
            (Some(token), _) => text_or_file(token)?,
            (None, Some(_)) => SUPPOSED.to_owned(),
            (None, None) => {
                let help = "one of --subject-token, --issuer with --sub, and --service-account is needed";
                return Err(CliError::Argument(help.to_owned()));
            }
        };
        parameters.push((parameter::GRANT_TYPE, parameter::GRANT_TOKEN_EXCHANGE.to_owned()));
        parameters.push((parameter::SUBJECT_TOKEN, token));
        parameters.push((parameter::SUBJECT_TOKEN_TYPE, arguments.subject_token_type.clone()));
    }
    parameters.extend(arguments.target.iter().map(|target| (parameter::AUDIENCE, target.clone())));
    parameters.extend(arguments.resource.iter().map(|resource| (parameter::RESOURCE, resource.clone())));
    parameters.extend(arguments.scope.iter().map(|scope| (parameter::SCOPE, scope.clone())));
    let encode = |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    Ok(parameters.iter().map(encode).collect::<Vec<_>>().join("&"))
}

fn headers(arguments: &ExplainArguments) -> Result<HeaderMap, CliError> {
    let mut headers = HeaderMap::new();
    if let Some(tenant) = &arguments.x_tenant_id {
        let value = HeaderValue::from_str(tenant);
        let value = value.map_err(|error| CliError::Argument(format!("--x-tenant-id: {error}")))?;
        headers.insert(parameter::X_TENANT_ID, value);
    }
    Ok(headers)
}

fn show(explanation: &Explanation, out: &mut Output) -> Result<(), CliError> {
    if out.is_json() {
        return out.json(explanation);
    }
    for (number, step) in explanation.steps.iter().enumerate() {
        out.line(&format!("{}. {:<22} {}", number + 1, step.step, step.decision))?;
    }
    match &explanation.outcome {
        Outcome::Allowed { delegation, sub, audience, scope, roles, tenant_id, actors, expires_at } => {
            out.line(&out.styled(Style::Good, &format!("allowed by {delegation}")))?;
            let tenant = tenant_id.as_deref().unwrap_or("none");
            for (name, value) in [
                ("sub", sub.as_str()),
                ("act", &actors.join(", before it ")),
                ("aud", audience),
                ("scope", scope),
                ("roles", &roles.join(" ")),
                ("tenant", tenant),
                ("exp", &expires_at.to_string()),
            ] {
                out.line(&format!("   {name:<8} {value}"))?;
            }
            Ok(())
        }
        Outcome::Refused { error, reason, detail } => {
            out.line(&out.styled(Style::Bad, &format!("refused: {error} ({reason})")))?;
            out.line(&format!("   {detail}"))
        }
    }
}
