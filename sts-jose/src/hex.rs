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

/// Returns the bytes of a text of hexadecimal digits, two for each byte; `None` for any other text.
///
/// ```
/// use sts_jose::unhex;
///
/// assert_eq!(unhex("0aFF"), Some(vec![0x0a, 0xff]));
/// // The standard library takes a sign for a digit.
/// assert_eq!((unhex("+f"), unhex("0af")), (None, None));
/// ```
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}
