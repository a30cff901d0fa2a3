//! Characters that make a text look like another.

/// Returns true for controls, line and paragraph separators, and characters that change the direction
/// of a text or have no width. Places that show texts of others escape them.
#[must_use]
pub(crate) fn is_misleading(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
                | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}
