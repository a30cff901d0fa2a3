//! What is in an opened envelope: a payload, or where one is; and what it must look like.

use serde::de::DeserializeOwned;
use sts_jose::JsonError;

use super::claims;
use super::open::Opened;
use super::party::Party;
use super::refusal::{Reason, Refusal};
use crate::events::{Boundary, Event, Guard, Matter, Outcome};

/// The payload of an opened envelope.
pub(super) enum Payload {
    Here(Vec<u8>),
    Elsewhere {
        uri: String,
        sha256: String,
    },
    /// Not decrypted: the operation was done before.
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

/// A payload is not what its reader expects. No message repeats any of it.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// Not a JSON object that is accepted.
    #[error("the payload is not an accepted json object")]
    Json(#[source] JsonError),
    /// A member is absent, of another type, or has a value that is none of its own.
    #[error("a member of the payload is absent or not what it should be")]
    Member,
    /// A member that the reader does not know.
    #[error("the payload has a member that is not known")]
    Unknown,
    /// The payload is elsewhere and was not fetched, or the operation was done before.
    #[error("there is no payload")]
    Absent,
}

impl Opened {
    /// Where the payload is, when it did not travel in the envelope.
    #[must_use]
    pub fn payload_uri(&self) -> Option<&str> {
        match &self.payload {
            Payload::Here(_) | Payload::Repeated => None,
            Payload::Elsewhere { uri, .. } => Some(uri),
        }
    }

    /// Takes the JWE that was found at [`Opened::payload_uri`], and decrypts it. It must be the very one that was signed.
    ///
    /// # Errors
    /// A [`Refusal`] for [`Reason::Undecryptable`].
    pub async fn with_payload(mut self, jwe: &str) -> Result<Self, Refusal> {
        let decrypted = match &self.payload {
            Payload::Elsewhere { sha256, .. } if claims::sha256(jwe.as_bytes()) == *sha256 => {
                self.party.decrypt(&self.request.claims, jwe)
            }
            Payload::Elsewhere { .. } | Payload::Here(_) | Payload::Repeated => {
                Err(Refusal::new(Reason::Undecryptable, "not the payload that was signed"))
            }
        };
        let outcome = match &decrypted {
            Ok(_) => Outcome::Passed,
            Err(refusal) => Outcome::Refused(refusal.reason().as_str()),
        };
        self.party.tell(Boundary::Decrypted, outcome, &self.matter);
        match decrypted {
            Ok(payload) => {
                self.payload = Payload::here(payload);
                Ok(self)
            }
            Err(refusal) => {
                self.once.abandon().await;
                Err(refusal)
            }
        }
    }

    /// The payload as it was sent; `None` while it is elsewhere, and when the operation was done before.
    #[must_use]
    pub fn payload(&self) -> Option<&[u8]> {
        self.payload.bytes()
    }

    /// The payload as a `T`, strictly: no member twice, none that `T` does not know.
    ///
    /// # Errors
    /// See [`SchemaError`].
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, SchemaError> {
        let read = self.payload().ok_or(SchemaError::Absent).and_then(read);
        self.party.tell_validated(&read, &self.matter);
        read
    }
}

/// Reads a payload as a `T`, strictly.
pub(super) fn read<T: DeserializeOwned>(payload: &[u8]) -> Result<T, SchemaError> {
    let object = sts_jose::json::parse_object(payload).map_err(SchemaError::Json)?;
    let mut is_unknown = false;
    let value = serde_json::Value::Object(object);
    // The cause repeats values of the payload.
    let read = serde_ignored::deserialize(value, |_path| is_unknown = true).or(Err(SchemaError::Member))?;
    if is_unknown { Err(SchemaError::Unknown) } else { Ok(read) }
}

impl Party {
    /// Says what happened at one boundary, now.
    pub(super) fn tell(&self, boundary: Boundary, outcome: Outcome, matter: &Matter) {
        self.tracer.tell(&Event {
            at: self.clock.now(),
            guard: Guard::Envelope,
            boundary,
            outcome,
            matter: matter.clone(),
        });
    }

    pub(super) fn tell_validated<T>(&self, read: &Result<T, SchemaError>, matter: &Matter) {
        let outcome = match read {
            Ok(_) => Outcome::Passed,
            Err(_) => Outcome::Refused("schema"),
        };
        self.tell(Boundary::Validated, outcome, matter);
    }
}
