//! A route that is ready for calls: its rules, with the exchange and the agent's own token that
//! they need.

use std::fmt;
use std::sync::Arc;

use super::decide::{Rules, WithUser};
use crate::build_error::BuildError;
use crate::cache::RouteKey;
use crate::call::{OnApproval, OnOutage, Route, WithoutUser};
use crate::exchange::Sts;
use crate::service_account::Slot;

/// A route with its resolved rules.
pub(super) struct Hop {
    pub(super) route: Arc<Route>,
    pub(super) rules: Rules<Exchange, Arc<Slot>>,
}

/// The exchange of a user's token.
pub(super) struct Exchange {
    pub(super) sts: Sts,
    pub(super) key: RouteKey,
}

impl Hop {
    /// Makes the hop for `route`. The hop exchanges tokens if there is an STS and the route names a
    /// target at it.
    ///
    /// # Errors
    /// [`BuildError::Contradiction`] in three cases. The route may need the agent's own token, and
    /// there is none. The route has a rule for exchanges and names no target at the STS. Or the route names a target at the STS, there is no STS, and the route sets
    /// neither `pass_through` nor a fallback to the service account.
    pub(super) fn new(route: Arc<Route>, sts: Option<&Sts>, own: Option<Arc<Slot>>) -> Result<Self, BuildError> {
        let url = &route.url;
        let of_the_sts = [
            ("on_approval = \"wait\"", route.on_approval == OnApproval::Wait),
            ("authorization_details", !route.authorization_details.is_empty()),
            ("per_tool", route.per_tool),
        ];
        if let Some((key, _)) = of_the_sts.iter().find(|(_, is_set)| *is_set && !route.has_target()) {
            return Err(BuildError::contradiction(format!(
                "the route {url} has {key} and names no target at the sts: set audience or resource"
            )));
        }
        let own = |why: &str| {
            let missing = || format!("the route {url} needs a service account, and has none: {why}");
            own.clone().ok_or_else(|| BuildError::contradiction(missing()))
        };
        let stand_in = match route.on_outage {
            OnOutage::Fail => None,
            OnOutage::ServiceAccount => Some(own("on_outage = \"service_account\"")?),
        };
        let without_user = match route.without_user {
            WithoutUser::Fail => None,
            WithoutUser::ServiceAccount => Some(own("without_user = \"service_account\"")?),
        };
        let with_user = match (sts, route.has_target(), route.on_outage) {
            (Some(sts), true, _) => {
                let exchange = Exchange { sts: sts.clone(), key: RouteKey::new(sts, &route) };
                WithUser::Exchange { exchange, stand_in }
            }
            _ if route.pass_through => WithUser::PassThrough,
            (Some(_) | None, false, _) | (None, true, OnOutage::ServiceAccount) => {
                WithUser::ServiceAccount(own("it has no sts, and does not pass the user's token through")?)
            }
            // A route that names a target requires an exchange of the user's token. The agent's own
            // token must not replace it.
            (None, true, OnOutage::Fail) => {
                return Err(BuildError::contradiction(format!(
                    "the route {url} names a target at the sts, and there is no sts"
                )));
            }
        };
        Ok(Self { route, rules: Rules { with_user, without_user } })
    }

    /// Returns the agent's own token if it must be fetched before an outage of the STS.
    pub(super) fn stand_in(&self) -> Option<&Arc<Slot>> {
        match &self.rules.with_user {
            WithUser::Exchange { stand_in, .. } => stand_in.as_ref(),
            WithUser::PassThrough | WithUser::ServiceAccount(_) => None,
        }
    }

    /// Returns the agent's own token if a rule sends it.
    pub(super) fn own(&self) -> Option<&Arc<Slot>> {
        let with_user = match &self.rules.with_user {
            WithUser::ServiceAccount(own) => Some(own),
            WithUser::Exchange { stand_in, .. } => stand_in.as_ref(),
            WithUser::PassThrough => None,
        };
        with_user.or(self.rules.without_user.as_ref())
    }

    /// Returns the exchange of a user's token if the route has one.
    pub(super) fn exchange(&self) -> Option<&Exchange> {
        match &self.rules.with_user {
            WithUser::Exchange { exchange, .. } => Some(exchange),
            WithUser::PassThrough | WithUser::ServiceAccount(_) => None,
        }
    }
}

impl fmt::Debug for Hop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hop").field("route", &self.route).finish_non_exhaustive()
    }
}
