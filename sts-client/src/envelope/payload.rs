//! The payload of an opened envelope, and its schema.

use serde::de::DeserializeOwned;
use sts_jose::JsonError;

/// The payload of an opened envelope.
pub(super) enum Payload {
    Here(Vec<u8>),
    Elsewhere {
        uri: String,
        sha256: String,
    },
    /// The payload is not decrypted, because the operation was done before.
    Repeated,
}

impl Payload {
    pub(super) fn here(payload: Vec<u8>) -> Self {
        Self::Here(payload)
    }

    pub(super) fn elsewhere(uri: &str, sha256: &str) -> Self {
        Self::Elsewhere { uri: uri.to_owned(), sha256: sha256.to_owned() }
    }

    pub(super) fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Here(payload) => Some(payload),
            Self::Elsewhere { .. } | Self::Repeated => None,
        }
    }
}

/// The reason why a payload does not match the schema of its reader. Messages quote no part of the
/// payload.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// The payload is not an accepted JSON object.
    #[error("the payload is not an accepted json object")]
    Json(#[source] JsonError),
    /// A member is absent, or its type or value is invalid.
    #[error("a member of the payload is absent or not what it should be")]
    Member,
    /// The payload has a member that the reader does not know.
    #[error("the payload has a member that is not known")]
    Unknown,
    /// There is no payload: it is stored elsewhere and was not fetched, or the operation was done
    /// before.
    #[error("there is no payload")]
    Absent,
}

/// Reads a payload as a `T`, strictly.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, SchemaError> {
    let object = sts_jose::json::parse_object(payload).map_err(SchemaError::Json)?;
    let mut is_unknown = false;
    let value = serde_json::Value::Object(object);
    // The cause is dropped: it quotes values of the payload.
    let read = serde_ignored::deserialize(value, |_path| is_unknown = true).or(Err(SchemaError::Member))?;
    if is_unknown { Err(SchemaError::Unknown) } else { Ok(read) }
}
