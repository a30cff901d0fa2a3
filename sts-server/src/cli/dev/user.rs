//! Tokens of the demo users, signed by the demo issuer.

use std::process::ExitCode;

use serde_json::json;
use sts_jose::SigningKey;

use super::super::CliError;
use super::super::arguments::{DevArguments, DevTokenArguments};
use super::super::output::Output;
use super::folder::{DEMO_ISSUER, Folder};
use crate::mint;
use crate::server::Surroundings;

/// The user of the demonstration.
pub(super) const DEMO_USER: &str = "alice";
/// The scope of that user's token, and the default of `dev token --scope`.
pub(super) const DEMO_SCOPE: &str = "payroll:read profile stock:read";
/// The lifetime of a demo user's token, in seconds.
pub(super) const USER_TOKEN_SECONDS: i64 = 3600;

/// Prints a token of a demo user, as `dev token` does.
pub(super) fn print(
    dev: &DevArguments,
    user: &DevTokenArguments,
    surroundings: &Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    if !dev.directory.join("sts.toml").exists() {
        let message = "no demo issuer in {}: start `sts-server dev` first, or name its folder with --directory";
        return Err(CliError::Argument(message.replace("{}", &dev.directory.display().to_string())));
    }
    let folder = Folder::make(&dev.directory, &*surroundings.entropy)?;
    let token = token(folder.issuer_key(), surroundings, &user.sub, &user.scope)?;
    if out.is_json() {
        out.json(&json!({ "token": token }))?;
    } else {
        out.line(&token)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Signs a token as the demo issuer would: for the demo's web application, in the tenant `acme`.
pub(super) fn token(key: &SigningKey, surroundings: &Surroundings, sub: &str, scope: &str) -> Result<String, CliError> {
    let now = surroundings.clock.now();
    let claims = json!({
        "iss": DEMO_ISSUER,
        "sub": sub,
        "aud": "demo-web-app",
        "org_id": "acme",
        "scope": scope,
        "iat": now.as_second(),
        "exp": now.as_second() + USER_TOKEN_SECONDS,
        "jti": mint::name(now, &*surroundings.entropy),
    });
    let signed = key.sign(Some("JWT"), &serde_json::to_vec(&claims)?);
    signed.map_err(|error| CliError::Demonstration(error.to_string()))
}
