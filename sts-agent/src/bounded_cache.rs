//! A cache of verified requests, whose bytes are bounded: the same for contexts and for matches.

use std::hash::Hash;

use aws_lc_rs::digest::{Context, SHA256};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::header_pairs::HeaderPairs;

/// The maximum weight of all entries, in bytes.
pub(crate) const CAPACITY_BYTES: u64 = 64 * 1024 * 1024;

/// The bytes that a header needs in memory besides its text: two strings, and what the allocator
/// adds to each.
const PAIR_BYTES: usize = 80;

/// The expected number of entries, which need not be exact.
const EXPECTED: usize = 16 * 1024;

/// The share of the capacity for entries that were found again. New ones have the other share, in
/// which the oldest goes first: so a request keeps its entry through thousands of others.
const FOUND_AGAIN: f64 = 0.5;

/// The parts of the capacity that are locked apart. A part holds the headers of any one request.
const SHARDS: usize = 8;

/// Makes an empty cache.
pub(crate) fn bounded<K: Eq + Hash, V: Clone, W: Weighter<K, V> + Clone>(weighter: W) -> Cache<K, V, W> {
    let mut options = OptionsBuilder::new();
    options.weight_capacity(CAPACITY_BYTES).estimated_items_capacity(EXPECTED);
    let options = options.hot_allocation(FOUND_AGAIN).shards(SHARDS).build();
    #[expect(clippy::expect_used, reason = "both capacities are set")]
    let options = options.expect("capacities");
    Cache::with_options(options, weighter, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

/// Returns the bytes that headers need in memory.
pub(crate) fn bytes_of(headers: &HeaderPairs) -> usize {
    let bytes = |[name, value]: &[String; 2]| name.len().saturating_add(value.len()).saturating_add(PAIR_BYTES);
    headers.iter().map(bytes).fold(0, usize::saturating_add)
}

/// The digest of texts in their order, each with its length.
pub(crate) fn digest<'t>(texts: impl IntoIterator<Item = &'t str>) -> [u8; 32] {
    let mut digest = Context::new(&SHA256);
    for text in texts {
        digest.update(&text.len().to_be_bytes());
        digest.update(text.as_bytes());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.finish().as_ref());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_headers_weigh_what_they_need_in_memory() {
        let headers = vec![["a".to_owned(), "b".to_owned()]; 100];
        assert!(bytes_of(&headers) >= 100 * (size_of::<[String; 2]>() + 2));
    }
}
