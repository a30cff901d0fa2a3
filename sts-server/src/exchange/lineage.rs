//! The ancestors of our tokens, read only if an ancestor may have been revoked.

use super::Refusal;
use crate::record::Standing;
use crate::service::View;
use crate::storage::{RevocationKind, StorageError};
use crate::verify::SubjectError;

/// Returns the revocation that applies to a credential or one of its ancestors. Costs one read if a
/// revoked token may be among the ancestors.
///
/// # Errors
/// [`StorageError`] if the database cannot be read.
pub(super) async fn refuses(view: &View<'_>, standing: &mut Standing) -> Result<Option<RevocationKind>, StorageError> {
    let revocations = &view.snapshot.revocations;
    if !revocations.asks_for_lineage(standing) {
        return Ok(revocations.refuse(standing));
    }
    standing.lineage = view.sts.store.ancestors(&standing.token.jti).await?;
    // The database lost its last commits, among them this token. Its ancestors are unknown, so it
    // counts as revoked.
    Ok(standing.lineage.as_ref().map_or(Some(RevocationKind::Token), |_| revocations.refuse(standing)))
}

/// Checks in step 4 that the verified subject token does not descend from a revoked token.
pub(super) async fn check_lineage(view: &View<'_>, standing: &mut Standing) -> Result<(), Refusal> {
    match refuses(view, standing).await {
        Ok(None) => Ok(()),
        Ok(Some(kind)) => Err(Refusal::Subject(SubjectError::Revoked(kind))),
        Err(error) => Err(Refusal::Snapshot(error.into())),
    }
}
