//! Rows with codes as read from a database: the three tables that servers cache.

use jiff::{SignedDuration, Timestamp};
use sqlx::FromRow;

use super::codes::{self, Code, CounterColumns, RowCodes, RowSet};
use super::columns::{from_millis, millis};
use super::{
    CodedRow, EntryKind, EntryRow, KeyRow, KeyState, Origin, RevocationKind, RevocationRow, StorageError, Stored,
    TableFault,
};

/// A row of a table whose rows have codes.
pub(super) trait Coded {
    const TABLE: &'static str;
    /// The query for all codes of the table.
    const CODES: &'static str;
    /// The counter that a change of this table raises.
    const COUNTER: &'static str;
    /// The row type of the `Store` contract.
    type Row;

    /// Returns the columns of the primary key. Unused positions are empty.
    fn key(&self) -> [&str; 3];
    /// Returns the name of the row for logs and messages.
    fn name(&self) -> String;
    /// Returns the code computed from the content.
    fn content_code(&self, codes: &RowCodes) -> Code;
    /// Returns the code that the row was stored with.
    fn stored_code(&self) -> &[u8];
    /// Converts the columns to the row of the contract.
    fn read(self) -> Result<Self::Row, StorageError>;
}

/// Reads all rows of a table with their codes. A malformed row does not hide the others.
pub(super) fn stored<Columns: Coded>(
    counter: &CounterColumns,
    columns: Vec<Columns>,
    codes: &RowCodes,
) -> Stored<Columns::Row> {
    let table = Columns::TABLE;
    let contents: Vec<Code> = columns.iter().map(|row| row.content_code(codes)).collect();
    let is_vouched = |row: &Columns, content: &Code| codes.takes_all() || codes::matches(row.stored_code(), content);
    let (right, wrong): (Vec<_>, Vec<_>) =
        columns.iter().zip(&contents).partition(|(row, content)| is_vouched(row, content));
    let codes_of = |rows: Vec<(&Columns, &Code)>| -> Vec<Vec<u8>> {
        rows.into_iter().map(|(row, _)| row.stored_code().to_vec()).collect()
    };
    let (right, wrong) = (codes_of(right), codes_of(wrong));
    let is_whole = codes.takes_all() || counter.open(codes).is_ok_and(|set| set.fits(codes, &right, &wrong));
    let (mut rows, mut faults) = (Vec::with_capacity(columns.len()), Vec::new());
    for (columns, code) in columns.into_iter().zip(contents) {
        let (row, is_vouched) = (columns.name(), is_vouched(&columns, &code));
        if !is_vouched {
            faults.push(TableFault::Altered { table, row: row.clone() });
        }
        match columns.read() {
            Ok(row) => rows.push(CodedRow { row, code, is_vouched }),
            Err(error) => faults.push(TableFault::Malformed { table, row, reason: error.to_string() }),
        }
    }
    if !is_whole {
        faults.push(TableFault::Incomplete { table });
    }
    Stored { table, version: counter.version(), rows, faults, is_whole }
}

/// Returns the codes of rows under `next`, by primary key, and the set of these rows. Covers all
/// rows, or only those with a valid code under `vouched_by`.
pub(super) fn recoded<'rows, Columns: Coded>(
    rows: &'rows [Columns],
    vouched_by: Option<&RowCodes>,
    next: &RowCodes,
) -> (Vec<([&'rows str; 3], Code)>, RowSet) {
    let is_vouched =
        |row: &&Columns| vouched_by.is_none_or(|codes| codes::matches(row.stored_code(), &row.content_code(codes)));
    let recoded: Vec<_> = rows.iter().filter(is_vouched).map(|row| (row.key(), row.content_code(next))).collect();
    let mut set = RowSet::default();
    recoded.iter().for_each(|(_, code)| set.toggle(next, code));
    (recoded, set)
}

/// Returns the primary keys of the rows that have a valid code.
pub(super) fn vouched_keys<'rows, Columns: Coded>(rows: &'rows [Columns], codes: &RowCodes) -> Vec<[&'rows str; 3]> {
    let is_vouched = |row: &&Columns| codes::matches(row.stored_code(), &row.content_code(codes));
    rows.iter().filter(is_vouched).map(Columns::key).collect()
}

/// True if the stored codes of a table match its set exactly: servers made every addition and
/// removal.
pub(super) fn fits(counter: &CounterColumns, stored: &[Vec<u8>], codes: &RowCodes) -> bool {
    counter.open(codes).is_ok_and(|set| set.fits(codes, stored, &[]))
}

/// A row of `entries`.
#[derive(FromRow)]
pub(super) struct EntryColumns {
    kind: String,
    id: String,
    origin: String,
    disabled_by_admin: bool,
    body: String,
    code: Vec<u8>,
}

pub(super) fn entry_code(codes: &RowCodes, entry: &EntryRow) -> Code {
    let EntryRow { kind, id, origin, disabled_by_admin, body } = entry;
    coded_entry(codes, [kind.as_str(), id, origin.as_str(), body], *disabled_by_admin)
}

fn coded_entry(codes: &RowCodes, [kind, id, origin, body]: [&str; 4], disabled_by_admin: bool) -> Code {
    let disabled = [u8::from(disabled_by_admin)];
    codes.of("entries", &[kind.as_bytes(), id.as_bytes(), origin.as_bytes(), &disabled, body.as_bytes()])
}

impl Coded for EntryColumns {
    const TABLE: &'static str = "entries";
    const CODES: &'static str = "SELECT code FROM entries";
    const COUNTER: &'static str = "registry";
    type Row = EntryRow;

    fn key(&self) -> [&str; 3] {
        [&self.kind, &self.id, ""]
    }

    fn name(&self) -> String {
        format!("{} {}", self.kind, self.id)
    }

    fn content_code(&self, codes: &RowCodes) -> Code {
        coded_entry(codes, [&self.kind, &self.id, &self.origin, &self.body], self.disabled_by_admin)
    }

    fn stored_code(&self) -> &[u8] {
        &self.code
    }

    fn read(self) -> Result<EntryRow, StorageError> {
        Ok(EntryRow {
            kind: EntryKind::of_word(&self.kind)?,
            id: self.id,
            origin: Origin::of_word(&self.origin)?,
            disabled_by_admin: self.disabled_by_admin,
            body: self.body,
        })
    }
}

/// A row of `signing_keys`.
#[derive(FromRow)]
pub(super) struct KeyColumns {
    kid: String,
    algorithm: String,
    state: String,
    created_at: i64,
    state_since: i64,
    longest_life: i64,
    sealed: Vec<u8>,
    code: Vec<u8>,
}

pub(super) fn key_code(codes: &RowCodes, key: &KeyRow) -> Code {
    let times = [key.created_at.as_millisecond(), key.state_since.as_millisecond(), millis(key.longest_life)];
    coded_key(codes, [&key.kid, &key.algorithm, key.state.as_str()], times, &key.sealed)
}

fn coded_key(codes: &RowCodes, [kid, algorithm, state]: [&str; 3], times: [i64; 3], sealed: &[u8]) -> Code {
    let [created_at, state_since, longest_life] = times.map(i64::to_be_bytes);
    codes.of(
        "signing_keys",
        &[kid.as_bytes(), algorithm.as_bytes(), state.as_bytes(), &created_at, &state_since, &longest_life, sealed],
    )
}

impl Coded for KeyColumns {
    const TABLE: &'static str = "signing_keys";
    const CODES: &'static str = "SELECT code FROM signing_keys";
    const COUNTER: &'static str = "keys";
    type Row = KeyRow;

    fn key(&self) -> [&str; 3] {
        [&self.kid, "", ""]
    }

    fn name(&self) -> String {
        self.kid.clone()
    }

    fn content_code(&self, codes: &RowCodes) -> Code {
        let times = [self.created_at, self.state_since, self.longest_life];
        coded_key(codes, [&self.kid, &self.algorithm, &self.state], times, &self.sealed)
    }

    fn stored_code(&self) -> &[u8] {
        &self.code
    }

    fn read(self) -> Result<KeyRow, StorageError> {
        Ok(KeyRow {
            kid: self.kid,
            algorithm: self.algorithm,
            state: KeyState::of_word(&self.state)?,
            created_at: from_millis("signing_keys", self.created_at)?,
            state_since: from_millis("signing_keys", self.state_since)?,
            longest_life: SignedDuration::from_millis(self.longest_life),
            sealed: self.sealed,
        })
    }
}

/// A row of `revocations`.
#[derive(FromRow)]
pub(super) struct RevocationColumns {
    kind: String,
    issuer: String,
    value: String,
    at: i64,
    expires_at: i64,
    version: i64,
    code: Vec<u8>,
    #[sqlx(default)]
    txn: Option<String>,
}

/// The place of a revocation among those in the order of their end. The next read goes on after it.
#[derive(Debug, Default)]
pub(super) struct RevocationPlace {
    pub(super) expires_at: i64,
    pub(super) kind: String,
    pub(super) issuer: String,
    pub(super) value: String,
}

impl RevocationColumns {
    /// Returns the place of the revocation, to read on after it.
    pub(super) fn place(&self) -> RevocationPlace {
        RevocationPlace {
            expires_at: self.expires_at,
            kind: self.kind.clone(),
            issuer: self.issuer.clone(),
            value: self.value.clone(),
        }
    }
}

pub(super) fn revocation_code(codes: &RowCodes, row: &RevocationRow) -> Code {
    let words = [row.kind.as_str(), row.issuer.as_deref().unwrap_or_default(), &row.value];
    coded_revocation(codes, words, [row.at.as_millisecond(), row.expires_at.as_millisecond(), row.version])
}

fn coded_revocation(codes: &RowCodes, [kind, issuer, value]: [&str; 3], numbers: [i64; 3]) -> Code {
    let [at, expires_at, version] = numbers.map(i64::to_be_bytes);
    codes.of("revocations", &[kind.as_bytes(), issuer.as_bytes(), value.as_bytes(), &at, &expires_at, &version])
}

impl Coded for RevocationColumns {
    const TABLE: &'static str = "revocations";
    const CODES: &'static str = "SELECT code FROM revocations";
    const COUNTER: &'static str = "revocations";
    type Row = RevocationRow;

    fn key(&self) -> [&str; 3] {
        [&self.kind, &self.issuer, &self.value]
    }

    fn name(&self) -> String {
        format!("{} {}", self.kind, self.value)
    }

    fn content_code(&self, codes: &RowCodes) -> Code {
        let numbers = [self.at, self.expires_at, self.version];
        coded_revocation(codes, [&self.kind, &self.issuer, &self.value], numbers)
    }

    fn stored_code(&self) -> &[u8] {
        &self.code
    }

    /// Reads an out-of-range time as the latest time. Only a direct write to the database can store
    /// such a time. The row keeps revoking its target without end.
    fn read(self) -> Result<RevocationRow, StorageError> {
        let time = |millis| Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX);
        Ok(RevocationRow {
            kind: RevocationKind::of_word(&self.kind)?,
            issuer: (!self.issuer.is_empty()).then_some(self.issuer),
            value: self.value,
            at: time(self.at),
            expires_at: time(self.expires_at),
            version: self.version,
            txn: self.txn,
        })
    }
}

/// A revocation to write, and the code of the row that it replaces.
pub(super) struct Further {
    pub(super) row: RevocationRow,
    pub(super) replaced: Option<Vec<u8>>,
}

/// Merges `row` with the existing row. Returns `None` if the existing row already reaches as far.
pub(super) fn further(
    row: RevocationRow,
    standing: Option<RevocationColumns>,
) -> Result<Option<Further>, StorageError> {
    let Some(standing) = standing else { return Ok(Some(Further { row, replaced: None })) };
    let replaced = standing.code.clone();
    let standing = standing.read()?;
    if row.at <= standing.at && row.expires_at <= standing.expires_at {
        return Ok(None);
    }
    let (at, expires_at) = (row.at.max(standing.at), row.expires_at.max(standing.expires_at));
    Ok(Some(Further { row: RevocationRow { at, expires_at, ..row }, replaced: Some(replaced) }))
}
