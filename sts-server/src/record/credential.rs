//! The [`Standing`] of each kind of credential.
//!
//! [`Revocations::refuse`] is the only revocation check of every credential of a request, given its
//! [`Standing`]. These are a subject token and an introspected token (`verify`), an actor token and
//! a client assertion (`client_auth`), and an operator's access token (`verify::operator`). A
//! client secret has no time of issue, so only holds apply to it.

use jiff::Timestamp;

use super::hold::HOLDS_BEGIN;
use super::{Revocations, Standing};
use crate::storage::TokenReference;

impl Standing {
    /// Returns the standing of an outside issuer's token for `sub`. `sub` is a user, an operator,
    /// or the workload of an agent in `agents`.
    #[must_use]
    pub fn of_outside(token: TokenReference, sub: &str, agents: Vec<String>, issued_at: Option<Timestamp>) -> Self {
        let principal = Some((token.iss.clone(), sub.to_owned()));
        Self { token, lineage: None, txn: None, principal, sub: sub.to_owned(), agents, tenants: Vec::new(), issued_at }
    }

    /// Returns the standing of an assertion that an agent signed itself.
    #[must_use]
    pub fn of_assertion(token: TokenReference, agent: &str, issued_at: Option<Timestamp>) -> Self {
        Self { principal: None, ..Self::of_outside(token, agent, vec![agent.to_owned()], issued_at) }
    }
}

impl Revocations {
    /// Returns true if an agent is on hold.
    #[must_use]
    pub fn holds_agent(&self, id: &str) -> bool {
        !self.is_empty() && self.refuse(&Standing::of_assertion(no_token(), id, Some(HOLDS_BEGIN))).is_some()
    }

    /// Returns true if a tenant is on hold.
    #[must_use]
    pub fn holds_tenant(&self, tenant: &str) -> bool {
        let standing = || Standing {
            tenants: vec![tenant.to_owned()],
            agents: Vec::new(),
            ..Standing::of_assertion(no_token(), "", Some(HOLDS_BEGIN))
        };
        !self.is_empty() && self.refuse(&standing()).is_some()
    }
}

/// Returns a reference that matches no token.
fn no_token() -> TokenReference {
    TokenReference { iss: String::new(), jti: String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{held_since, hold_at};
    use crate::storage::{RevocationKind, RevocationRow};

    fn revocations(kind: RevocationKind, value: &str, at: Timestamp) -> Revocations {
        let expires_at = super::super::UNTIL_LIFTED;
        let row = RevocationRow { kind, issuer: None, value: value.to_owned(), at, expires_at, version: 1, txn: None };
        Revocations::from_rows(crate::storage::Version::default(), &[row])
    }

    #[test]
    fn a_hold_covers_what_is_issued_later_and_a_block_does_not() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let later = Timestamp::from_second(1_900_000_000).unwrap();
        let token = || TokenReference { iss: "https://idp".to_owned(), jti: "t".to_owned() };
        let standing = Standing::of_outside(token(), "alice", vec!["runner".to_owned()], Some(later));
        for (kind, value) in [(RevocationKind::Subject, "alice"), (RevocationKind::Agent, "runner")] {
            assert_eq!(revocations(kind, value, now).refuse(&standing), None, "{kind:?}");
            assert_eq!(revocations(kind, value, hold_at(now)).refuse(&standing), Some(kind));
        }
        assert!(!revocations(RevocationKind::Agent, "runner", now).holds_agent("runner"));
        assert!(revocations(RevocationKind::Agent, "runner", hold_at(now)).holds_agent("runner"));
        assert!(!revocations(RevocationKind::Agent, "runner", hold_at(now)).holds_agent("other"));
        assert!(!revocations(RevocationKind::Tenant, "acme", now).holds_tenant("acme"));
        assert!(revocations(RevocationKind::Tenant, "acme", hold_at(now)).holds_tenant("acme"));
        assert_eq!((held_since(now), held_since(hold_at(now))), (None, Some(now)));
    }

    #[test]
    fn a_hold_is_a_time_that_both_databases_store() {
        let latest = hold_at(Timestamp::from_second(95_000_000_000).unwrap());
        for at in [hold_at(Timestamp::from_second(0).unwrap()), latest, super::super::UNTIL_LIFTED] {
            assert!(at >= HOLDS_BEGIN);
            assert_eq!(Timestamp::from_millisecond(at.as_millisecond()).unwrap(), at);
            // There is room for the clock skew that comparisons allow.
            at.checked_add(jiff::SignedDuration::from_hours(24)).unwrap();
        }
    }
}
