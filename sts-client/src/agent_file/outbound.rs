//! The tables for routes, STS and service account of `agent.toml`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use sts_jose::{Algorithm, Egress};
use url::Url;

use super::files::read_file;
use crate::build_error::BuildError;
use crate::credentials::{Credentials, PrivateKeyFile, SecretFile, TokenFile};
use crate::exchange::{Sts, StsBuilder};
use crate::net::HttpOptions;
use crate::propagate::PropagatorBuilder;
use crate::service_account::ServiceAccount;
#[cfg(feature = "openidconnect")]
use crate::service_account::openid::OpenIdServiceAccount;

/// The table `[sts]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StsTable {
    issuer: String,
    client_id: String,
    client_secret_file: Option<PathBuf>,
    private_key_file: Option<PathBuf>,
    signing_alg: Option<Algorithm>,
    token_file: Option<PathBuf>,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    #[serde(default)]
    dpop: bool,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
    deadline_ms: Option<u64>,
    attempt_timeout_ms: Option<u64>,
    attempts: Option<u32>,
    approval_deadline_ms: Option<u64>,
}

/// The table `[http]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HttpTable {
    connect_timeout_ms: Option<u64>,
    read_timeout_ms: Option<u64>,
    ca_file: Option<PathBuf>,
    proxy: Option<Url>,
    #[serde(default)]
    no_proxy: Vec<String>,
    client_certificate_file: Option<PathBuf>,
    client_key_file: Option<PathBuf>,
}

impl HttpTable {
    /// Returns the proxies of the table, for key fetches.
    pub(crate) fn egress(&self) -> Result<Egress, BuildError> {
        let Some(proxy) = &self.proxy else { return Ok(Egress::default()) };
        let egress = Egress::by_proxy("http.proxy", proxy.as_str())
            .map_err(|error| BuildError::contradiction(error.to_string()))?;
        Ok(egress.except(self.no_proxy.join(",")))
    }
}

/// The table `[service_account]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServiceAccountTable {
    from: Option<From>,
    token_file: Option<PathBuf>,
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret_file: Option<PathBuf>,
    #[serde(default)]
    scopes: Vec<String>,
    audience: Option<String>,
    ca_file: Option<PathBuf>,
    #[serde(default)]
    allow_http: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum From {
    Sts,
}

impl StsTable {
    pub(super) fn builder(self) -> Result<StsBuilder, BuildError> {
        let credentials = self.credentials()?;
        let mut builder = Sts::builder(self.issuer, self.client_id, credentials);
        if let Some(path) = self.ca_file {
            builder = builder.ca_pem(read_file(&path)?);
        }
        match (self.certificate_file, self.key_file) {
            (Some(certificate), Some(key)) => builder = builder.client_certificate_files(certificate, key),
            (None, None) => {}
            (Some(_), None) | (None, Some(_)) => {
                return Err(BuildError::contradiction(
                    "sts.certificate_file and sts.key_file are set together or not at all",
                ));
            }
        }
        if self.dpop {
            builder = builder.dpop();
        }
        if self.allow_http {
            builder = builder.allow_http();
        }
        if let Some(deadline) = self.deadline_ms {
            builder = builder.deadline(Duration::from_millis(deadline));
        }
        if let Some(timeout) = self.attempt_timeout_ms {
            builder = builder.attempt_timeout(Duration::from_millis(timeout));
        }
        if let Some(attempts) = self.attempts {
            builder = builder.attempts(attempts);
        }
        if let Some(deadline) = self.approval_deadline_ms {
            builder = builder.approval_deadline(positive(deadline, "sts.approval_deadline_ms")?);
        }
        Ok(builder)
    }

    fn credentials(&self) -> Result<Credentials, BuildError> {
        match (&self.client_secret_file, &self.private_key_file, &self.token_file, self.signing_alg) {
            (Some(path), None, None, None) => {
                Ok(Credentials::ClientSecretFile(Arc::new(SecretFile::client_secret(path)?)))
            }
            (None, Some(path), None, Some(algorithm)) => {
                Ok(Credentials::PrivateKeyFile(Arc::new(PrivateKeyFile::private_key(path, algorithm)?)))
            }
            (None, None, Some(path), None) => Ok(Credentials::Token(Arc::new(TokenFile::new(path)))),
            (None, Some(_), None, None) => {
                Err(BuildError::contradiction("sts.private_key_file requires sts.signing_alg"))
            }
            (None, None, None, None) if self.certificate_file.is_some() => Ok(Credentials::ClientCertificate),
            (_, None, _, Some(_)) => Err(BuildError::contradiction("sts.signing_alg is for a private_key_file")),
            (None, None, None, None) | (Some(_), _, _, _) | (_, Some(_), _, _) => Err(BuildError::contradiction(
                "sts requires exactly one of client_secret_file, private_key_file and token_file; or none beside certificate_file",
            )),
        }
    }
}

impl HttpTable {
    pub(super) fn options(self) -> Result<HttpOptions, BuildError> {
        let mut options = HttpOptions::default();
        if let Some(timeout) = self.connect_timeout_ms {
            options = options.connect_timeout(positive(timeout, "http.connect_timeout_ms")?);
        }
        if let Some(timeout) = self.read_timeout_ms {
            options = options.read_timeout(positive(timeout, "http.read_timeout_ms")?);
        }
        if let Some(path) = self.ca_file {
            options = options.ca_pem(read_file(&path)?);
        }
        if let Some(proxy) = self.proxy {
            options = options.proxy(proxy);
        }
        options = self.no_proxy.into_iter().fold(options, HttpOptions::no_proxy);
        options = match (self.client_certificate_file, self.client_key_file) {
            (Some(certificate), Some(key)) => options.client_certificate_files(certificate, key),
            (None, None) => options,
            (Some(_), None) | (None, Some(_)) => {
                return Err(BuildError::contradiction(
                    "http.client_certificate_file and http.client_key_file are set together or not at all",
                ));
            }
        };
        // Check the contents of the files now, not at the first call.
        options.build()?;
        Ok(options)
    }
}

fn positive(milliseconds: u64, key: &str) -> Result<Duration, BuildError> {
    match milliseconds {
        0 => Err(BuildError::contradiction(format!("{key} must be greater than zero"))),
        milliseconds => Ok(Duration::from_millis(milliseconds)),
    }
}

impl ServiceAccountTable {
    pub(super) fn add_to(self, builder: PropagatorBuilder) -> Result<PropagatorBuilder, BuildError> {
        let source = match (&self.from, &self.token_file, &self.issuer) {
            (Some(From::Sts), None, None) => ServiceAccount::Sts,
            (None, Some(path), None) => ServiceAccount::Source(Arc::new(TokenFile::new(path))),
            (None, None, Some(_)) => return self.add_openid(builder),
            _ => {
                return Err(BuildError::contradiction(
                    "service_account requires exactly one of from, token_file and issuer",
                ));
            }
        };
        let of_another_idp = self.client_id.is_some()
            || self.client_secret_file.is_some()
            || self.audience.is_some()
            || self.ca_file.is_some()
            || self.allow_http
            || !self.scopes.is_empty();
        if of_another_idp {
            return Err(BuildError::contradiction(
                "service_account has client_id, client_secret_file, scopes, audience, ca_file and allow_http beside an issuer alone",
            ));
        }
        Ok(builder.service_account(source))
    }

    #[cfg(feature = "openidconnect")]
    fn add_openid(self, builder: PropagatorBuilder) -> Result<PropagatorBuilder, BuildError> {
        let (Some(issuer), Some(client_id), Some(path)) = (self.issuer, self.client_id, self.client_secret_file) else {
            return Err(BuildError::contradiction("service_account.issuer requires client_id and client_secret_file"));
        };
        let mut account = OpenIdServiceAccount::builder_with_file(issuer, client_id, SecretFile::client_secret(path)?);
        for scope in self.scopes {
            account = account.scope(scope);
        }
        if let Some(audience) = self.audience {
            account = account.audience(audience);
        }
        if let Some(path) = self.ca_file {
            account = account.ca_pem(read_file(&path)?);
        }
        if self.allow_http {
            account = account.allow_http();
        }
        Ok(builder.service_account(ServiceAccount::Source(Arc::new(account.build()?))))
    }

    #[cfg(not(feature = "openidconnect"))]
    fn add_openid(self, _builder: PropagatorBuilder) -> Result<PropagatorBuilder, BuildError> {
        Err(BuildError::contradiction(
            "service_account.issuer needs the feature openidconnect, which is not compiled in",
        ))
    }
}
