//! What an agent in the middle makes of the outcomes of whom it calls.

use url::Url;

use super::{Clarification, Halted, Location, Operation, Validation};
use crate::error::Error;

/// Turns what another agent said into what this one says.
///
/// | the other said | this one says |
/// |---|---|
/// | `failed_dependency` (424) | the same: the code stays, and the message says whose it was |
/// | `error` (500), or nothing readable | `failed_dependency` (424), likewise |
/// | `forbidden` (403) | the same |
/// | `clarification_required` (400) | the same, its fields under this agent's names |
/// | `validation_failed` (422) | the same, its fields under this agent's names |
/// | `approval_required` (412) | the same, with its approver and token |
/// | `conflict` (409) | the same |
/// | `operation` (202) | the same, to be asked after at this agent |
///
/// A field that has no name here cannot be asked of the caller, who never said it: the whole becomes `failed_dependency` with the code
/// `FIELD_NOT_MAPPED`, unless the field is optional, which is then left out. So does an operation, with `OPERATION_NOT_FOLLOWED`, where
/// this agent has no place to ask after it.
#[derive(Debug, Clone)]
pub struct Translator {
    dependency: String,
    fields: Vec<(String, String, Location)>,
    operations: Option<Url>,
}

impl Translator {
    /// A translator for one agent that is called; messages name it so.
    pub fn of(dependency: impl Into<String>) -> Self {
        Self { dependency: dependency.into(), fields: Vec::new(), operations: None }
    }

    /// What the other calls `theirs` is `ours` here, and stands there in a request to this agent.
    #[must_use]
    pub fn field(mut self, theirs: impl Into<String>, ours: impl Into<String>, location: Location) -> Self {
        self.fields.push((theirs.into(), ours.into(), location));
        self
    }

    /// The other's operations can be asked after at this agent, below this URL: it ends with `/`, and the operation's id is put after it.
    #[must_use]
    pub fn operations(mut self, below: Url) -> Self {
        self.operations = Some(below);
        self
    }

    /// What this agent says.
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

    fn operation(&self, operation: Operation) -> Halted {
        let followed = self.operations.as_ref().and_then(|below| {
            let mut url = below.clone();
            url.path_segments_mut().ok()?.pop_if_empty().push(&operation.operation_id);
            Some(url)
        });
        match followed {
            Some(url) => Halted::Operation(Operation { status_url: url.into(), ..operation }),
            None => {
                let message = self.said("goes on with an operation that this agent does not follow");
                Halted::failed_dependency("OPERATION_NOT_FOLLOWED", &message, None)
            }
        }
    }
}

/// Why a call did not go out, as this agent's own outcome: a refusal of the STS is 403, an outage 424 and never 500. What is wrong with the
/// agent itself is 500, and no caller's concern.
impl From<&Error> for Halted {
    fn from(error: &Error) -> Self {
        match error {
            Error::Refused { code } => Self::forbidden("REFUSED", &format!("the call is not allowed: {code}")),
            Error::Unavailable { retry_after, .. } => {
                Self::failed_dependency("STS_UNAVAILABLE", "no token can be had for the call now", *retry_after)
            }
            Error::Misconfigured { .. } | Error::WrongAudience { .. } | Error::NoRoute { .. } => {
                Self::error("MISCONFIGURED", "this agent is not set up for the call")
            }
        }
    }
}

impl From<Error> for Halted {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}
