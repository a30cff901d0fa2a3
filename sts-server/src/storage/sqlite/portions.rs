//! The portions in which a batch of rows is inserted.

/// The longest portion.
const LONGEST: usize = 256;

/// Divides rows into portions whose lengths are powers of two, the longest first. A few prepared
/// statements, one for each length, therefore insert batches of every length.
pub(super) fn portions<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = 1_usize << rows.len().min(LONGEST).checked_ilog2()?;
        let (portion, rest) = rows.split_at_checked(length)?;
        rows = rest;
        Some(portion)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portions_are_all_rows_in_order_and_of_few_lengths() {
        for (count, lengths) in [(0, vec![]), (1, vec![1]), (13, vec![8, 4, 1]), (600, vec![256, 256, 64, 16, 8])] {
            let rows: Vec<usize> = (0..count).collect();
            assert_eq!(portions(&rows).map(<[usize]>::len).collect::<Vec<usize>>(), lengths);
            assert_eq!(portions(&rows).flatten().copied().collect::<Vec<usize>>(), rows);
        }
    }
}
