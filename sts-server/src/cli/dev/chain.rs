//! The demonstration: a user's token, hop by hop.

use std::net::SocketAddr;

use secrecy::ExposeSecret as _;
use serde::Deserialize as _;
use serde_json::json;
use sts_jose::UnverifiedToken;
use sts_protocol::{AccessTokenClaims, Act, TokenType, parameter};

use super::super::CliError;
use super::super::output::{Output, Style};
use super::super::token::relative;
use super::folder::{DEMO_ISSUER, Folder};
use super::request::{TokenRequest, token};
use crate::config::Config;
use crate::mint;
use crate::server::Surroundings;

/// The calls of the demonstration, each with actor and target.
const HOPS: [(&str, &str); 2] = [("coordinator", "inventory"), ("inventory", "warehouse")];
/// The lifetime of the demo user's token, in seconds.
const USER_TOKEN_SECONDS: i64 = 3600;

/// Sends one user's request through the chain and prints each hop.
pub(super) async fn demonstrate(
    folder: &Folder,
    config: &Config,
    server: SocketAddr,
    surroundings: &Surroundings,
    out: &mut Output,
) -> Result<(), CliError> {
    let now = surroundings.clock.now();
    let correlation_id = mint::name(now, &*surroundings.entropy);
    let mut presented = user_token(folder, surroundings)?;
    let user_file = folder.keep_token("user.jwt", &presented)?;
    out.line("")?;
    out.line(&out.styled(Style::Heading, "alice asks her coordinator"))?;
    show(
        out,
        &[("who", format!("alice of {DEMO_ISSUER}")), ("to", "demo-web-app".to_owned()), ("tenant", "acme".to_owned())],
    )?;
    let mut first = None;
    for (hop, (actor, target)) in (1..).zip(HOPS) {
        let parameters = [
            (parameter::GRANT_TYPE, parameter::GRANT_TOKEN_EXCHANGE),
            (parameter::SUBJECT_TOKEN, presented.as_str()),
            (parameter::SUBJECT_TOKEN_TYPE, TokenType::Jwt.as_str()),
            (parameter::AUDIENCE, target),
        ];
        let secret = folder.secret(actor)?;
        let request = TokenRequest { agent: actor, secret, parameters: &parameters, correlation_id: &correlation_id };
        let answer = token(server, &request).await?;
        let claims = claims(&answer.access_token)?;
        out.line("")?;
        out.line(&out.styled(Style::Heading, &format!("hop {hop}: {actor} calls {target}")))?;
        show_token(out, &claims, surroundings.clock.now().as_second())?;
        let file = folder.keep_token(&format!("hop{hop}.jwt"), &answer.access_token)?;
        first.get_or_insert(file);
        presented = answer.access_token;
    }
    let coordinator = folder.secret("coordinator")?.expose_secret();
    let (user, hop1) = (user_file.display(), first.unwrap_or_default());
    out.line("")?;
    out.line(&out.styled(Style::Quiet, "Repeat hop 1:"))?;
    out.line(&format!(
        "curl -s {}/oauth2/token -u coordinator:{coordinator} -d grant_type={} -d subject_token_type={} --data-urlencode subject_token@{user} -d audience=inventory",
        config.issuer,
        parameter::GRANT_TOKEN_EXCHANGE,
        TokenType::Jwt.as_str(),
    ))?;
    out.line(&out.styled(Style::Quiet, "Ask whether its token is active:"))?;
    out.line(&format!(
        "curl -s {}/oauth2/introspect -u inventory:{} --data-urlencode token@{}",
        config.issuer,
        folder.secret("inventory")?.expose_secret(),
        hop1.display(),
    ))
}

fn user_token(folder: &Folder, surroundings: &Surroundings) -> Result<String, CliError> {
    let now = surroundings.clock.now();
    let claims = json!({
        "iss": DEMO_ISSUER,
        "sub": "alice",
        "aud": "demo-web-app",
        "org_id": "acme",
        "iat": now.as_second(),
        "exp": now.as_second() + USER_TOKEN_SECONDS,
        "jti": mint::name(now, &*surroundings.entropy),
    });
    let signed = folder.issuer_key().sign(Some("JWT"), &serde_json::to_vec(&claims)?);
    signed.map_err(|error| CliError::Demonstration(error.to_string()))
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
            ("to", claims.aud.clone()),
            ("scope", claims.scope.to_string()),
            ("tenant", claims.tenant_id.as_ref().map(ToString::to_string).unwrap_or_default()),
            ("dies", relative(claims.exp - now)),
        ],
    )
}

fn show(out: &mut Output, rows: &[(&str, String)]) -> Result<(), CliError> {
    rows.iter().try_for_each(|(name, value)| {
        out.line(&out.joined(&[(Style::Quiet, &format!("  {name:<7}")), (Style::Plain, &format!(" {value}"))]))
    })
}
