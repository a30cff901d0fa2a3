//! Codes of stored rows, and of the set of rows of a table.
//!
//! The database is not trusted, because other parties can write to it. Each row of `entries`,
//! `signing_keys` and `revocations` has a code. The code is an HMAC of the row's content, under a
//! key derived from the master key.
//!
//! Each of these tables also has a counter with the code of the set of its rows. That code is an
//! exclusive or of one secret value per row. It is masked, so that the database cannot learn the
//! value of a row. An HMAC seals it together with the counter.
//!
//! A row that was written or altered directly in the database has a wrong code. If a row was
//! removed or restored directly in the database, the set no longer matches its code.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::{constant_time, hmac};
use sts_jose::Entropy;

use super::{StorageError, Version};

/// The length of a code, in bytes (HMAC-SHA-256).
const CODE_BYTES: usize = 32;
/// The length of the random value that masks the code of a set, in bytes.
const SALT_BYTES: usize = 16;
/// The number of raises that a counter remembers.
const RECENT: usize = 64;
/// The maximum number of wrong rows for which every combination is tried against the set's code.
const COMBINED: usize = 8;

/// The code of a row, or the value that a row adds to the code of its set.
pub(super) type Code = [u8; CODE_BYTES];

/// Makes and checks the codes of rows. `Debug` shows no key. Clones share the same keys.
#[derive(Clone)]
pub struct RowCodes {
    row: hmac::Key,
    element: hmac::Key,
    mask: hmac::Key,
    entropy: Arc<dyn Entropy>,
    check: Check,
}

/// The treatment of rows that are read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Check {
    /// A row must have the code of its content.
    ByMasterKey,
    /// Rows are taken as they are stored.
    None,
}

/// A row of `counters`, as the database holds it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct CounterColumns {
    pub(super) name: String,
    pub(super) value: i64,
    pub(super) generation: i64,
    pub(super) recent: Vec<u8>,
    pub(super) salt: Vec<u8>,
    pub(super) code: Vec<u8>,
}

/// A counter that is about to change, in a transaction that has locked its row.
pub(super) struct Counter {
    columns: CounterColumns,
    /// The rows of the counter's table. A change toggles the rows that it writes and replaces.
    pub(super) set: RowSet,
}

/// The set of the rows of a table: the combined codes of its rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RowSet(Code);

impl RowCodes {
    /// Derives the codes' keys from `secret`.
    #[must_use]
    pub fn new(secret: &[u8], entropy: Arc<dyn Entropy>) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let derive = |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, hmac::sign(&root, purpose).as_ref());
        Self {
            row: derive(b"row"),
            element: derive(b"element"),
            mask: derive(b"mask"),
            entropy,
            check: Check::ByMasterKey,
        }
    }

    /// Returns codes for a party without the master key. It reads rows as they are stored. A change
    /// fails as under another master key, because no counter opens.
    #[must_use]
    pub fn unchecked(entropy: Arc<dyn Entropy>) -> Self {
        let mut secret = [0; CODE_BYTES];
        entropy.fill(&mut secret);
        Self { check: Check::None, ..Self::new(&secret, entropy) }
    }

    /// Returns true if rows are read as they are stored.
    pub(super) fn takes_all(&self) -> bool {
        self.check == Check::None
    }

    /// Returns the code of a row of `table`. A length precedes every field, so different rows have
    /// different inputs.
    pub(super) fn of(&self, table: &str, fields: &[&[u8]]) -> Code {
        let mut context = hmac::Context::with_key(&self.row);
        for field in [table.as_bytes()].iter().chain(fields) {
            context.update(&u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(field);
        }
        code(&context.sign())
    }

    fn element(&self, row: &[u8]) -> Code {
        code(&hmac::sign(&self.element, row))
    }

    fn mask(&self, name: &str, version: Version, salt: &[u8]) -> Code {
        self.of_counter(b"mask", name, version, &[salt])
    }

    fn tag(&self, name: &str, version: Version, salt: &[u8], masked: &[u8]) -> Code {
        self.of_counter(b"seal", name, version, &[salt, masked])
    }

    fn of_counter(&self, purpose: &[u8], name: &str, version: Version, parts: &[&[u8]]) -> Code {
        let mut context = hmac::Context::with_key(&self.mask);
        context.update(purpose);
        context.update(&version.counter.to_be_bytes());
        context.update(&version.generation.to_be_bytes());
        for part in [name.as_bytes()].iter().chain(parts) {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        code(&context.sign())
    }
}

impl fmt::Debug for RowCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowCodes").finish_non_exhaustive()
    }
}

/// True if a stored code equals the expected code. Compares in constant time.
pub(super) fn matches(stored: &[u8], expected: &Code) -> bool {
    constant_time::verify_slices_are_equal(stored, expected).is_ok()
}

impl RowSet {
    /// Adds the row with this code, or removes it if it is in the set.
    pub(super) fn toggle(&mut self, codes: &RowCodes, row: &[u8]) {
        self.combine(&codes.element(row));
    }

    fn combine(&mut self, other: &Code) {
        for (byte, other) in self.0.iter_mut().zip(other) {
            *byte ^= other;
        }
    }

    /// True if the rows read are the rows of this set: all rows with valid codes and any subset of
    /// the others. An altered row may keep the code that it was written with.
    pub(super) fn fits<Stored: AsRef<[u8]>>(self, codes: &RowCodes, right: &[Stored], wrong: &[Stored]) -> bool {
        let mut missing = self;
        right.iter().for_each(|row| missing.toggle(codes, row.as_ref()));
        let wrong: Vec<Code> = wrong.iter().map(|row| codes.element(row.as_ref())).collect();
        if missing == Self::default() {
            return true;
        }
        if wrong.len() > COMBINED {
            wrong.iter().for_each(|element| missing.combine(element));
            return missing == Self::default();
        }
        (0_u32..1 << wrong.len()).any(|combination| {
            let mut rest = missing;
            let chosen = wrong.iter().enumerate().filter(|(index, _)| combination >> index & 1 == 1);
            chosen.for_each(|(_, element)| rest.combine(element));
            rest == Self::default()
        })
    }
}

impl CounterColumns {
    pub(super) fn version(&self) -> Version {
        Version { counter: self.value, generation: self.generation }
    }

    /// Verifies the counter's code and returns the set in it.
    ///
    /// # Errors
    /// [`StorageError::Unsealed`] if there is no code. [`StorageError::Foreign`] if the code was
    /// not made under this master key.
    pub(super) fn open(&self, codes: &RowCodes) -> Result<RowSet, StorageError> {
        if self.code.is_empty() {
            return Err(StorageError::Unsealed);
        }
        let foreign = || StorageError::Foreign { counter: self.name.clone() };
        let (masked, tag) = self.code.split_at_checked(CODE_BYTES).ok_or_else(foreign)?;
        if !matches(tag, &codes.tag(&self.name, self.version(), &self.salt, masked)) {
            return Err(foreign());
        }
        let mut set = RowSet::default();
        set.0.copy_from_slice(masked);
        set.combine(&codes.mask(&self.name, self.version(), &self.salt));
        Ok(set)
    }

    /// True if `known` is this version or one of its remembered predecessors.
    pub(super) fn follows(&self, known: Version) -> bool {
        if known == self.version() {
            return true;
        }
        let back = self.value.checked_sub(known.counter).and_then(|back| usize::try_from(back).ok());
        let Some(index) = back.and_then(|back| back.checked_sub(1)) else { return false };
        let generation = self.recent.chunks_exact(size_of::<i64>()).nth(index);
        generation.is_some_and(|generation| generation == known.generation.to_be_bytes())
    }
}

impl Counter {
    /// Opens the counter for a change.
    ///
    /// # Errors
    /// See [`CounterColumns::open`].
    pub(super) fn open(columns: CounterColumns, codes: &RowCodes) -> Result<Self, StorageError> {
        let set = columns.open(codes)?;
        Ok(Self { columns, set })
    }

    /// Pairs the counter with a newly computed set.
    pub(super) fn of(columns: CounterColumns, set: RowSet) -> Self {
        Self { columns, set }
    }

    pub(super) fn version(&self) -> Version {
        self.columns.version()
    }

    /// Returns the value after the next [`Counter::raised`].
    pub(super) fn next(&self) -> i64 {
        self.columns.value.saturating_add(1)
    }

    /// Raises the counter by one and seals the set.
    pub(super) fn raised(self, codes: &RowCodes) -> CounterColumns {
        let columns = self.columns;
        let mut recent = columns.generation.to_be_bytes().to_vec();
        recent.extend(columns.recent.iter().take((RECENT - 1) * size_of::<i64>()));
        let mut generation = [0; size_of::<i64>()];
        codes.entropy.fill(&mut generation);
        let columns = CounterColumns {
            value: columns.value.saturating_add(1),
            generation: i64::from_be_bytes(generation),
            recent,
            ..columns
        };
        Self { columns, set: self.set }.sealed(codes)
    }

    /// Raises the counter by one and forgets its predecessors, so that followers read everything
    /// again.
    pub(super) fn begun_anew(self, codes: &RowCodes) -> CounterColumns {
        CounterColumns { recent: Vec::new(), ..self.raised(codes) }
    }

    /// Seals the changed set without raising the counter, because followers need not read the
    /// change.
    pub(super) fn sealed(self, codes: &RowCodes) -> CounterColumns {
        let Self { mut columns, set } = self;
        let mut salt = vec![0; SALT_BYTES];
        codes.entropy.fill(&mut salt);
        let mut masked = set;
        masked.combine(&codes.mask(&columns.name, columns.version(), &salt));
        let tag = codes.tag(&columns.name, columns.version(), &salt, &masked.0);
        columns.code = [masked.0, tag].concat();
        columns.salt = salt;
        columns
    }
}

fn code(tag: &hmac::Tag) -> Code {
    let mut code = [0; CODE_BYTES];
    code.copy_from_slice(tag.as_ref());
    code
}

#[cfg(test)]
mod tests {
    use sts_jose::SystemEntropy;

    use super::*;

    fn codes() -> RowCodes {
        RowCodes::new(b"secret", Arc::new(SystemEntropy))
    }

    fn counter() -> CounterColumns {
        let name = "keys".to_owned();
        CounterColumns { name, value: 0, generation: 0, recent: Vec::new(), salt: Vec::new(), code: Vec::new() }
    }

    fn set(codes: &RowCodes, rows: &[&[u8]]) -> RowSet {
        let mut set = RowSet::default();
        rows.iter().for_each(|row| set.toggle(codes, row));
        set
    }

    #[test]
    fn a_counter_opens_under_its_key_alone_and_not_when_altered() {
        let codes = codes();
        let rows = set(&codes, &[b"a", b"b"]);
        let sealed = Counter::of(counter(), rows).raised(&codes);
        assert_eq!(sealed.open(&codes).unwrap(), rows);
        assert!(sealed.open(&RowCodes::new(b"other", Arc::new(SystemEntropy))).is_err());
        for altered in [
            CounterColumns { name: "registry".to_owned(), ..sealed.clone() },
            CounterColumns { value: 7, ..sealed.clone() },
            CounterColumns { generation: 7, ..sealed.clone() },
            CounterColumns { salt: vec![1], ..sealed.clone() },
            CounterColumns { code: sealed.code[1..].to_vec(), ..sealed.clone() },
        ] {
            assert!(matches!(altered.open(&codes), Err(StorageError::Foreign { .. })), "{altered:?}");
        }
        assert!(matches!(counter().open(&codes), Err(StorageError::Unsealed)));
    }

    #[test]
    fn a_set_fits_its_rows_and_those_added_beside_them_but_no_fewer() {
        let codes = codes();
        let rows = set(&codes, &[b"a", b"b", b"c"]);
        let fits = |right: &[&str], wrong: &[&str]| rows.fits(&codes, right, wrong);
        assert!(fits(&["c", "a", "b"], &[]));
        assert!(fits(&["a", "b"], &["c"]), "altered, under the code that it had");
        assert!(fits(&["a", "b"], &["x", "c", ""]), "altered, beside two that were added");
        assert!(fits(&["a", "b", "c"], &["x"]), "added");
        assert!(!fits(&["a", "b"], &[]), "removed");
        assert!(!fits(&["a", "b"], &["x"]), "removed, and another added");
        assert!(!fits(&["a", "b", "c", "d"], &[]), "put back");
    }

    #[test]
    fn a_counter_knows_what_it_followed_from() {
        let codes = codes();
        let mut counter = counter();
        let mut known = vec![counter.version()];
        for _ in 0..RECENT + 3 {
            counter = Counter::of(counter, RowSet::default()).raised(&codes);
            known.push(counter.version());
        }
        let remembered: Vec<bool> = known.iter().map(|version| counter.follows(*version)).collect();
        assert_eq!(remembered.iter().filter(|is| **is).count(), RECENT + 1, "{remembered:?}");
        assert!(remembered.ends_with(&[true; RECENT + 1]));
        let last = known[RECENT];
        assert!(!counter.follows(Version { generation: last.generation ^ 1, ..last }));
        assert!(!counter.follows(Version { counter: counter.value + 1, generation: 5 }));
        let anew = Counter::of(counter.clone(), RowSet::default()).begun_anew(&codes);
        assert!(!anew.follows(counter.version()));
    }
}
