//! The commands of a page, and the output that the page shows for each.

use serde_json::Value;

use super::links::{read, root};

/// A command of a page.
pub(super) struct Step {
    /// The heading above it.
    pub(super) heading: String,
    /// The line of the page.
    pub(super) line: usize,
    /// How the command is run.
    pub(super) kind: Kind,
    /// The command: one or several lines of shell.
    pub(super) command: String,
    /// The exit code that the page names; 0 if it names none.
    exits: i32,
    shown: Option<Shown>,
}

/// How a command is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `sh`, or `sh exits=1` if the command is expected to fail: to its end.
    Run,
    /// `sh follows`: to its end, again until it prints what the page shows. The service follows a change within a second.
    Follow,
    /// `sh serve`: in a terminal of its own, until the test ends.
    Serve,
}

/// The block after a command.
enum Shown {
    /// `text`: line by line.
    Text(String),
    /// `text unordered`: the same lines, in any order.
    Unordered(String),
    /// `json`: the same members.
    Json(Value),
}

/// The commands of a page of this repository, in order.
pub(super) fn steps(path: &str) -> Vec<Step> {
    let mut steps = Vec::<Step>::new();
    for Block { heading, line, info, text } in blocks(&read(&root().join(path))) {
        let mut words = info.split(' ');
        if words.next() != Some("sh") {
            show(steps.last_mut(), &info, &text, line);
            continue;
        }
        let (kind, exits) = match words.next() {
            None => (Kind::Run, 0),
            Some("serve") => (Kind::Serve, 0),
            Some("follows") => (Kind::Follow, 0),
            Some(word) => {
                let code = word.strip_prefix("exits=").and_then(|code| code.parse().ok());
                (Kind::Run, code.unwrap_or_else(|| panic!("{path}, line {line}: {info}")))
            }
        };
        steps.push(Step { heading, line, kind, command: text, exits, shown: None });
    }
    steps
}

/// A block of a page between two fences.
pub(super) struct Block {
    heading: String,
    line: usize,
    /// The text after the first fence.
    pub(super) info: String,
    pub(super) text: String,
}

/// The blocks of a page, in order.
pub(super) fn blocks(page: &str) -> Vec<Block> {
    let (mut heading, mut blocks) = (String::new(), Vec::new());
    let mut lines = (1..).zip(page.lines());
    while let Some((line, text)) = lines.next() {
        if text.starts_with('#') {
            text.trim_start_matches(['#', ' ']).clone_into(&mut heading);
        }
        let Some(info) = text.strip_prefix("```") else { continue };
        let block = lines.by_ref().map(|(_, text)| text).take_while(|text| *text != "```");
        let text = block.collect::<Vec<_>>().join("\n");
        blocks.push(Block { heading: heading.clone(), line, info: info.to_owned(), text });
    }
    blocks
}

fn show(step: Option<&mut Step>, info: &str, block: &str, line: usize) {
    let Some(step) = step.filter(|step| step.shown.is_none()) else { return };
    step.shown = match info {
        "text" => Some(Shown::Text(block.to_owned())),
        "text unordered" => Some(Shown::Unordered(block.to_owned())),
        "json" => Some(Shown::Json(serde_json::from_str(block).unwrap_or_else(|error| panic!("line {line}: {error}")))),
        _ => None,
    };
}

impl Step {
    /// The commands of the step, each on one line and without comments; a here-document belongs to its command.
    pub(super) fn commands(&self) -> Vec<String> {
        let mut commands = Vec::new();
        let text = self.command.replace("\\\n", " ");
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let line = line.split(" #").next().unwrap_or_default().trim();
            if let Some((_, end)) = line.split_once("<<'") {
                let end = end.trim_end_matches('\'');
                lines.by_ref().take_while(|text| *text != end).for_each(drop);
            }
            if !line.is_empty() && !line.starts_with('#') {
                commands.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
        commands
    }

    /// Asserts that the command ended as the page says, and printed what the page shows.
    pub(super) fn check(&self, printed: &str, code: i32) {
        if let Some(difference) = self.difference(printed, code) {
            panic!("line {}: {}\n{difference}", self.line, self.command);
        }
    }

    /// What the page shows beside what was printed, if they differ or the command ended otherwise.
    pub(super) fn difference(&self, printed: &str, code: i32) -> Option<String> {
        if code != self.exits {
            return Some(format!("exit code {code} and not {}\n{printed}", self.exits));
        }
        let (is_shown, shown) = match self.shown.as_ref()? {
            Shown::Text(shown) => (fits(shown, printed), shown.clone()),
            Shown::Unordered(shown) => (fits(&sorted(shown), &sorted(printed)), shown.clone()),
            Shown::Json(shown) => {
                let value = serde_json::from_str(printed);
                (value.is_ok_and(|value| json_fits(shown, &value)), shown.to_string())
            }
        };
        (!is_shown).then(|| format!("shown:\n{shown}\nprinted:\n{printed}"))
    }

    /// Replaces an address of the page by the one of this test.
    pub(super) fn replace(&mut self, from: &str, to: &str) {
        self.command = self.command.replace(from, to);
        match &mut self.shown {
            Some(Shown::Text(text) | Shown::Unordered(text)) => *text = text.replace(from, to),
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
fn a_command_must_end_and_print_as_its_page_says() {
    let step = |exits, shown| {
        let kind = Kind::Run;
        Step { heading: String::new(), line: 1, kind, command: String::new(), exits, shown: Some(shown) }
    };
    let fails = |step: &Step, printed: &str, code| step.difference(printed, code).is_some();
    let ordered = step(1, Shown::Text("a\nb".to_owned()));
    assert!(!fails(&ordered, "a\nb", 1));
    assert!(fails(&ordered, "a\nb", 0), "another exit code");
    assert!(fails(&ordered, "b\na", 1), "another order");
    let unordered = step(0, Shown::Unordered("a\nb".to_owned()));
    assert!(!fails(&unordered, "b\na", 0));
    assert!(fails(&unordered, "b\na\nc", 0), "one line more");
}

#[test]
fn the_commands_of_a_block_are_told_apart() {
    let command = "A=1\ncurl -sS \\\n  -d x   # why\ncat >> f <<'END'\n\ntext\nEND\n# nothing\nls".to_owned();
    let step = Step { heading: String::new(), line: 1, kind: Kind::Run, command, exits: 0, shown: None };
    assert_eq!(step.commands(), ["A=1", "curl -sS -d x", "cat >> f <<'END'", "ls"]);
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
