//! The decisions on an approval: who may make which, in which state.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use utoipa::ToSchema;

use super::{Approval, ApprovalContent};
use crate::record::EventKind;
use crate::registry::Decider;
use crate::storage::{ApprovalRow, ApprovalState};

/// An act on an approval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalAct {
    /// Grants it.
    Grant,
    /// Denies it.
    Deny,
    /// Takes it back, also after it was granted.
    Withdraw,
}

/// The party that decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecidedBy<'a> {
    /// The user of the approval. The caller has checked that.
    User,
    /// An operator, by name.
    Operator(&'a str),
}

/// The act is not possible.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UndecidableError {
    /// Another party decides.
    #[error("the {} decides on this approval", .0.as_str())]
    AnotherDecides(Decider),
    /// The approval is not in a state that the act can change.
    #[error("the approval is {}", .0.as_str())]
    State(ApprovalState),
}

impl ApprovalAct {
    /// Returns the kind of the audit event.
    #[must_use]
    pub fn event(self) -> EventKind {
        match self {
            Self::Grant => EventKind::ApprovalGranted,
            Self::Deny => EventKind::ApprovalDenied,
            Self::Withdraw => EventKind::ApprovalWithdrawn,
        }
    }
}

impl Approval {
    /// Returns the row after a decision.
    ///
    /// An operator may withdraw what a user decides on, but neither grant nor deny it.
    ///
    /// # Errors
    /// [`UndecidableError`].
    pub fn decided(
        &self,
        act: ApprovalAct,
        by: DecidedBy<'_>,
        now: Timestamp,
    ) -> Result<ApprovalRow, UndecidableError> {
        let decider = self.content.by;
        let may_decide = match (by, act) {
            (DecidedBy::User, _) => decider == Decider::User,
            (DecidedBy::Operator(_), ApprovalAct::Withdraw) => true,
            (DecidedBy::Operator(_), ApprovalAct::Grant | ApprovalAct::Deny) => decider == Decider::Operator,
        };
        if !may_decide {
            return Err(UndecidableError::AnotherDecides(decider));
        }
        let state = match (act, self.state_at(now)) {
            (ApprovalAct::Grant, ApprovalState::Pending) => ApprovalState::Granted,
            (ApprovalAct::Deny, ApprovalState::Pending) => ApprovalState::Denied,
            (ApprovalAct::Withdraw, ApprovalState::Pending | ApprovalState::Granted) => ApprovalState::Withdrawn,
            (_, state) => return Err(UndecidableError::State(state)),
        };
        let expires_at = match state {
            ApprovalState::Granted => {
                let remember = SignedDuration::from_secs(self.content.remember.as_seconds());
                now.checked_add(remember).unwrap_or(now)
            }
            // Closed at once: it counts as closed from now on, and is deleted a day later.
            ApprovalState::Withdrawn => self.row.expires_at.min(now),
            ApprovalState::Pending | ApprovalState::Denied | ApprovalState::Expired | ApprovalState::Ended => {
                self.row.expires_at
            }
        };
        let name = match by {
            DecidedBy::User => format!("{} of {}", self.content.sub_id.sub, self.content.sub_id.iss),
            DecidedBy::Operator(name) => name.to_owned(),
        };
        let content = ApprovalContent { decided_by: Some(name), decided_at: Some(now), ..self.content.clone() };
        Ok(ApprovalRow { state, expires_at, body: content.to_body(), ..self.row.clone() })
    }

    /// Returns the row after it has expired, or `None` if it is closed or has not expired at `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp) -> Option<ApprovalRow> {
        let is_due = self.row.state.is_open() && self.has_expired(now);
        is_due.then(|| ApprovalRow { state: ApprovalState::Expired, ..self.row.clone() })
    }

    /// Returns the history of the approval for the audit event of a change: who decides, how long it
    /// waited, and until when it is remembered.
    #[must_use]
    pub fn history(&self, after: &ApprovalRow, now: Timestamp) -> String {
        let decides = self.content.by.as_str();
        let waited = now.as_second().saturating_sub(self.row.requested_at.as_second());
        let until = match after.state {
            ApprovalState::Granted => format!(", remembered until {}", after.expires_at),
            ApprovalState::Pending
            | ApprovalState::Denied
            | ApprovalState::Withdrawn
            | ApprovalState::Expired
            | ApprovalState::Ended => format!(", was {}", self.row.state.as_str()),
        };
        format!("the {decides} decides, {waited} s after the request{until}")
    }

    /// Returns the state at `now`. The row of an expired approval may not say so yet.
    #[must_use]
    pub fn state_at(&self, now: Timestamp) -> ApprovalState {
        self.expired(now).map_or(self.row.state, |row| row.state)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::approval::content::tests::content;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn approval(by: Decider, state: ApprovalState) -> Approval {
        let content = content(&json!({ "by": by, "remember": "10s" }));
        let row = ApprovalRow { state, ..content.pending("id", "https://sts", at(100), at(200)) };
        Approval { row, content }
    }

    #[test]
    fn who_may_decide_what_in_which_state() {
        use ApprovalAct::{Deny, Grant, Withdraw};
        use ApprovalState::{Denied, Ended, Expired, Granted, Pending, Withdrawn};
        use DecidedBy::{Operator, User};
        let another = "another";
        for (decider, by, act, state, now, expected) in [
            (Decider::User, User, Grant, Pending, 150, "granted"),
            (Decider::User, User, Deny, Pending, 150, "denied"),
            (Decider::User, User, Withdraw, Pending, 150, "withdrawn"),
            (Decider::User, User, Withdraw, Granted, 150, "withdrawn"),
            (Decider::User, Operator("o"), Grant, Pending, 150, another),
            (Decider::User, Operator("o"), Deny, Pending, 150, another),
            (Decider::User, Operator("o"), Withdraw, Pending, 150, "withdrawn"),
            (Decider::User, Operator("o"), Withdraw, Granted, 150, "withdrawn"),
            (Decider::Operator, User, Grant, Pending, 150, another),
            (Decider::Operator, User, Withdraw, Granted, 150, another),
            (Decider::Operator, Operator("o"), Grant, Pending, 150, "granted"),
            (Decider::Operator, Operator("o"), Grant, Pending, 200, "is expired"),
            (Decider::Operator, Operator("o"), Withdraw, Granted, 200, "is expired"),
            (Decider::Operator, Operator("o"), Grant, Granted, 150, "is granted"),
            (Decider::Operator, Operator("o"), Deny, Granted, 150, "is granted"),
            (Decider::Operator, Operator("o"), Grant, Denied, 150, "is denied"),
            (Decider::Operator, Operator("o"), Grant, Withdrawn, 150, "is withdrawn"),
            (Decider::Operator, Operator("o"), Grant, Expired, 150, "is expired"),
            (Decider::Operator, Operator("o"), Grant, Ended, 150, "is ended"),
        ] {
            let found = match approval(decider, state).decided(act, by, at(now)) {
                Ok(row) => row.state.as_str().to_owned(),
                Err(UndecidableError::AnotherDecides(_)) => another.to_owned(),
                Err(UndecidableError::State(state)) => format!("is {}", state.as_str()),
            };
            assert_eq!(found, expected, "{decider:?} {by:?} {act:?} {state:?} {now}");
        }
    }

    #[test]
    fn a_grant_is_remembered_from_its_decision_on() {
        let approval = approval(Decider::Operator, ApprovalState::Pending);
        let granted = approval.decided(ApprovalAct::Grant, DecidedBy::Operator("o"), at(150)).unwrap();
        assert_eq!(granted.expires_at, at(160));
        let granted = Approval::read(&granted).unwrap();
        assert_eq!((granted.content.decided_by.as_deref(), granted.content.decided_at), (Some("o"), Some(at(150))));
        assert_eq!(
            (granted.state_at(at(159)), granted.state_at(at(160))),
            (ApprovalState::Granted, ApprovalState::Expired)
        );
    }
}
