//! The reference configuration: a file with every option, generated from the table of options.

use std::fmt::Write as _;

use super::option::ConfigOption;
use super::options::OPTIONS;

const HEAD: &str = "\
# The configuration of agent-sts: every option, what it means, which values it takes, and its default.
# Made by `sts-server config reference`; a test holds it to the code.
#
# As it stands it sets one option, the one that is required. A line that begins with `#` and no space is an option that is left
# as it is: take the `#` away to set it. \"Default\" says what holds until then; where there is none, an example stands in its place.
#
# A relative path is relative to this file. A span of time is a whole number and s, m, h or d. In the environment an option
# `limits.max_ttl` is STS__LIMITS__MAX_TTL, and stronger than this file.
";

/// The widest line of a comment, in characters.
const WIDTH: usize = 120;

/// Example values of options that have no default, by the path of the option.
const EXAMPLES: &[(&str, &str)] = &[
    ("issuer", "https://sts.example.com"),
    ("registry", "registry.toml"),
    ("tls.certificate_file", "tls.crt"),
    ("tls.private_key_file", "tls.key"),
    ("tls.client_ca_file", "clients-ca.crt"),
    ("listen.client_certificate_header", "Client-Cert"),
    ("database.password_file", "/run/secrets/database_password"),
    ("limits.requests_per_minute_per_client", "60000"),
    ("limits.requests_per_minute_per_source", "60000"),
    ("limits.connections_per_source", "256"),
    ("egress.proxy", "http://proxy.example.com:3128"),
    ("egress.no_proxy", ".svc,10.0.0.0/8"),
    (
        "admin.tokens",
        "[{ name = \"carol\", role = \"admin\", hash = \"$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$y5HFY3+UvY8XkyPtJY6sVvLjqHoC6kTGYVhNTvFOkNs\" }]",
    ),
    ("admin.url", "https://sts-admin.example.com"),
    ("admin.oidc.issuer", "https://login.example.com"),
    ("admin.oidc.jwks_uri", "https://login.example.com/jwks"),
    ("admin.oidc.ca_file", "login-ca.crt"),
    ("admin.oidc.audience", "https://sts.example.com/admin"),
    ("admin.oidc.readers", "staff"),
    ("admin.oidc.operators", "on-call"),
    ("admin.oidc.admins", "sts-admins"),
    ("admin.oidc.client_id", "sts-console"),
    ("admin.oidc.client_secret_file", "/run/secrets/console_client_secret"),
    ("telemetry.otlp_endpoint", "http://127.0.0.1:4318"),
];

/// Returns the reference configuration in TOML. It loads unchanged, and gives the defaults.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    let mut table = None;
    for option in OPTIONS.iter() {
        match option.table {
            Some(name) if option.table != table => {
                let _ = writeln!(text, "\n[{name}]");
            }
            Some(_) | None => text.push('\n'),
        }
        table = option.table;
        describe(&mut text, option);
    }
    text
}

fn describe(text: &mut String, option: &ConfigOption) {
    comment(text, option.doc);
    let default = match option.default {
        Some(default) => format!("Default: {}", option.literal(default)),
        None => "No default".to_owned(),
    };
    comment(text, &format!("Value: {}. {default}.", option.form));
    let (set, value) = match (option.default, example(option)) {
        (Some(default), _) => ("#", default),
        // The only required option.
        (None, example) if option.table.is_none() && option.key == "issuer" => ("", example),
        (None, example) => ("#", example),
    };
    let _ = writeln!(text, "{set}{} = {}", option.key, option.literal(value));
}

fn example(option: &ConfigOption) -> &'static str {
    let path = option.path();
    EXAMPLES.iter().find(|(known, _)| *known == path).map_or("", |(_, example)| example)
}

/// Appends a sentence as lines of a comment.
fn comment(text: &mut String, sentence: &str) {
    let mut width = 0;
    for word in sentence.split(' ') {
        let length = word.chars().count() + 1;
        if width == 0 || width + length > WIDTH {
            text.push_str(if width == 0 { "#" } else { "\n#" });
            width = 1;
        }
        text.push(' ');
        text.push_str(word);
        width += length;
    }
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_without_a_default_has_an_example() {
        for option in OPTIONS.iter().filter(|option| option.default.is_none()) {
            assert!(!example(option).is_empty(), "{} has none", option.path());
        }
        for (path, _) in EXAMPLES {
            assert!(OPTIONS.iter().any(|option| option.path() == *path), "{path} is no option");
        }
    }
}
