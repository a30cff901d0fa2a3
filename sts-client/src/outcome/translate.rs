//! Translation of another agent's outcomes by an agent in the middle.

use url::Url;

use super::{Approval, Clarification, Detail, Halted, Location, PendingOperation, Validation};
use crate::call::RequiredApproval;
use crate::error::Error;

/// Translates the outcome of a called agent into this agent's own outcome.
///
/// | the called agent answers | this agent answers |
/// |---|---|
/// | `failed_dependency` (424) | the same: the code stays, and the message names the called agent |
/// | `error` (500), or an unreadable answer | `failed_dependency` (424), likewise |
/// | `forbidden` (403) | the same |
/// | `clarification_required` (400) | the same, its fields under this agent's names |
/// | `validation_failed` (422) | the same, its fields under this agent's names |
/// | `approval_required` (412) | the same, with its approver and token |
/// | `conflict` (409) | the same |
/// | `operation` (202) | the same, with a status URL at this agent |
///
/// This agent cannot ask its caller for a field that has no name here, because the caller never
/// sent it. An optional input without a name is left out. A required input or an invalid field
/// without a name makes the outcome `failed_dependency` with the code `FIELD_NOT_MAPPED`. An
/// operation becomes `failed_dependency` with `OPERATION_NOT_FOLLOWED` if this agent has no status
/// URL for it.
///
/// ```
/// use sts_client::outcome::{Halted, Location, Translator};
///
/// let inventory = Translator::of("inventory").field("sku", "product", Location::Body);
/// let ours = inventory.translate(Halted::error("DB_DOWN", "the database is down"));
/// assert!(matches!(ours, Halted::FailedDependency(_)));
/// assert_eq!(ours.detail().message, "inventory: the database is down");
/// ```
#[derive(Debug, Clone)]
pub struct Translator {
    dependency: String,
    fields: Vec<(String, String, Location)>,
    operations: Option<Url>,
}

impl Translator {
    /// Makes a translator for one called agent. Messages use this name.
    pub fn of(dependency: impl Into<String>) -> Self {
        Self { dependency: dependency.into(), fields: Vec::new(), operations: None }
    }

    /// Maps the field `theirs` of the called agent to the field `ours`, at `location` in a request
    /// to this agent.
    #[must_use]
    pub fn field(mut self, theirs: impl Into<String>, ours: impl Into<String>, location: Location) -> Self {
        self.fields.push((theirs.into(), ours.into(), location));
        self
    }

    /// Serves the status of the called agent's operations below this URL. The URL ends with `/`,
    /// and the operation's id is appended.
    #[must_use]
    pub fn operations(mut self, below: Url) -> Self {
        self.operations = Some(below);
        self
    }

    /// Returns this agent's own outcome.
    pub fn translate(&self, halted: Halted) -> Halted {
        match halted {
            Halted::FailedDependency(failure) => {
                let message = self.said(&failure.detail.message);
                Halted::failed_dependency(&failure.detail.code, &message, failure.retry_after)
            }
            Halted::Error(detail) => Halted::failed_dependency(&detail.code, &self.said(&detail.message), None),
            Halted::ClarificationRequired(clarification) => self.clarification(clarification),
            Halted::ValidationFailed(validation) => self.validation(validation),
            Halted::Operation(operation) => self.operation(operation),
            same @ (Halted::ApprovalRequired(_) | Halted::Forbidden(_) | Halted::Conflict(_)) => same,
        }
    }

    fn said(&self, message: &str) -> String {
        format!("{}: {message}", self.dependency)
    }

    fn ours(&self, theirs: &str) -> Option<(&str, Location)> {
        let found = self.fields.iter().find(|(name, _, _)| name == theirs);
        found.map(|(_, ours, location)| (ours.as_str(), *location))
    }

    fn not_mapped(&self) -> Halted {
        let message = self.said("asks for what a caller of this agent cannot say");
        Halted::failed_dependency("FIELD_NOT_MAPPED", &message, None)
    }

    fn clarification(&self, clarification: Clarification) -> Halted {
        let Clarification { detail, required_inputs } = clarification;
        let mut mapped = Vec::with_capacity(required_inputs.len());
        for mut input in required_inputs {
            match self.ours(&input.name) {
                Some((name, location)) => {
                    name.clone_into(&mut input.name);
                    input.location = location;
                    mapped.push(input);
                }
                None if input.required => return self.not_mapped(),
                None => {}
            }
        }
        if mapped.is_empty() {
            return self.not_mapped();
        }
        Halted::ClarificationRequired(Clarification { detail, required_inputs: mapped })
    }

    fn validation(&self, validation: Validation) -> Halted {
        let Validation { detail, mut errors } = validation;
        for error in &mut errors {
            let Some((name, _)) = self.ours(&error.field) else { return self.not_mapped() };
            name.clone_into(&mut error.field);
        }
        if errors.is_empty() {
            return self.not_mapped();
        }
        Halted::ValidationFailed(Validation { detail, errors })
    }

    fn operation(&self, operation: PendingOperation) -> Halted {
        let followed = self.operations.as_ref().and_then(|below| {
            let mut url = below.clone();
            url.path_segments_mut().ok()?.pop_if_empty().push(&operation.operation_id);
            Some(url)
        });
        match followed {
            Some(url) => Halted::Operation(PendingOperation { status_url: url.into(), ..operation }),
            None => {
                let message = self.said("continues with an operation that this agent does not follow");
                Halted::failed_dependency("OPERATION_NOT_FOLLOWED", &message, None)
            }
        }
    }
}

/// Converts an unsent call to this agent's own outcome. A refusal of the STS is 403, an approval that
/// it requires is 412, and an outage is 424, never 500. A fault of the agent itself is 500, without details for the caller.
impl From<&Error> for Halted {
    fn from(error: &Error) -> Self {
        match error {
            Error::Refused { code } => Self::forbidden("REFUSED", &format!("the call is not allowed: {code}")),
            Error::ApprovalRequired(required) => Self::ApprovalRequired(Box::new(Approval::from(&**required))),
            Error::Unavailable { retry_after, .. } => {
                Self::failed_dependency("STS_UNAVAILABLE", "no token is available for the call now", *retry_after)
            }
            Error::Misconfigured { .. } | Error::WrongAudience { .. } | Error::NoRoute { .. } => {
                Self::error("MISCONFIGURED", "this agent is not set up for the call")
            }
        }
    }
}

/// Makes the outcome of a call that needs an approval of the STS.
impl From<&RequiredApproval> for Approval {
    fn from(required: &RequiredApproval) -> Self {
        Self {
            detail: Detail::new("APPROVAL_REQUIRED", "a person must approve the call first"),
            approval_token: required.approval_id.clone(),
            approver: required.approver.map(|approver| approver.as_str().to_owned()),
            approval_id: Some(required.approval_id.clone()),
            interaction_uri: Some(required.interaction_uri.clone()),
        }
    }
}

impl From<Error> for Halted {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}
