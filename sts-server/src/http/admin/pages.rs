//! Pages of lists: each of a bounded number of elements and of bytes.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sts_protocol::Form;

use crate::admin::Denied;
use crate::document::FieldFault;

/// The maximum number of elements of a page, which also applies without `limit`.
const MAX_ELEMENTS: usize = 1000;
/// The maximum number of bytes of JSON of a page before its last element.
const MAX_BYTES: usize = 1024 * 1024;

/// The parameters of a list.
pub(super) const PARAMETERS: [(&str, &str); 2] = [
    ("limit", "The maximum number of elements, 1 to 1000."),
    ("after", "`next` of the answer before. Without it, the list begins."),
];

/// The page that a request asks for.
#[derive(Debug)]
pub(super) struct PageRequest {
    limit: usize,
    /// The key of the last element of the page before.
    after: Option<String>,
}

/// A page of a list.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) elements: Vec<T>,
    /// The `after` of the next page. `None` if there is no next page.
    pub(super) next: Option<String>,
}

impl PageRequest {
    /// Reads the parameters of a list.
    ///
    /// # Errors
    /// [`Denied::Parameters`].
    pub(super) fn read(given: &Form) -> Result<Self, Denied> {
        let mut faults = Vec::new();
        let limit = match given.get("limit").map(str::parse::<usize>) {
            None => MAX_ELEMENTS,
            Some(Ok(limit @ 1..=MAX_ELEMENTS)) => limit,
            Some(Ok(_) | Err(_)) => {
                faults.push(FieldFault::of("limit", "must be 1 to 1000"));
                MAX_ELEMENTS
            }
        };
        let after = given.get("after").map(key_of);
        if after == Some(None) {
            faults.push(FieldFault::of("after", "must be `next` of an answer"));
        }
        if faults.is_empty() { Ok(Self { limit, after: after.flatten() }) } else { Err(Denied::Parameters(faults)) }
    }

    /// Returns the maximum number of elements.
    pub(super) fn limit(&self) -> u32 {
        u32::try_from(self.limit).unwrap_or(u32::MAX)
    }

    /// Returns the key of the last element of the page before.
    pub(super) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// Returns the place of a row in the audit log that the page comes after.
    ///
    /// # Errors
    /// [`Denied::Parameters`] if the cursor is that of another list.
    pub(super) fn place(&self) -> Result<Option<(String, i64)>, Denied> {
        let place = |after: &String| {
            let (sequence, writer) = after.split_once(':')?;
            Some((writer.to_owned(), sequence.parse().ok()?))
        };
        match self.after.as_ref().map(place) {
            None => Ok(None),
            Some(Some(place)) => Ok(Some(place)),
            Some(None) => Err(Denied::Parameters(vec![FieldFault::of("after", "must be `next` of an answer")])),
        }
    }

    /// Returns the cursor of a place in the audit log.
    pub(super) fn next_place((writer, sequence): (String, i64)) -> String {
        URL_SAFE_NO_PAD.encode(format!("{sequence}:{writer}"))
    }

    /// Returns the page of a list. `key` orders the elements, and no two have the same.
    pub(super) fn page<T: Serialize>(&self, elements: Vec<T>, key: impl Fn(&T) -> String) -> Page<T> {
        let keyed = elements.into_iter().map(|element| (key(&element), element));
        let is_after = |key: &String| self.after.as_ref().is_none_or(|after| key > after);
        let mut keyed: Vec<(String, T)> = keyed.filter(|(key, _)| is_after(key)).collect();
        keyed.sort_by(|(left, _), (right, _)| left.cmp(right));
        let (mut page, mut bytes, mut next) = (Vec::new(), 0_usize, None);
        for (key, element) in keyed {
            if page.len() == self.limit || bytes > MAX_BYTES {
                return Page { elements: page, next };
            }
            bytes = bytes.saturating_add(serde_json::to_vec(&element).map_or(0, |json| json.len()));
            next = Some(URL_SAFE_NO_PAD.encode(key));
            page.push(element);
        }
        Page { elements: page, next: None }
    }
}

fn key_of(cursor: &str) -> Option<String> {
    String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: usize, after: Option<&str>, elements: &[String]) -> (Vec<String>, Option<String>) {
        let request = PageRequest { limit, after: after.and_then(key_of) };
        let Page { elements, next } = request.page(elements.to_vec(), Clone::clone);
        (elements, next)
    }

    #[test]
    fn pages_together_are_the_list_in_order_and_each_is_bounded_in_elements_and_bytes() {
        let large = "x".repeat(MAX_BYTES / 2);
        let mut list: Vec<String> = (0..9).map(|number| format!("{number}{large}")).collect();
        list.reverse();
        for (limit, most) in [(2, 2), (4, 3), (MAX_ELEMENTS, 3)] {
            let (mut read, mut after) = (Vec::new(), None);
            loop {
                let (elements, next) = page(limit, after.as_deref(), &list);
                assert!(!elements.is_empty() && elements.len() <= most, "{limit}: {}", elements.len());
                read.extend(elements);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            let mut sorted = list.clone();
            sorted.sort();
            assert!(read == sorted, "{limit}");
        }
        assert_eq!(page(1, None, &[]), (Vec::new(), None));
    }
}
