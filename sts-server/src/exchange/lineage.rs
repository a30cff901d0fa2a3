//! The tokens that a token of ours descends from: looked up where one of them may have been revoked, and nowhere else.

use super::Refusal;
use crate::record::Standing;
use crate::service::View;
use crate::storage::{RevocationKind, StorageError};
use crate::verify::SubjectError;

/// The revocation that a credential falls under, its ancestors considered. One read where a revoked token may be among them.
///
/// # Errors
/// [`StorageError`] when the database cannot be read.
pub(super) async fn refuses(view: &View<'_>, standing: &mut Standing) -> Result<Option<RevocationKind>, StorageError> {
    let revocations = &view.snapshot.revocations;
    if !revocations.asks_for_lineage(standing) {
        return Ok(revocations.refuse(standing));
    }
    standing.lineage = view.sts.store.ancestors(&standing.token.jti).await?;
    // A token of ours that is not recorded was lost with the database's last moments: nothing is known of it.
    Ok(standing.lineage.as_ref().map_or(Some(RevocationKind::Token), |_| revocations.refuse(standing)))
}

/// Step 4, where the subject token was verified: whether it descends from one that was revoked.
pub(super) async fn check_lineage(view: &View<'_>, standing: &mut Standing) -> Result<(), Refusal> {
    match refuses(view, standing).await {
        Ok(None) => Ok(()),
        Ok(Some(kind)) => Err(Refusal::Subject(SubjectError::Revoked(kind))),
        Err(error) => Err(Refusal::Snapshot(error.into())),
    }
}
