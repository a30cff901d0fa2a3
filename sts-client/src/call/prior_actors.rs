//! The actors of a chain before the current one.

use std::fmt;

use sts_protocol::{Act, Actor};

/// The actors before the current one, for the audit log only. They can be read but not compared,
/// because no decision may use them (RFC 8693 §4.1).
///
/// ```
/// # use sts_client::Caller;
/// # fn handler(caller: &Caller) {
/// println!("before it: {}", caller.prior_actors());
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct PriorActors<'a>(Option<&'a Act>);

impl<'a> PriorActors<'a> {
    /// Returns the actors of a chain before the current one.
    pub(super) fn new(act: Option<&'a Act>) -> Self {
        Self(act)
    }

    /// Returns the actors for the audit log, the latest first.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn names(caller: &Caller) -> Vec<&str> {
    ///     caller.prior_actors().for_audit().map(|actor| actor.sub).collect()
    /// }
    /// ```
    pub fn for_audit(self) -> impl Iterator<Item = Actor<'a>> {
        self.0.into_iter().flat_map(Act::actors).skip(1)
    }
}

/// Writes each `sub`, the latest first; empty if there are none.
impl fmt::Display for PriorActors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, actor) in self.for_audit().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{}", actor.sub)?;
        }
        Ok(())
    }
}

impl fmt::Debug for PriorActors<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PriorActors({self})")
    }
}
