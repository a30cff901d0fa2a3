//! Bytes as hexadecimal digits.

/// Returns two lowercase hexadecimal digits for each byte.
///
/// ```
/// assert_eq!(sts_jose::hex(&[0x0a, 0xff]), "0aff");
/// ```
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let digit = |value: u8| char::from_digit(u32::from(value), 16).unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xF)]).collect()
}
