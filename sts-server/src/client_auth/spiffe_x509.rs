//! X.509-SVIDs: certificates of SPIFFE workloads (draft-ietf-oauth-spiffe-client-auth §3.2).
//!
//! The authorities are those of the trust domain in the certificate alone. An authority of another
//! trust domain, or of `tls.client_ca_file`, does not count here.

use std::sync::Arc;

use sts_jose::TrustDomain;

use super::ClientContext;
use super::certificate::ClientCertificate;
use super::workload::{IdentifiedWorkload, WorkloadError};
use crate::keys::TrustError;
use crate::record::Standing;
use crate::registry::IssuerNameError;
use crate::storage::TokenReference;

/// Returns true if the certificate names a workload of a registered trust domain. Verifies nothing.
pub(super) fn is_of_trust_domain(context: &ClientContext<'_>, certificate: &ClientCertificate) -> bool {
    let domain = certificate.spiffe_id().and_then(TrustDomain::of_id);
    domain.is_some_and(|domain| context.registry.issuer(&domain.issuer()).is_some())
}

/// Checks the chain of an X.509-SVID against the bundle of its trust domain.
///
/// # Errors
/// [`WorkloadError`]. A `Trust` error that is an outage must be answered as an outage.
pub(super) async fn believe(context: &ClientContext<'_>, certificate: &ClientCertificate) -> Result<(), WorkloadError> {
    let unknown = || WorkloadError::Trust(TrustError::Issuer(IssuerNameError::Unknown));
    let domain = certificate.spiffe_id().and_then(TrustDomain::of_id).ok_or_else(unknown)?;
    if !certificate.is_leaf_of_svid() {
        return Err(WorkloadError::NotAnSvid);
    }
    Ok(context.trusted.believe_chain(context.registry, domain, certificate.chain(), context.now).await?)
}

/// Returns the agent of the workload that an X.509-SVID names.
///
/// # Errors
/// [`WorkloadError`]. A `Trust` error that is an outage must be answered as an outage.
pub(super) async fn identify(
    context: &ClientContext<'_>,
    certificate: &ClientCertificate,
) -> Result<IdentifiedWorkload, WorkloadError> {
    let unknown = || WorkloadError::UnknownSubject;
    let id = certificate.spiffe_id().ok_or_else(unknown)?;
    let issuer = TrustDomain::of_id(id).ok_or_else(unknown)?.issuer();
    // This check comes before any fetch of the bundle: a certificate of an unknown authority uses up the forced
    // refetch. A stranger would need the name of a registered workload for that.
    let found = context.registry.workload(&issuer, id).ok_or_else(unknown)?;
    believe(context, certificate).await?;
    let agent = Arc::clone(&found.agent);
    if agent.disabled {
        return Err(WorkloadError::DisabledAgent);
    }
    // A certificate has no claims.
    if let Some(selector) = found.entry().and_then(|entry| entry.claims.keys().next()) {
        return Err(WorkloadError::Claims(selector.to_string()));
    }
    let reference = TokenReference { iss: issuer, jti: certificate.thumbprint().to_owned() };
    let standing = Standing::of_outside(reference, id, vec![agent.id.clone()], certificate.valid_from());
    match context.revocations.refuse(&standing) {
        Some(kind) => Err(WorkloadError::Revoked(kind)),
        None => Ok(IdentifiedWorkload { agent, standing }),
    }
}
