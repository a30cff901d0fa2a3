//! Texts with quotes, as headers of proxies have them.

/// Splits a text at a separator outside of quotes, in which a client may write one. A backslash
/// takes the meaning of the character after it.
///
/// ```
/// let elements = sts_protocol::split_unquoted(r#"Hash=1;Subject="CN=a,b";URI=,Hash=2"#, ',');
/// assert_eq!(elements, [r#"Hash=1;Subject="CN=a,b";URI="#, "Hash=2"]);
/// ```
#[must_use]
pub fn split_unquoted(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for char in text.chars() {
        if char == '"' && !is_escaped {
            is_quoted = !is_quoted;
        }
        is_escaped = char == '\\' && !is_escaped;
        match parts.last_mut() {
            Some(part) if char != separator || is_quoted => part.push(char),
            Some(_) | None => parts.push(String::new()),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_within_quotes_do_not_split() {
        let value = "By=spiffe://a;Subject=\"CN=a,O=\\\"b;c\\\"\",Hash=1;Cert=\"x\"";
        assert_eq!(split_unquoted(value, ','), ["By=spiffe://a;Subject=\"CN=a,O=\\\"b;c\\\"\"", "Hash=1;Cert=\"x\""]);
    }
}
