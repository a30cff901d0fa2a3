//! The calls that one request has made, by which the keys of equal ones differ.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::dedup::DedupKey;

/// The number of different calls of one request that are counted apart. Those beyond share one count.
const MAX_OPERATIONS: usize = 10_000;

/// Counts how often each operation was called under one request. The count of an operation does not depend on the order of the others, so
/// that a request which is repeated, and makes its calls at the same time, numbers them alike.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<HashMap<DedupKey, u64>>);

impl Calls {
    /// The number of this call among those of the same operation, from 1.
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
