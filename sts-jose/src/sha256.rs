//! SHA-256 of bytes in memory.

use aws_lc_rs::digest;

/// Returns the SHA-256 of bytes, in lower-case hexadecimal.
///
/// ```
/// let hash = sts_jose::sha256_hex(b"");
/// assert_eq!(hash, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/// ```
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    crate::hex(&sha256(bytes))
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}
