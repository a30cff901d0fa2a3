//! A route, made ready: its rules, what its keys begin with, and where the agent's own token for it comes from.

use std::fmt;
use std::sync::Arc;

use super::decide::{Rules, WithUser};
use crate::build_error::BuildError;
use crate::cache::RouteKey;
use crate::call::{OnOutage, Route, WithoutUser};
use crate::exchange::Sts;
use crate::service_account::Slot;

/// A route, made ready.
pub(super) struct Hop {
    pub(super) route: Arc<Route>,
    pub(super) rules: Rules,
    /// Where the agent's own token comes from; there wherever `rules` may ask for it.
    pub(super) own: Option<Arc<Slot>>,
    /// Where the user's token is exchanged, where that is what the route says.
    pub(super) exchange: Option<(Sts, RouteKey)>,
}

impl Hop {
    /// A hop by `route`, with an STS if there is one and the route names a target at it.
    ///
    /// # Errors
    /// [`BuildError::Contradiction`] when it names a target at an STS, there is none, and it does not say what goes out then; and when it may
    /// need the agent's own token and there is none.
    pub(super) fn new(route: Arc<Route>, sts: Option<&Sts>, own: Option<Arc<Slot>>) -> Result<Self, BuildError> {
        let with_user = match (sts, route.has_target(), route.on_outage) {
            (Some(_), true, _) => WithUser::Exchange,
            _ if route.pass_through => WithUser::PassThrough,
            (Some(_) | None, false, _) | (None, true, OnOutage::ServiceAccount) => WithUser::ServiceAccount,
            // Whoever names a target wants the user's token exchanged, and not the agent's own in its place.
            (None, true, OnOutage::Fail) => {
                let url = &route.url;
                return Err(BuildError::contradiction(format!(
                    "the route {url} names a target at the sts, and there is no sts"
                )));
            }
        };
        let rules = Rules { with_user, on_outage: route.on_outage, without_user: route.without_user };
        if let (Some(why), None) = (needs_service_account(rules), &own) {
            let url = &route.url;
            return Err(BuildError::contradiction(format!(
                "the route {url} needs a service account, and has none: {why}"
            )));
        }
        let exchange = sts.map(|sts| (sts.clone(), RouteKey::new(sts, &route)));
        Ok(Self { route, rules, own, exchange })
    }

    /// Whether the agent's own token must be there before the STS is out of reach.
    pub(super) fn stands_in(&self) -> Option<&Arc<Slot>> {
        match (self.rules.with_user, self.rules.on_outage) {
            (WithUser::Exchange, OnOutage::ServiceAccount) => self.own.as_ref(),
            (WithUser::Exchange | WithUser::PassThrough | WithUser::ServiceAccount, _) => None,
        }
    }
}

fn needs_service_account(rules: Rules) -> Option<&'static str> {
    if rules.with_user == WithUser::ServiceAccount {
        return Some("it has no sts, and does not pass the user's token through");
    }
    if rules.without_user == WithoutUser::ServiceAccount {
        return Some("without_user = \"service_account\"");
    }
    (rules.on_outage == OnOutage::ServiceAccount).then_some("on_outage = \"service_account\"")
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hop").field("route", &self.route).field("rules", &self.rules).finish_non_exhaustive()
    }
}
