//! The commands of a page, and the output that the page shows for each.

use std::path::Path;

use serde_json::Value;

/// A command of a page.
pub(super) struct Step {
    /// The heading above it.
    pub(super) heading: String,
    /// The line of the page.
    line: usize,
    /// How the command is run.
    pub(super) kind: Kind,
    /// The command: one or several lines of shell.
    pub(super) command: String,
    shown: Option<Shown>,
}

/// How a command is run: by the second word of the block's info string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `sh`: to its end.
    Run,
    /// `sh serve`: in a terminal of its own, until the test ends.
    Serve,
    /// `sh setup`: it installs something. A test provides that in its own way.
    Setup,
}

/// The block after a command.
enum Shown {
    Text(String),
    Json(Value),
}

/// The commands of a page of this repository, in order.
pub(super) fn steps(path: &str) -> Vec<Step> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (mut heading, mut steps) = (String::new(), Vec::<Step>::new());
    let mut lines = (1..).zip(text.lines());
    while let Some((line, text)) = lines.next() {
        if text.starts_with('#') {
            text.trim_start_matches(['#', ' ']).clone_into(&mut heading);
        }
        let Some(info) = text.strip_prefix("```") else { continue };
        let block = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```");
        let block = block.collect::<Vec<_>>().join("\n");
        let kind = match info {
            "sh" => Kind::Run,
            "sh serve" => Kind::Serve,
            "sh setup" => Kind::Setup,
            _ => {
                show(steps.last_mut(), info, &block, line);
                continue;
            }
        };
        steps.push(Step { heading: heading.clone(), line, kind, command: block, shown: None });
    }
    steps
}

fn show(step: Option<&mut Step>, info: &str, block: &str, line: usize) {
    let Some(step) = step.filter(|step| step.shown.is_none()) else { return };
    step.shown = match info {
        "text" => Some(Shown::Text(block.to_owned())),
        "json" => Some(Shown::Json(serde_json::from_str(block).unwrap_or_else(|error| panic!("line {line}: {error}")))),
        _ => None,
    };
}

impl Step {
    /// Asserts that the command printed what the page shows, or that it succeeded where the page shows nothing.
    pub(super) fn check(&self, printed: &str, code: i32) {
        let (line, command) = (self.line, &self.command);
        match &self.shown {
            None => assert_eq!(code, 0, "line {line}: {command}\n{printed}"),
            Some(Shown::Text(shown)) => {
                // The order of claims depends on how serde_json was built.
                let is_shown = fits(shown, printed) || fits(&sorted(shown), &sorted(printed));
                assert!(is_shown, "line {line}: {command}\nshown:\n{shown}\nprinted:\n{printed}");
            }
            Some(Shown::Json(shown)) => {
                let value = serde_json::from_str(printed);
                let value = value.unwrap_or_else(|error| panic!("line {line}: {command}\n{error}\n{printed}"));
                assert!(json_fits(shown, &value), "line {line}: {command}\nshown: {shown}\nprinted: {value}");
            }
        }
    }

    /// Replaces an address of the page by the one of this test.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        self.command = self.command.replace(from, to);
        match &mut self.shown {
            Some(Shown::Text(text)) => *text = text.replace(from, to),
            Some(Shown::Json(value)) => {
                *value = serde_json::from_str(&value.to_string().replace(from, to)).expect("still JSON");
            }
            None => {}
        }
    }
}

/// Whether the members are the same. A last member `…` means others too, in any order.
fn json_fits(shown: &Value, printed: &Value) -> bool {
    match (shown, printed) {
        (Value::Object(shown), Value::Object(printed)) => {
            let is_open = shown.contains_key("…");
            let is_known = |name: &String| is_open || shown.contains_key(name);
            let fits = |(name, value): (&String, &Value)| {
                name == "…" || printed.get(name).is_some_and(|printed| json_fits(value, printed))
            };
            printed.keys().all(is_known) && shown.iter().all(fits)
        }
        (Value::Array(shown), Value::Array(printed)) => match shown.split_last() {
            Some((last, members)) if last == "…" => {
                members.iter().all(|shown| printed.iter().any(|printed| json_fits(shown, printed)))
            }
            _ => {
                shown.len() == printed.len()
                    && shown.iter().zip(printed).all(|(shown, printed)| json_fits(shown, printed))
            }
        },
        (Value::String(shown), Value::String(printed)) => fits(shown, printed),
        (shown, printed) => words(&shown.to_string()) == words(&printed.to_string()),
    }
}

/// Whether a text is the one that is shown, in which `…` stands for any text, and tokens, ids and times for others.
fn fits(shown: &str, printed: &str) -> bool {
    let (shown, printed) = (words(shown), words(printed));
    let pieces: Vec<&str> = shown.split('…').collect();
    let ([first, middle @ .., last], true) = (pieces.as_slice(), pieces.len() > 1) else { return shown == printed };
    let Some(mut rest) = printed.strip_prefix(first) else { return false };
    for piece in middle {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// The text with a fixed word in the place of each token, id and time; without white space at the ends of its lines.
fn words(text: &str) -> String {
    let mut fixed = String::new();
    for line in text.trim_end().lines() {
        let mut rest = line.trim_end();
        while let Some(start) = rest.find(is_word) {
            let (before, word) = rest.split_at(start);
            let (word, after) = word.split_at(word.find(|char| !is_word(char)).unwrap_or(word.len()));
            fixed.push_str(before);
            fixed.push_str(class(word).unwrap_or(word));
            rest = after;
        }
        fixed.push_str(rest);
        fixed.push('\n');
    }
    fixed
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines.join("\n")
}

fn is_word(char: char) -> bool {
    char.is_ascii_alphanumeric() || "-_.:".contains(char)
}

/// What a word is an example of.
fn class(word: &str) -> Option<&'static str> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let dashes: Vec<usize> = word.match_indices('-').map(|(at, _)| at).collect();
    match word.len() {
        _ if word.starts_with("eyJ") => Some("TOKEN"),
        36 if dashes == [8, 13, 18, 23] => Some("ID"),
        43 if !word.contains(['.', ':']) => Some("KEY"),
        20..=30 if word.starts_with("20") && word.ends_with('Z') && word.contains('T') => Some("TIME"),
        10 if is_number => Some("SECONDS"),
        _ => None,
    }
}

#[test]
fn what_a_page_shows_is_compared() {
    let same = [
        ("a\nb", "a \nb\n"),
        ("a … c", "a b c"),
        ("until 2026-11-29T23:14:21Z", "until 2027-01-02T03:04:05.678Z"),
        ("jti 01a22991-f4ff-7e62-8fd3-d9832642d3b4", "jti 11a22991-f4ff-7e62-8fd3-d9832642d3b4"),
        ("…", "anything"),
    ];
    for (shown, printed) in same {
        assert!(fits(shown, printed), "{shown}");
    }
    for (shown, printed) in [("a", "b"), ("a …", "b c"), ("a … c … d", "a b c d e"), ("1", "2"), ("a…b…c", "a c")]
    {
        assert!(!fits(shown, printed), "{shown}");
    }
    let json = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
    let shown = json(r#"{"exp": 1795994061, "expires_in": 300, "act": {"sub": "a"}}"#);
    assert!(json_fits(&shown, &json(r#"{"act": {"sub": "a"}, "exp": 1895994061, "expires_in": 300}"#)));
    assert!(!json_fits(&shown, &json(r#"{"act": {"sub": "b"}, "exp": 1895994061, "expires_in": 300}"#)));
    assert!(!json_fits(&shown, &json(r#"{"act": {"sub": "a"}, "exp": 1895994061, "expires_in": 300, "x": 1}"#)));
    assert!(json_fits(&json(r#"{"a": 1, "…": "…"}"#), &json(r#"{"a": 1, "b": 2}"#)));
    assert!(!json_fits(&json("[1]"), &json("[1, 2]")));
    assert!(json_fits(&json(r#"[2, "…"]"#), &json("[1, 2]")));
    assert!(!json_fits(&json(r#"[3, "…"]"#), &json("[1, 2]")));
}
