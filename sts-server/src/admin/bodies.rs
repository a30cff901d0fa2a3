//! The schemas of request bodies: their keys and the grammar of each value. Entries have theirs in
//! `registry`.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use sts_jose::Algorithm;

use super::{ApprovalDecision, Denied, ExplainRequest, Named, RotateRequest};
use crate::approval::ApprovalAct;
use crate::document::{FieldFault, Key, Schema, Shape, read_object, reads};

static REVOCATION: Schema = Schema {
    label: "a revocation",
    keys: &[
        optional("jti", TEXT),
        optional("txn", TEXT),
        optional("sub", TEXT),
        optional("agent", TEXT),
        optional("tenant", TEXT),
        optional("owner", TEXT),
        optional("issuer", TEXT),
        optional("hold", Shape::Boolean),
        optional("unknown", Shape::Boolean),
    ],
};

static ROTATION: Schema = Schema {
    label: "a rotation",
    keys: &[optional("algorithm", Shape::Text(algorithm)), optional("now", Shape::Boolean)],
};

static APPROVAL_DECISION: Schema = Schema {
    label: "a decision",
    keys: &[Key { name: "decision", required: true, shape: Shape::Text(reads::<ApprovalAct>) }],
};

static EXPLANATION: Schema = Schema {
    label: "a request to explain",
    keys: &[
        optional("actor", TEXT),
        optional("client_assertion", Shape::SecretText(any)),
        optional("actor_token", Shape::SecretText(any)),
        optional("target", Shape::Texts(any)),
        optional("resource", Shape::Texts(any)),
        optional("scope", TEXT),
        optional("authorization_details", TEXT),
        optional("x_tenant_id", TEXT),
        optional("service_account", Shape::Boolean),
        optional("subject_token", Shape::SecretText(any)),
        optional("subject_token_type", TEXT),
        optional("issuer", TEXT),
        optional("sub", TEXT),
        optional("tenant", TEXT),
        optional("subject_scope", TEXT),
        optional("role", Shape::Texts(any)),
        optional("chain", Shape::Texts(any)),
        optional("subject_bound", Shape::Boolean),
        optional("dpop", Shape::Boolean),
        optional("client_certificate", Shape::Boolean),
    ],
};

const TEXT: Shape = Shape::Text(any);

const fn optional(name: &'static str, shape: Shape) -> Key {
    Key { name, required: false, shape }
}

fn any(_text: &str) -> Result<(), String> {
    Ok(())
}

fn algorithm(text: &str) -> Result<(), String> {
    text.parse::<Algorithm>().map(drop).map_err(|error| error.to_string())
}

fn read<T: DeserializeOwned>(schema: &Schema, body: &Map<String, Value>) -> Result<T, Denied> {
    let values = read_object(schema, body).map_err(Denied::Faults)?;
    let read = serde_json::from_value(Value::Object(values));
    read.map_err(|error| Denied::Faults(vec![FieldFault::at("", error.to_string())]))
}

impl Named {
    /// Reads a revocation from a request body.
    ///
    /// # Errors
    /// [`Denied::Faults`].
    pub fn read(body: &Map<String, Value>) -> Result<Self, Denied> {
        read(&REVOCATION, body)
    }
}

impl RotateRequest {
    /// Reads a rotation from a request body.
    ///
    /// # Errors
    /// [`Denied::Faults`].
    pub fn read(body: &Map<String, Value>) -> Result<Self, Denied> {
        read(&ROTATION, body)
    }
}

impl ApprovalDecision {
    /// Reads a decision from a request body.
    ///
    /// # Errors
    /// [`Denied::Faults`].
    pub fn read(body: &Map<String, Value>) -> Result<Self, Denied> {
        read(&APPROVAL_DECISION, body)
    }
}

impl ExplainRequest {
    /// Reads a request to explain from a request body.
    ///
    /// # Errors
    /// [`Denied::Faults`].
    pub fn read(body: &Map<String, Value>) -> Result<Self, Denied> {
        read(&EXPLANATION, body)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Returns the names of a type's fields, as serde lists them in the error for an unknown field.
    fn fields<T: DeserializeOwned>() -> BTreeSet<String> {
        let error = serde_json::from_value::<T>(serde_json::json!({ "-": 0 })).err().unwrap().to_string();
        let (_, expected) = error.split_once("expected").unwrap();
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    fn keys(schema: &Schema) -> BTreeSet<String> {
        schema.keys.iter().map(|key| key.name.to_owned()).collect()
    }

    #[test]
    fn the_keys_of_a_body_are_the_fields_of_what_it_is_read_as() {
        assert_eq!(keys(&REVOCATION), fields::<Named>());
        assert_eq!(keys(&ROTATION), fields::<RotateRequest>());
        assert_eq!(keys(&APPROVAL_DECISION), fields::<ApprovalDecision>());
        assert_eq!(keys(&EXPLANATION), fields::<ExplainRequest>());
    }
}
