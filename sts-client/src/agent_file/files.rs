//! The files that `agent.toml` names.

use std::path::Path;

use sts_jose::MAX_FILE_BYTES;

use crate::build_error::BuildError;

/// Reads a file that `agent.toml` names.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, BuildError> {
    sts_jose::read_file(path, MAX_FILE_BYTES).map_err(|source| BuildError::File { path: path.to_owned(), source })
}
