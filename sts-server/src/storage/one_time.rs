//! One-time values of a batch, before and after a database has seen them.

use std::collections::{BTreeMap, HashSet};

use super::OneTimeValue;

/// Returns each distinct value of a batch once, in an order that is the same for all batches. Two
/// transactions that insert the same values therefore cannot deadlock. The first of equal values is
/// kept.
pub(super) fn distinct(batch: &[OneTimeValue]) -> Vec<&OneTimeValue> {
    let mut distinct: BTreeMap<(&str, &str), &OneTimeValue> = BTreeMap::new();
    for value in batch {
        distinct.entry((&value.namespace, &value.value)).or_insert(value);
    }
    distinct.into_values().collect()
}

/// Returns, for each value of the batch, if this transaction spent it: true for the first of equal
/// inserted values.
pub(super) fn spent(batch: &[OneTimeValue], inserted: Vec<(String, String)>) -> Vec<bool> {
    let mut inserted: HashSet<(String, String)> = inserted.into_iter().collect();
    batch.iter().map(|value| inserted.remove(&(value.namespace.clone(), value.value.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn value(namespace: &str, value: &str, expires_at: i64) -> OneTimeValue {
        OneTimeValue {
            namespace: namespace.to_owned(),
            value: value.to_owned(),
            expires_at: Timestamp::from_second(expires_at).unwrap(),
        }
    }

    #[test]
    fn equal_values_stand_once_and_in_order() {
        let batch = [value("b", "1", 1), value("a", "2", 2), value("b", "1", 3), value("a", "1", 4)];
        assert_eq!(distinct(&batch), [&batch[3], &batch[1], &batch[0]]);
    }

    #[test]
    fn the_first_of_equal_values_is_spent() {
        let batch = [value("a", "1", 1), value("a", "1", 1), value("a", "2", 1)];
        assert_eq!(spent(&batch, vec![("a".to_owned(), "1".to_owned())]), [true, false, false]);
    }
}
