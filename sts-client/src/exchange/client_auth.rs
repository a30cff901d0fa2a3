//! Client authentication: the agent proves its identity to the STS. The counterpart of the server's
//! `client_auth`.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use http::header::AUTHORIZATION;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use sts_jose::{Entropy, SigningKey, Typ};
use sts_protocol::parameter::{CLIENT_ASSERTION, CLIENT_ASSERTION_TYPE, CLIENT_ID, JWT_BEARER_ASSERTION};
use url::form_urlencoded::{Serializer, byte_serialize};

use super::StsInner;
use super::error::{ExchangeError, Outage};
use super::recent_answers::CredentialId;
use super::request::Post;
use crate::credentials::{self, Credentials, TokenSourceError};
use crate::dedup::DedupKey;

/// The lifetime of a client assertion.
const ASSERTION_LIFETIME: Duration = Duration::from_secs(60);

/// The `typ` of a client assertion, so that it is not accepted as another kind of token.
const ASSERTION_TYP: Option<&str> = Some(Typ::ClientAuthentication.as_str());

/// Adds client authentication to the request. Returns the request, and the id of the credential
/// used. Called for every attempt: the STS accepts an assertion once, and a workload token may be
/// rotated.
pub(super) async fn prove(sts: &StsInner, mut post: Post) -> Result<(Post, CredentialId), ExchangeError> {
    let credential = match &sts.credentials {
        Credentials::ClientSecret(secret) => prove_by_secret(sts, &mut post, secret)?,
        Credentials::ClientSecretFile(file) => prove_by_secret(sts, &mut post, &file.current().await)?,
        Credentials::PrivateKeyJwt(key) => prove_by_key(sts, &mut post, key)?,
        Credentials::PrivateKeyFile(file) => {
            let key = file.current().await;
            prove_by_key(sts, &mut post, &key)?
        }
        Credentials::ClientCertificate => {
            // RFC 8705 §2: the certificate proves the client that this parameter names.
            append(&mut post, [(CLIENT_ID, sts.client_id.as_str())]);
            let certificate = sts.certificate.as_ref().map(|certificate| certificate.x5t_s256());
            id_of(certificate.as_deref().unwrap_or(&sts.client_id))
        }
        Credentials::Token(source) => {
            let sourced = credentials::ask(&**source).await.map_err(from_source)?;
            append_assertion(&mut post, sourced.token.expose_secret());
            id_of(sourced.token.expose_secret())
        }
    };
    Ok((post, credential))
}

fn prove_by_secret(sts: &StsInner, post: &mut Post, secret: &SecretString) -> Result<CredentialId, ExchangeError> {
    let basic = basic(&sts.client_id, secret.expose_secret());
    post.headers.insert(AUTHORIZATION, basic.map_err(|error| misconfigured(&error))?);
    Ok(id_of(secret.expose_secret()))
}

fn prove_by_key(sts: &StsInner, post: &mut Post, key: &SigningKey) -> Result<CredentialId, ExchangeError> {
    append_assertion(post, &assertion(sts, key)?);
    Ok(id_of(key.kid()))
}

fn id_of(credential: &str) -> CredentialId {
    *DedupKey::new("credential", [credential]).as_bytes()
}

/// Returns the header of RFC 6749 §2.3.1. Its two parts are form-encoded first.
fn basic(client_id: &str, secret: &str) -> Result<HeaderValue, http::header::InvalidHeaderValue> {
    let encode = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret)));
    let mut value = HeaderValue::from_str(&format!("Basic {credentials}"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// Makes a new assertion (RFC 7523 §3). Its `aud` is the issuer only.
fn assertion(sts: &StsInner, key: &SigningKey) -> Result<String, ExchangeError> {
    let now = sts.clock.now();
    let exp = now.checked_add(ASSERTION_LIFETIME).unwrap_or(Timestamp::MAX);
    let claims = json!({
        "iss": sts.client_id,
        "sub": sts.client_id,
        "aud": sts.issuer,
        "iat": now.as_second(),
        "exp": exp.as_second(),
        "jti": jti(&*sts.entropy),
    });
    key.sign(ASSERTION_TYP, claims.to_string().as_bytes()).map_err(|error| misconfigured(&error))
}

fn jti(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid().hyphenated().to_string()
}

fn append_assertion(post: &mut Post, assertion: &str) {
    append(post, [(CLIENT_ASSERTION_TYPE, JWT_BEARER_ASSERTION), (CLIENT_ASSERTION, assertion)]);
}

fn append<const N: usize>(post: &mut Post, parameters: [(&str, &str); N]) {
    let mut form = Serializer::new(std::mem::take(&mut post.form));
    form.extend_pairs(parameters);
    post.form = form.finish();
}

fn from_source(error: TokenSourceError) -> ExchangeError {
    match error {
        TokenSourceError::Refused { code } => ExchangeError::Refused { code },
        TokenSourceError::Unavailable(source) => Outage::TokenSource(source).into(),
        TokenSourceError::Misconfigured { what } => ExchangeError::Misconfigured { what },
    }
}

fn misconfigured(error: &dyn std::error::Error) -> ExchangeError {
    ExchangeError::Misconfigured { what: format!("the agent cannot prove who it is: {error}") }
}
