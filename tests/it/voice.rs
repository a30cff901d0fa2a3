//! The voice of the source: words that it does without, and how its documentation begins.

use std::fs;
use std::path::{Path, PathBuf};

/// The crates that are published.
const CRATES: [&str; 5] = ["sts-agent", "sts-client", "sts-jose", "sts-protocol", "sts-server"];

/// Words that name no party.
const BANNED: [&str; 5] = ["whoever", "whatever", "somebody", "nobody", "anybody"];

/// Phrases that texts for people do without, each with words that say the same.
const PHRASES: [(&str, &str); 14] = [
    ("all the same", "anyway"),
    ("alive", "active, valid, or not expired"),
    ("at fault", "causes"),
    ("believed", "trusted"),
    ("by itself", "automatically"),
    ("dies", "expires"),
    ("is told", "the sender, as the subject"),
    ("no more", "no longer, or deleted"),
    ("nobody", "the party"),
    ("out of reach", "cannot be reached"),
    ("past the server", "outside the servers"),
    ("so many", "the number"),
    ("stands already", "is already defined"),
    ("stands twice", "is repeated"),
];

/// Words that a documentation comment begins with only in this share of all.
const QUESTIONS: [&str; 9] = ["What", "Who", "Where", "When", "Why", "How", "Which", "Whether", "Whose"];
const MOST_QUESTIONS_PERCENT: usize = 5;

#[test]
fn no_word_of_the_source_leaves_the_party_unnamed() {
    let mut breaches = Vec::new();
    for (path, text) in CRATES.iter().flat_map(|name| sources(name)) {
        for (number, line) in text.lines().enumerate() {
            let mut words = line.split(|letter: char| !letter.is_ascii_alphabetic());
            if words.any(|word| BANNED.iter().any(|banned| word.eq_ignore_ascii_case(banned))) {
                breaches.push(format!("{}:{}: {}", path.display(), number + 1, line.trim()));
            }
        }
    }
    assert!(breaches.is_empty(), "name the party (the caller, the client, the operator):\n{}", breaches.join("\n"));
}

#[test]
fn the_texts_of_the_source_are_plain() {
    let mut breaches = Vec::new();
    for (path, text) in CRATES.iter().flat_map(|name| sources(name)) {
        let code = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//")) {
            let line = line.replace("\\\"", "'");
            let texts: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            let words = format!(" {}", texts.join(" ").to_lowercase());
            for (phrase, better) in PHRASES.iter().filter(|(phrase, _)| words.contains(&format!(" {phrase}"))) {
                breaches.push(format!("{}:{}: {phrase}: say {better}", path.display(), number + 1));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn documentation_begins_with_a_noun_or_a_verb() {
    for name in CRATES {
        let (mut blocks, mut questions) = (0, Vec::new());
        for (path, text) in sources(name) {
            let mut is_within = false;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim_start();
                let documentation = line.strip_prefix("///").or_else(|| line.strip_prefix("//!"));
                if let Some(first) = documentation.filter(|_| !is_within) {
                    blocks += 1;
                    let word = first.trim_start().split(|letter: char| !letter.is_ascii_alphabetic()).next();
                    if word.is_some_and(|word| QUESTIONS.contains(&word)) {
                        questions.push(format!("{}:{}: {line}", path.display(), number + 1));
                    }
                }
                is_within = documentation.is_some();
            }
        }
        assert!(blocks > 50, "{name}: the documentation is found");
        let is_within_bounds = questions.len() * 100 <= blocks * MOST_QUESTIONS_PERCENT;
        assert!(
            is_within_bounds,
            "{name}: {} of {blocks} begin with a question:\n{}",
            questions.len(),
            questions.join("\n")
        );
    }
}

/// The source files of a crate, with their text.
fn sources(name: &str) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the repository");
    let (mut found, mut folders) = (Vec::new(), vec![root.join(name).join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("a source file");
                found.push((path, text));
            }
        }
    }
    found
}
