//! The stored record of a completed operation.

use super::authority::Authority;

/// The version of the format that [`Record::to_bytes`] writes.
const VERSION: u8 = 2;
const WITHOUT_OUTCOME: u8 = 0;
const WITH_OUTCOME: u8 = 1;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) authority: Authority,
    /// The outcome; `None` if the outcome is not stored.
    pub(crate) outcome: Option<Vec<u8>>,
}

/// The reason for not returning a stored outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRepeated {
    /// The operation was done under another authority.
    OtherAuthority,
    /// The outcome is not stored.
    NotKept,
    /// The bytes are not a record of this version.
    Foreign,
}

impl Record {
    /// Encodes the version, the authority, a byte that says whether an outcome follows, and the
    /// outcome. A record without an outcome is small enough for a full store.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.authority.as_bytes());
        match &self.outcome {
            Some(outcome) => {
                bytes.push(WITH_OUTCOME);
                bytes.extend(outcome);
            }
            None => bytes.push(WITHOUT_OUTCOME),
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&VERSION, rest) = bytes.split_first()? else { return None };
        let (authority, rest) = rest.split_first_chunk::<{ Authority::BYTES }>()?;
        let outcome = match rest.split_first()? {
            (&WITH_OUTCOME, outcome) => Some(outcome.to_vec()),
            (&WITHOUT_OUTCOME, []) => None,
            _ => return None,
        };
        Some(Self { authority: Authority::from_bytes(*authority), outcome })
    }

    /// Returns the stored outcome to a caller with the same authority.
    pub(crate) fn repeat(stored: &[u8], authority: Authority) -> Result<Vec<u8>, NotRepeated> {
        let record = Self::from_bytes(stored).ok_or(NotRepeated::Foreign)?;
        if record.authority != authority {
            return Err(NotRepeated::OtherAuthority);
        }
        record.outcome.ok_or(NotRepeated::NotKept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::once::SMALL_OUTCOME_BYTES;

    #[test]
    fn a_record_is_read_back_and_repeated_to_its_own_authority_alone() {
        let (own, other) = (Authority::from_bytes([1; 32]), Authority::from_bytes([2; 32]));
        let kept = Record { authority: own, outcome: Some(b"done".to_vec()) }.to_bytes();
        assert_eq!(Record::repeat(&kept, own), Ok(b"done".to_vec()));
        assert_eq!(Record::repeat(&kept, other), Err(NotRepeated::OtherAuthority));
        let lost = Record { authority: own, outcome: None }.to_bytes();
        assert!(lost.len() <= SMALL_OUTCOME_BYTES);
        assert_eq!(Record::repeat(&lost, own), Err(NotRepeated::NotKept));
        for foreign in [&kept[..30], &[1, 2, 3], &[], &[&lost[..], b"x"].concat()] {
            assert_eq!(Record::repeat(foreign, own), Err(NotRepeated::Foreign), "{foreign:?}");
        }
    }
}
