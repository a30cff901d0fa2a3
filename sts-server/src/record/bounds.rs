//! The size limits of an audit event: clients choose many of its texts, but must not choose its
//! size.

use std::borrow::Cow;

use sts_protocol::{AuthorizationDetail, Scope, ScopeToken};

use super::Event;

/// The maximum bytes of an event as JSON.
pub const EVENT_BYTES: usize = 8 * 1024;
/// The maximum characters of a text in an event.
pub const TEXT_CHARS: usize = 256;
/// The maximum characters of `detail`, which is made of several texts.
pub const DETAIL_CHARS: usize = 1024;

/// The last character of a shortened text.
const MARK: char = '…';
/// The initial buffer size for the JSON of an event, which is rarely longer.
const USUAL_BYTES: usize = 1024;

/// The sizes that an event is cut to. Each is tried if the previous size leaves more than
/// [`EVENT_BYTES`]. JSON writes a character in at most six bytes, so the last size always fits.
/// Names that this service makes fit all of them.
const SIZES: [Size; 3] = [
    Size { text: TEXT_CHARS, detail: DETAIL_CHARS, list: 2048 },
    Size { text: 64, detail: 256, list: 512 },
    Size { text: 40, detail: 64, list: 200 },
];

#[derive(Debug, Clone, Copy)]
struct Size {
    /// Characters of each text and of each value of a list.
    text: usize,
    detail: usize,
    /// Bytes of a list as JSON.
    list: usize,
}

/// Returns the first [`TEXT_CHARS`] characters of a text. A shortened text ends with `…`.
#[must_use]
pub fn cut(text: &str) -> Cow<'_, str> {
    cut_to(text, TEXT_CHARS)
}

/// Returns the first [`DETAIL_CHARS`] characters of a text that is made of several texts.
#[must_use]
pub fn cut_detail(text: String) -> String {
    match cut_to(&text, DETAIL_CHARS) {
        Cow::Borrowed(_) => text,
        Cow::Owned(cut) => cut,
    }
}

fn cut_to(text: &str, chars: usize) -> Cow<'_, str> {
    if text.len() <= chars || text.chars().nth(chars).is_none() {
        return Cow::Borrowed(text);
    }
    Cow::Owned(text.chars().take(chars.saturating_sub(1)).chain([MARK]).collect())
}

/// Returns the event as it is stored, and its JSON.
pub(super) fn bounded(event: &Event) -> (Cow<'_, Event>, String) {
    let mut bounded = Cow::Borrowed(event);
    let mut body = String::new();
    for size in SIZES {
        if !is_within(&bounded, size) {
            cut_event(bounded.to_mut(), size);
        }
        body = json(&bounded);
        if body.len() <= EVENT_BYTES {
            break;
        }
    }
    (bounded, body)
}

#[expect(clippy::expect_used, reason = "an event is made of texts and numbers, which JSON takes all of, as UTF-8")]
fn json(event: &Event) -> String {
    let mut body = Vec::with_capacity(USUAL_BYTES);
    serde_json::to_writer(&mut body, event).expect("an event is JSON");
    String::from_utf8(body).expect("JSON is UTF-8")
}

fn is_within(event: &Event, size: Size) -> bool {
    let texts = [
        &event.correlation_id,
        &event.source,
        &event.admin,
        &event.run_by,
        &event.grant,
        &event.client_id,
        &event.auth_method,
        &event.subject_issuer,
        &event.sub,
        &event.target,
        &event.audience,
        &event.delegation,
        &event.approval,
        &event.jti,
        &event.parent_iss,
        &event.parent_jti,
        &event.txn,
        &event.reason,
        &event.claimed_iss,
        &event.claimed_aud,
        &event.claimed_alg,
        &event.claimed_kid,
        &event.claimed_typ,
        &event.row,
        &event.evidence,
    ];
    let fits = |text: &str, chars: usize| matches!(cut_to(text, chars), Cow::Borrowed(_));
    let fits_whole = |list: &[String]| whole(list.iter().map(String::as_str), size) == list.len();
    texts.into_iter().flatten().all(|text| fits(text, size.text))
        && event.detail.as_ref().is_none_or(|detail| fits(detail, size.detail))
        && [&event.actors, &event.roles, &event.dropped_roles].into_iter().all(|list| fits_whole(list))
        && [&event.requested_scope, &event.scope].into_iter().flatten().all(|scope| shown(scope, size).is_none())
        && [&event.requested_details, &event.authorization_details]
            .into_iter()
            .all(|list| elements(list, size) == list.len())
        && whole(event.tenant_ids.iter().map(|tenant| tenant.as_str()), size) == event.tenant_ids.len()
}

fn cut_event(event: &mut Event, size: Size) {
    let mut names = Vec::new();
    let texts = [
        ("correlation_id", &mut event.correlation_id, size.text),
        ("source", &mut event.source, size.text),
        ("admin", &mut event.admin, size.text),
        ("run_by", &mut event.run_by, size.text),
        ("grant", &mut event.grant, size.text),
        ("client_id", &mut event.client_id, size.text),
        ("auth_method", &mut event.auth_method, size.text),
        ("subject_issuer", &mut event.subject_issuer, size.text),
        ("sub", &mut event.sub, size.text),
        ("target", &mut event.target, size.text),
        ("audience", &mut event.audience, size.text),
        ("delegation", &mut event.delegation, size.text),
        ("approval", &mut event.approval, size.text),
        ("jti", &mut event.jti, size.text),
        ("parent_iss", &mut event.parent_iss, size.text),
        ("parent_jti", &mut event.parent_jti, size.text),
        ("txn", &mut event.txn, size.text),
        ("reason", &mut event.reason, size.text),
        ("claimed_iss", &mut event.claimed_iss, size.text),
        ("claimed_aud", &mut event.claimed_aud, size.text),
        ("claimed_alg", &mut event.claimed_alg, size.text),
        ("claimed_kid", &mut event.claimed_kid, size.text),
        ("claimed_typ", &mut event.claimed_typ, size.text),
        ("row", &mut event.row, size.text),
        ("evidence", &mut event.evidence, size.text),
        ("detail", &mut event.detail, size.detail),
    ];
    for (name, field, chars) in texts {
        if let Some(text) = field
            && let Cow::Owned(cut) = cut_to(text, chars)
        {
            *text = cut;
            names.push(name);
        }
    }
    let lists =
        [("actors", &mut event.actors), ("roles", &mut event.roles), ("dropped_roles", &mut event.dropped_roles)];
    for (name, list) in lists {
        let fit = whole(list.iter().map(String::as_str), size);
        if fit < list.len() {
            let mut texts: Vec<String> = list.iter().map(|text| cut_to(text, size.text).into_owned()).collect();
            texts.truncate(beginning(texts.iter().map(String::as_str), size));
            *list = texts;
            names.push(name);
        }
    }
    for (name, field) in [("requested_scope", &mut event.requested_scope), ("scope", &mut event.scope)] {
        if let Some(cut) = field.as_ref().and_then(|scope| shown(scope, size)) {
            *field = Some(cut);
            names.push(name);
        }
    }
    let details = [
        ("requested_details", &mut event.requested_details),
        ("authorization_details", &mut event.authorization_details),
    ];
    for (name, list) in details {
        let fit = elements(list, size);
        if fit < list.len() {
            list.truncate(fit);
            names.push(name);
        }
    }
    let fit = beginning(event.tenant_ids.iter().map(|tenant| tenant.as_str()), size);
    if fit < event.tenant_ids.len() {
        event.tenant_ids.truncate(fit);
        names.push("tenant_ids");
    }
    for name in names {
        if !event.cut.iter().any(|known| known == name) {
            event.cut.push(name.to_owned());
        }
    }
}

/// Returns the number of leading values of a list that fit unchanged.
fn whole<'a>(values: impl Iterator<Item = &'a str> + Clone, size: Size) -> usize {
    let short = values.clone().take_while(|value| matches!(cut_to(value, size.text), Cow::Borrowed(_))).count();
    short.min(beginning(values, size))
}

/// Returns the number of leading values of a list that fit its byte limit.
fn beginning<'a>(values: impl Iterator<Item = &'a str>, size: Size) -> usize {
    let mut bytes = 0_usize;
    let fits = |value: &&str| {
        bytes = bytes.saturating_add(json_bytes(value));
        bytes <= size.list
    };
    values.take_while(fits).count()
}

/// Returns the number of leading elements that fit the byte limit of a list.
fn elements(list: &[AuthorizationDetail], size: Size) -> usize {
    let mut bytes = 0_usize;
    let fits = |element: &&AuthorizationDetail| {
        // An element is made of texts and numbers, which JSON takes all of.
        bytes = bytes.saturating_add(serde_json::to_string(element).map_or(usize::MAX, |json| json.len()));
        bytes <= size.list
    };
    list.iter().take_while(fits).count()
}

/// Returns the values of a scope that fit, or `None` if all fit. A scope has no place for a mark,
/// so a value that is too long is left out.
fn shown(scope: &Scope, size: Size) -> Option<Scope> {
    let mut bytes = 0_usize;
    let fits = |value: &str| {
        bytes = bytes.saturating_add(json_bytes(value));
        bytes <= size.list && value.len() <= size.text
    };
    if scope.iter().map(ScopeToken::as_str).all(fits) {
        return None;
    }
    let mut bytes = 0_usize;
    let short = scope.iter().filter(|value| value.as_str().len() <= size.text);
    let fits = |value: &&ScopeToken| {
        bytes = bytes.saturating_add(json_bytes(value.as_str()));
        bytes <= size.list
    };
    Some(short.take_while(fits).cloned().collect())
}

/// Returns the bytes of a value in a JSON array, with its quotes and its comma.
fn json_bytes(text: &str) -> usize {
    let bytes = |character: char| match character {
        '"' | '\\' => 2,
        character if character < ' ' => 6,
        character => character.len_utf8(),
    };
    text.chars().map(bytes).sum::<usize>().saturating_add(3)
}
