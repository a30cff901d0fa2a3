//! The page of an approval, for a person in a browser: plain HTML, without scripts or styles.

use std::fmt::Write as _;

use crate::approval::SeenApproval;
use crate::misleading::is_misleading;

/// Returns the page of an approval. Its forms carry the token back.
pub(super) fn approval(seen: &SeenApproval, token: &str) -> String {
    let mut rows = String::new();
    let mut row = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = write!(rows, "<tr><th>{name}</th><td>{}</td></tr>", text(value));
    };
    row("Agent", &seen.client_id);
    row("On behalf of", &format!("{} of {}", seen.sub, seen.subject_issuer));
    if let Some(tenant) = &seen.tenant_id {
        row("Tenant", tenant);
    }
    if seen.actors.len() > 1 {
        row("Chain", &seen.actors.join(", before it "));
    }
    row("Wants to call", &seen.target);
    row("Scope", &seen.scope);
    for detail in &seen.authorization_details {
        row("Detail", &serde_json::to_string(detail).unwrap_or_default());
    }
    row("If granted, valid for", &seen.remember);
    row("Requested", &seen.requested_at.to_string());
    row("Until", &seen.expires_at.to_string());
    row("State", &seen.state);
    let acts: &[(&str, &str)] = match &*seen.state {
        "pending" => &[("grant", "Grant"), ("deny", "Deny")],
        "granted" => &[("withdraw", "Withdraw")],
        _ => &[],
    };
    let mut forms = String::new();
    for (act, label) in acts {
        let _ = write!(
            forms,
            "<form method=\"post\"><input type=\"hidden\" name=\"token\" value=\"{}\">\
             <input type=\"hidden\" name=\"decision\" value=\"{act}\"><button>{label}</button></form>",
            text(token)
        );
    }
    page("An agent asks for your approval", &format!("<table>{rows}</table>{forms}"))
}

/// Returns the page of a request that was not served.
pub(super) fn error(told: &str) -> String {
    page("Approval", &format!("<p>{}</p>", text(told)))
}

fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
         <meta name=\"viewport\" content=\"width=device-width\"></head><body><h1>{title}</h1>{body}</body></html>\n"
    )
}

/// Returns a text as HTML. Control characters, and those that change the direction of text, are
/// shown by their numbers.
fn text(raw: &str) -> String {
    let mut escaped = String::with_capacity(raw.len());
    for char in raw.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            char if is_misleading(char) => {
                let _ = write!(escaped, "[U+{:04X}]", u32::from(char));
            }
            char => escaped.push(char),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_and_misleading_characters_are_shown_and_not_obeyed() {
        let shown = text("<script>\"'&\u{202E}\u{200B}\n</script>");
        assert_eq!(shown, "&lt;script&gt;&quot;&#39;&amp;[U+202E][U+200B][U+000A]&lt;/script&gt;");
    }
}
