//! The revocations as requests read them: immutable, replaced whole.

use std::collections::HashMap;

use jiff::Timestamp;
use sts_protocol::{Act, Actor};

use crate::storage::{RevocationKind, RevocationRow, TokenReference};

/// What stands revoked.
#[derive(Debug, Default)]
pub struct Revocations {
    version: i64,
    /// By kind, issuer (empty where it does not matter) and value.
    rows: HashMap<(RevocationKind, String, String), Timestamp>,
}

/// Everything of a token that a revocation can be about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The token itself.
    pub token: TokenReference,
    /// Its transaction, if it has one.
    pub txn: Option<String>,
    /// The issuer that first named the user, and the name there; none of a service account.
    pub principal: Option<(String, String)>,
    /// Its `sub`: the name of the user in minted tokens, or the id of a service account's agent.
    pub sub: String,
    /// The agents of this service that act or acted: those of the chain, and whoever presents the token.
    pub agents: Vec<String>,
    /// Its tenant, or those that a service account may forward.
    pub tenants: Vec<String>,
    /// When it was issued; a token that does not say so is older than any revocation.
    pub issued_at: Option<Timestamp>,
}

impl Revocations {
    /// Builds the snapshot of stored rows.
    #[must_use]
    pub fn from_rows(version: i64, rows: &[RevocationRow]) -> Self {
        let key = |row: &RevocationRow| (row.kind, row.issuer.clone().unwrap_or_default(), row.value.clone());
        Self { version, rows: rows.iter().map(|row| (key(row), row.at)).collect() }
    }

    /// The change counter that the snapshot belongs to.
    #[must_use]
    pub fn version(&self) -> i64 {
        self.version
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.rows.len()
    }

    /// Whether nothing stands revoked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What revocation a token falls under, if any.
    #[must_use]
    pub fn refuse(&self, standing: &Standing) -> Option<RevocationKind> {
        if self.is_empty() {
            return None;
        }
        let TokenReference { iss, jti } = &standing.token;
        if self.at(RevocationKind::Token, iss, jti).is_some() {
            return Some(RevocationKind::Token);
        }
        let blocked = |kind, issuer: &str, value: &str| {
            let at = self.at(kind, issuer, value)?;
            standing.issued_at.is_none_or(|issued_at| issued_at <= at).then_some(kind)
        };
        let txn = standing.txn.iter().find_map(|txn| blocked(RevocationKind::Transaction, "", txn));
        let subject = || {
            let (issuer, sub) = standing.principal.as_ref()?;
            let names = [(issuer.as_str(), sub), ("", sub), ("", &standing.sub)];
            names.into_iter().find_map(|(issuer, sub)| blocked(RevocationKind::Subject, issuer, sub))
        };
        let agent = || standing.agents.iter().find_map(|agent| blocked(RevocationKind::Agent, "", agent));
        let tenant = || standing.tenants.iter().find_map(|tenant| blocked(RevocationKind::Tenant, "", tenant));
        txn.or_else(subject).or_else(agent).or_else(tenant)
    }

    fn at(&self, kind: RevocationKind, issuer: &str, value: &str) -> Option<Timestamp> {
        self.rows.get(&(kind, issuer.to_owned(), value.to_owned())).copied()
    }
}

impl Standing {
    /// The agents of a chain whose ids are of our namespace.
    #[must_use]
    pub fn agents_of(act: Option<&Act>, our_issuer: &str) -> Vec<String> {
        let ours = |actor: &Actor<'_>| actor.iss == Some(our_issuer);
        act.into_iter().flat_map(Act::actors).filter(ours).map(|actor| actor.sub.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn revocations(kind: RevocationKind, issuer: Option<&str>, value: &str) -> Revocations {
        let row = RevocationRow {
            kind,
            issuer: issuer.map(str::to_owned),
            value: value.to_owned(),
            at: at(100),
            expires_at: at(1000),
            version: 1,
        };
        Revocations::from_rows(1, &[row])
    }

    fn standing(issued_at: Option<i64>) -> Standing {
        Standing {
            token: TokenReference { iss: "https://idp".to_owned(), jti: "t".to_owned() },
            txn: Some("x".to_owned()),
            principal: Some(("https://idp".to_owned(), "alice".to_owned())),
            sub: "idp|alice".to_owned(),
            agents: vec!["a".to_owned(), "b".to_owned()],
            tenants: vec!["acme".to_owned()],
            issued_at: issued_at.map(at),
        }
    }

    #[test]
    fn a_block_covers_what_was_issued_at_or_before_it() {
        use RevocationKind::{Agent, Subject, Tenant, Transaction};
        for (kind, issuer, value) in [
            (Transaction, None, "x"),
            (Subject, None, "alice"),
            (Subject, None, "idp|alice"),
            (Subject, Some("https://idp"), "alice"),
            (Agent, None, "b"),
            (Tenant, None, "acme"),
        ] {
            let revocations = revocations(kind, issuer, value);
            for (issued_at, covered) in [(Some(99), true), (Some(100), true), (Some(101), false), (None, true)] {
                let refused = revocations.refuse(&standing(issued_at));
                assert_eq!(refused, covered.then_some(kind), "{kind:?} {issued_at:?}");
            }
        }
    }

    #[test]
    fn others_are_not_covered() {
        use RevocationKind::{Agent, Subject, Tenant, Token, Transaction};
        for (kind, issuer, value) in [
            (Transaction, None, "y"),
            (Subject, Some("https://other"), "alice"),
            (Subject, Some("https://idp"), "idp|alice"),
            (Subject, None, "bob"),
            (Agent, None, "c"),
            (Tenant, None, "ACME"),
            (Token, Some("https://other"), "t"),
        ] {
            assert_eq!(revocations(kind, issuer, value).refuse(&standing(Some(1))), None, "{kind:?} {value}");
        }
    }

    #[test]
    fn a_revoked_token_is_refused_whenever_it_was_issued() {
        let revocations = revocations(RevocationKind::Token, Some("https://idp"), "t");
        assert_eq!(revocations.refuse(&standing(Some(500))), Some(RevocationKind::Token));
    }
}
