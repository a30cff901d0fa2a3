//! `tls_client_auth`: a certificate of a configured authority, by one of its names (RFC 8705 §2.1).

use std::sync::Arc;

use super::certificate::ClientCertificate;
use super::{ClientContext, Failure, in_service};
use crate::registry::Agent;

/// Returns the agent that `client_id` names, if the certificate has the name of its entry.
pub(super) fn authenticate(
    context: &ClientContext<'_>,
    client_id: &str,
    certificate: &ClientCertificate,
) -> Result<Arc<Agent>, Failure> {
    let agent = in_service(context.registry, context.revocations, client_id)?;
    let auth = agent.auth.as_ref().ok_or(Failure::OnlyReceives)?;
    let names = [
        auth.tls_client_auth_san_uri.as_deref().map(|uri| certificate.has_uri(uri)),
        auth.tls_client_auth_san_dns.as_deref().map(|name| certificate.has_dns(name)),
        auth.tls_client_auth_subject_dn.as_deref().map(|dn| certificate.has_subject(dn)),
    ];
    let mut names = names.into_iter().flatten().peekable();
    if names.peek().is_none() {
        return Err(Failure::NoCertificateName);
    }
    if !certificate.is_verified() {
        return Err(Failure::CertificateUntrusted);
    }
    if !names.all(|fits| fits) {
        return Err(Failure::CertificateName);
    }
    if !certificate.is_valid(context.now) {
        return Err(Failure::CertificateExpired);
    }
    Ok(Arc::clone(agent))
}
