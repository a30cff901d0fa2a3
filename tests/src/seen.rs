//! Every token and secret that a test used or received, and the search for them where they must not be.

use std::collections::BTreeSet;
use std::sync::Mutex;

/// How much of a part of a token is searched for, from its end: enough to be nothing else.
const NEEDLE_CHARS: usize = 40;
/// What is shorter is no secret of ours.
const MIN_CHARS: usize = 16;

/// The tokens and secrets of one harness.
#[derive(Debug, Default)]
pub struct Seen {
    needles: Mutex<BTreeSet<String>>,
}

impl Seen {
    /// Remembers a token or a secret. Of a token, its payload and its signature count, each alone.
    pub fn remember(&self, secret: &str) {
        let parts: Vec<&str> = match secret.split('.').collect::<Vec<_>>().as_slice() {
            // The header is no secret.
            [_header, rest @ ..] if !rest.is_empty() => rest.to_vec(),
            _ => vec![secret],
        };
        let mut needles = self.needles.lock().expect("no test panics here");
        for part in parts.into_iter().filter(|part| part.len() >= MIN_CHARS) {
            let end: String = part.chars().rev().take(NEEDLE_CHARS).collect();
            needles.insert(end.chars().rev().collect());
        }
    }

    /// Whether a text holds one of them; says which.
    #[must_use]
    pub fn find_in(&self, text: &str) -> Option<String> {
        let needles = self.needles.lock().expect("no test panics here");
        needles.iter().find(|needle| text.contains(needle.as_str())).cloned()
    }

    /// Fails the test if a text holds one of them. `place` names the text.
    ///
    /// # Panics
    /// When it does.
    pub fn assert_not_in(&self, text: &str, place: &str) {
        if let Some(needle) = self.find_in(text) {
            let at = text.find(&needle).unwrap_or_default();
            let context: String = text.chars().skip(at.saturating_sub(300)).take(700).collect();
            panic!("{place} holds a secret, {needle:?}:\n{context}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_token_is_found() {
        let seen = Seen::default();
        seen.remember("eyJhbGciOiJub25lIn0.cGF5bG9hZC1wYXlsb2FkLXBheWxvYWQ.c2lnbmF0dXJlLXNpZ25hdHVyZQ");
        assert!(seen.find_in("a log line with cGF5bG9hZC1wYXlsb2FkLXBheWxvYWQ in it").is_some());
        assert!(seen.find_in("or with c2lnbmF0dXJlLXNpZ25hdHVyZQ").is_some());
        assert!(seen.find_in("but not with eyJhbGciOiJub25lIn0").is_none());
    }
}
