//! Counts of the calls that one request has made, to give equal calls different keys.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::dedup::DedupKey;

/// The number of different operations of one request that are counted separately. Further
/// operations share one count.
const MAX_OPERATIONS: usize = 10_000;

/// Counts the calls of each operation under one request. The count of one operation does not depend
/// on the order of the others. So a repeated request with concurrent calls numbers them in the same
/// way.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<HashMap<DedupKey, u64>>);

impl Calls {
    /// Returns the number of this call among the calls of the same operation, from 1.
    pub(crate) fn number(&self, operation: &str) -> u64 {
        let operation = DedupKey::new("call", [operation]);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = if counts.len() < MAX_OPERATIONS || counts.contains_key(&operation) {
            operation
        } else {
            DedupKey::new("calls beyond", [""])
        };
        let count = counts.entry(counted).or_default();
        *count += 1;
        *count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_counted_apart_and_memory_is_bounded() {
        let calls = Calls::default();
        assert_eq!([calls.number("a"), calls.number("b"), calls.number("a")], [1, 1, 2]);
        for operation in 0..2 * MAX_OPERATIONS {
            calls.number(&operation.to_string());
        }
        assert_eq!(calls.number("a"), 3);
        assert!(calls.number("beyond the bound") > 1, "counted together, and no number comes twice");
        assert!(calls.0.lock().unwrap().len() <= MAX_OPERATIONS + 1);
    }
}
