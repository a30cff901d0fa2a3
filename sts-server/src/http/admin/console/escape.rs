//! The escape of all texts in the pages of the console.

use std::fmt;

use askama::filters::{Escaper, Html};

use crate::misleading::is_misleading;

/// The escape of HTML. Misleading characters are shown by their number, because an operator decides by
/// what the pages show.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Visible;

impl Escaper for Visible {
    fn write_escaped_str<W: fmt::Write>(&self, mut dest: W, string: &str) -> fmt::Result {
        for part in string.split_inclusive(is_misleading) {
            let last = part.chars().next_back().filter(|char| is_misleading(*char));
            let plain = last.map_or(part, |last| part.strip_suffix(last).unwrap_or(part));
            Html.write_escaped_str(&mut dest, plain)?;
            if let Some(last) = last {
                write!(dest, "[U+{:04X}]", u32::from(last))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_misleading_characters_are_shown_and_not_obeyed() {
        let mut shown = String::new();
        Visible.write_escaped_str(&mut shown, "<b>\u{202e}evil\u{200b}\n\"&'").unwrap();
        assert_eq!(shown, "&#60;b&#62;[U+202E]evil[U+200B][U+000A]&#34;&#38;&#39;");
    }
}
