//! The demonstration: a user's token, hop by hop, and requests that are refused.

use std::net::SocketAddr;

use serde::Deserialize as _;
use sts_jose::UnverifiedToken;
use sts_protocol::{AccessTokenClaims, Act, TokenType, parameter};

use super::super::CliError;
use super::super::output::{Output, Style};
use super::folder::{DEMO_ISSUER, Folder};
use super::live::Decisions;
use super::request::{Answer, TokenRequest, token};
use super::user::{self, DEMO_SCOPE, DEMO_USER};
use crate::exchange::relative;
use crate::server::Surroundings;

/// The calls of the demonstration, each with actor and target.
const HOPS: [(&str, &str); 2] = [("coordinator", "inventory"), ("inventory", "warehouse")];
/// The words for the reasons of the expected refusals.
const REFUSALS: [(&str, &str); 3] = [
    ("no_delegation", "no delegation lets it call that"),
    ("scope_beyond", "beyond what the delegation allows"),
    ("subject_not_addressed", "addressed to the warehouse alone"),
];

/// The parties of the demonstration.
pub(super) struct Stage<'a> {
    pub(super) folder: &'a Folder,
    pub(super) server: SocketAddr,
    pub(super) surroundings: &'a Surroundings,
    pub(super) decisions: &'a mut Decisions,
    /// The id that links the requests in the audit log.
    pub(super) correlation_id: String,
}

/// The result of the demonstration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demonstrated {
    /// Every hop had its token.
    Whole,
    /// A hop was refused, and the reason was printed.
    Refused,
    /// A hop was refused because the user is revoked, and the reason was printed.
    UserRevoked,
}

/// A request of the demonstration.
struct Ask<'a> {
    actor: &'static str,
    target: &'a str,
    subject_token: &'a str,
    scope: Option<&'a str>,
}

/// Sends one user's request through the chain and prints each hop, then the refusals.
pub(super) async fn demonstrate(stage: &mut Stage<'_>, out: &mut Output) -> Result<Demonstrated, CliError> {
    let Stage { folder, surroundings, .. } = *stage;
    let user_token = user::token(folder.issuer_key(), surroundings, DEMO_USER, DEMO_SCOPE)?;
    folder.keep("user.jwt", &user_token)?;
    out.line("")?;
    out.line(&out.styled(Style::Heading, "alice asks her coordinator"))?;
    show(
        out,
        &[
            ("who", format!("alice of {DEMO_ISSUER}")),
            ("for", "demo-web-app (aud)".to_owned()),
            ("scope", DEMO_SCOPE.to_owned()),
            ("tenant", "acme".to_owned()),
            ("expires", relative(user::USER_TOKEN_SECONDS)),
        ],
    )?;
    let mut presented = user_token.clone();
    for (hop, (actor, target)) in (1..).zip(HOPS) {
        out.line("")?;
        out.line(&out.styled(Style::Heading, &format!("hop {hop}: {actor} calls {target}")))?;
        let issued = match stage.ask(&Ask { actor, target, subject_token: &presented, scope: None }).await? {
            Answer::Issued(issued) => issued.access_token,
            Answer::Refused { error } => {
                let reason = stage.reason(actor, &error).await?;
                out.line(&out.joined(&[(Style::Bad, "  refused"), (Style::Plain, &format!("  {reason}"))]))?;
                let is_user_revoked = reason.starts_with("subject_revoked:");
                return Ok(if is_user_revoked { Demonstrated::UserRevoked } else { Demonstrated::Refused });
            }
        };
        show_token(out, &claims(&issued)?, surroundings.clock.now().as_second())?;
        folder.keep(&format!("hop{hop}.jwt"), &issued)?;
        presented = issued;
    }
    show_refusals(stage, [&user_token, &presented], out).await?;
    Ok(Demonstrated::Whole)
}

/// Sends requests that the rules refuse, and prints the reasons.
async fn show_refusals(stage: &mut Stage<'_>, [user, hop2]: [&str; 2], out: &mut Output) -> Result<(), CliError> {
    let actor = "coordinator";
    let asks = [
        ("coordinator asks for the warehouse", Ask { actor, target: "warehouse", subject_token: user, scope: None }),
        (
            "coordinator asks for payroll:read",
            Ask { actor, target: "inventory", subject_token: user, scope: Some("payroll:read") },
        ),
        ("hop 2's token, shown by coordinator", Ask { actor, target: "inventory", subject_token: hop2, scope: None }),
    ];
    out.line("")?;
    out.line(&out.styled(Style::Heading, "refused, as they should be"))?;
    for ((what, ask), (expected, words)) in asks.iter().zip(REFUSALS) {
        let answer = match stage.ask(ask).await? {
            Answer::Issued(_) => "allowed: the registry was changed".to_owned(),
            Answer::Refused { error } => {
                let reason = stage.reason(ask.actor, &error).await?;
                if reason.starts_with(expected) { words.to_owned() } else { reason }
            }
        };
        out.line(&format!("  {what:<36} {answer}"))?;
    }
    Ok(())
}

impl Stage<'_> {
    async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, CliError> {
        let mut parameters = vec![
            (parameter::GRANT_TYPE, parameter::GRANT_TOKEN_EXCHANGE),
            (parameter::SUBJECT_TOKEN, ask.subject_token),
            (parameter::SUBJECT_TOKEN_TYPE, TokenType::Jwt.as_str()),
            (parameter::AUDIENCE, ask.target),
        ];
        parameters.extend(ask.scope.map(|scope| (parameter::SCOPE, scope)));
        let secret = self.folder.secret(ask.actor)?;
        let correlation_id = &self.correlation_id;
        token(self.server, &TokenRequest { agent: ask.actor, secret, parameters: &parameters, correlation_id }).await
    }

    /// Returns the reason for the last refusal, from the audit log.
    async fn reason(&mut self, actor: &str, error: &str) -> Result<String, CliError> {
        let events = self.decisions.next().await?;
        let last = events.into_iter().rev().find(|event| event.correlation_id.as_ref() == Some(&self.correlation_id));
        let reason = last.and_then(|event| Some((event.reason?, event.detail.unwrap_or_default())));
        Ok(match reason {
            Some((reason, detail)) => format!("{reason}: {detail}"),
            // The audit log has no event of an agent that is not authenticated.
            None if error == "invalid_client" => self.folder.wrong_secret(actor),
            None => error.to_owned(),
        })
    }
}

fn claims(token: &str) -> Result<AccessTokenClaims, CliError> {
    let token = UnverifiedToken::parse(token).map_err(|error| CliError::Demonstration(error.to_string()))?;
    Ok(AccessTokenClaims::deserialize(token.claims().as_map())?)
}

fn show_token(out: &mut Output, claims: &AccessTokenClaims, now: i64) -> Result<(), CliError> {
    let issuer = claims.sub_id.as_ref().map(|principal| principal.iss.as_str()).unwrap_or_default();
    let actors: Vec<&str> = claims.act.iter().flat_map(Act::actors).map(|actor| actor.sub).collect();
    show(
        out,
        &[
            ("who", format!("{} of {issuer}", claims.sub)),
            ("acting", actors.join(", called by ")),
            ("for", format!("{} (aud)", claims.aud)),
            ("scope", claims.scope.to_string()),
            ("tenant", claims.tenant_id.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("expires", relative(claims.exp - now)),
        ],
    )
}

fn show(out: &mut Output, rows: &[(&str, String)]) -> Result<(), CliError> {
    rows.iter().try_for_each(|(name, value)| {
        out.line(&out.joined(&[(Style::Quiet, &format!("  {name:<7}")), (Style::Plain, &format!(" {value}"))]))
    })
}
