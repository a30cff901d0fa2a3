//! Errors as one line of text.

use std::iter::successors;

/// Returns the message of an error and those of its causes, joined by `": "`.
///
/// Many errors repeat the message of their cause. A message that another one contains is left out.
///
/// ```
/// let error = "x".parse::<u8>().unwrap_err();
/// assert_eq!(sts_jose::error_chain(&error), "invalid digit found in string");
/// ```
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let mut messages: Vec<String> = Vec::new();
    for message in successors(Some(error), |error| error.source()).map(ToString::to_string) {
        if messages.iter().any(|said| said.contains(&message)) {
            continue;
        }
        if messages.last().is_some_and(|last| message.starts_with(last.as_str())) {
            messages.pop();
        }
        messages.push(message);
    }
    messages.join(": ")
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::fmt;

    use super::*;

    #[derive(Debug)]
    struct Link(&'static str, Option<Box<Link>>);

    impl fmt::Display for Link {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Link {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as &dyn Error)
        }
    }

    #[test]
    fn no_message_is_repeated() {
        let cases: [(&[&'static str], &str); 5] = [
            (&["no key set", "not JSON"], "no key set: not JSON"),
            (&["failed: refused", "refused"], "failed: refused"),
            (&["failed", "failed: refused", "refused"], "failed: refused"),
            (&["a: c", "b", "c"], "a: c: b"),
            (&["a", "a", ""], "a"),
        ];
        for (messages, chain) in cases {
            let links = messages.iter().rev().fold(None, |cause, message| Some(Box::new(Link(message, cause))));
            assert_eq!(error_chain(&links.unwrap()), chain);
        }
    }
}
