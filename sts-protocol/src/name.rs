//! The grammar of names: of users, of tokens, of actors.

/// The longest `sub`, `jti` and name of an actor, in characters.
const MAX_CHARS: usize = 255;

/// Returns true if a name has 1 to 255 characters, none of which is a control character.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut chars = text.chars();
    !text.is_empty() && chars.by_ref().take(MAX_CHARS).all(|char| !char.is_control()) && chars.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_1_to_255_characters_and_no_control_characters() {
        for (text, fits) in [
            ("a".to_owned(), true),
            ("\u{e4}".repeat(255), true),
            (String::new(), false),
            ("a".repeat(256), false),
            ("a\nb".to_owned(), false),
            ("a\0".to_owned(), false),
            ("\u{85}".to_owned(), false),
        ] {
            assert_eq!(is_name(&text), fits, "{text:?}");
        }
    }
}
