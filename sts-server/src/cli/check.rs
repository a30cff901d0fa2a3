//! `check`: reports all faults of the configuration, the registry and the files that they name.

use std::path::Path;
use std::process::ExitCode;

use jiff::Timestamp;
use sts_jose::error_chain;

use super::arguments::{CheckArguments, Options};
use super::output::{Output, Style, counted, loaded};
use super::{CliError, online};
use crate::config::{self, Config};
use crate::fault::{Fault, Severity};
use crate::http::{CertificateAge, CertificateValidity, Tls, TlsError};
use crate::keys::MasterKey;
use crate::registry::{self, RegistryFile};
use crate::server::Surroundings;

pub(super) async fn run(
    options: &Options,
    arguments: &CheckArguments,
    surroundings: Surroundings,
    out: &mut Output,
) -> Result<ExitCode, CliError> {
    let loaded = loaded(options)?;
    let mut faults = loaded.faults;
    if let Some(path) = &loaded.registry {
        let file = RegistryFile::read(path);
        faults.extend(registry::check(&file, loaded.config.as_ref()));
        faults.extend(registry::expiring(&file, surroundings.clock.now()));
    }
    if let Some(config) = &loaded.config {
        faults.extend(certificate_fault(config, surroundings.clock.now()));
        faults.extend(secret_faults(config));
        faults.extend(config::exposed_files(config));
    }
    if arguments.online
        && let Some(config) = &loaded.config
    {
        faults.extend(online::faults(config, loaded.registry.as_deref(), surroundings, out).await?);
    }
    out.faults(&faults)?;
    let errors = faults.iter().filter(|fault| fault.is_error()).count();
    let warnings = faults.len() - errors;
    if !out.is_json() {
        let style = if errors == 0 { Style::Good } else { Style::Bad };
        out.line(&out.styled(style, &format!("{}, {}", counted(errors, "error"), counted(warnings, "warning"))))?;
    }
    Ok(if errors == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns the fault of the certificate and its key, if they are configured and cannot be used, or
/// the warning of its time.
fn certificate_fault(config: &Config, now: Timestamp) -> Option<Fault> {
    let files = config.tls.files()?;
    let [certificate, _] = files;
    let error = match Tls::read(files, config.tls.client_certificates, config.tls.client_ca_file.as_deref()) {
        Ok(tls) => return expiry_warning(certificate, tls.validity()?, now),
        Err(error) => error,
    };
    let file = match &error {
        TlsError::ClientAuthorities { path, .. } => path,
        _ => certificate,
    };
    Some(Fault::new(file, Severity::Error, error_chain(&error)))
}

/// Returns the warning of the time of the certificate. It is no error: `serve` starts with any
/// certificate, and a service that runs `check` first would stay down.
fn expiry_warning(file: &Path, validity: CertificateValidity, now: Timestamp) -> Option<Fault> {
    let CertificateValidity { begins, ends } = validity;
    let message = match validity.at(now) {
        CertificateAge::Valid => return None,
        CertificateAge::Early => format!("the certificate is not valid before {begins}"),
        CertificateAge::ExpiresSoon => format!("the certificate expires at {ends}"),
        CertificateAge::Expired => format!("the certificate expired at {ends}"),
    };
    Some(Fault::new(file, Severity::Warning, message).with_help("replace the file: a running server reads it again"))
}

/// Returns the faults of the files that the server reads at startup: the master key, and the
/// database password.
fn secret_faults(config: &Config) -> Vec<Fault> {
    let master = &config.keys.master_key_file;
    let fault = |file: &Path, error: &dyn std::error::Error| Fault::new(file, Severity::Error, error_chain(error));
    let mut faults = Vec::new();
    if let Err(error) = MasterKey::read(master) {
        faults.push(fault(master, &error));
    }
    if let Err(error) = config.database.check_files() {
        let file = config.database.password_file.as_deref().unwrap_or(Path::new("database.url"));
        faults.push(fault(file, &error));
    }
    faults
}
