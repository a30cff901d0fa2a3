//! The beginnings of names that belong to one issuer alone.

use sts_jose::TrustDomain;

use super::issuer::Issuer;
use crate::build_error::BuildError;

/// The beginnings of `sub` that belong to one issuer each: its `subject_prefix`, and that of the identities of a trust domain.
#[derive(Debug)]
pub(super) struct SubjectPrefixes(Vec<OwnedPrefix>);

#[derive(Debug)]
struct OwnedPrefix {
    prefix: String,
    issuer: String,
}

impl SubjectPrefixes {
    /// Reads the prefixes of these issuers.
    pub(super) fn of(issuers: &[Issuer]) -> Result<Self, BuildError> {
        let mut prefixes: Vec<OwnedPrefix> = Vec::new();
        for issuer in issuers {
            let given = issuer.subject_prefix.clone().filter(|prefix| !prefix.is_empty());
            let domain = TrustDomain::of_issuer(&issuer.issuer).map(TrustDomain::prefix);
            for prefix in given.into_iter().chain(domain) {
                let meets = |other: &&OwnedPrefix| {
                    let begins = prefix.starts_with(&other.prefix) || other.prefix.starts_with(&prefix);
                    begins && other.issuer != issuer.issuer
                };
                if let Some(other) = prefixes.iter().find(meets) {
                    return Err(BuildError::contradiction(format!(
                        "subject_prefix {prefix:?} of the issuer {:?} and {:?} of the issuer {:?} begin the same names",
                        issuer.issuer, other.prefix, other.issuer
                    )));
                }
                prefixes.push(OwnedPrefix { prefix, issuer: issuer.issuer.clone() });
            }
        }
        Ok(Self(prefixes))
    }

    /// True if only another issuer than `issuer` may give a name that begins so.
    pub(super) fn are_of_another(&self, issuer: &str, sub: &str) -> bool {
        self.0.iter().any(|owned| owned.issuer != issuer && sub.starts_with(&owned.prefix))
    }
}
