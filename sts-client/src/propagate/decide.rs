//! The decision table, as two pure and total functions: [`before`] and [`after`] the request to the
//! STS. No other code decides which credential a call carries.
//!
//! The functions are generic over the credentials, so a decision contains the values that carry it
//! out.

/// The user token of the inbound request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundToken<U> {
    /// A verified token of this user.
    Verified(U),
    /// The token is invalid, or has expired since its verification.
    Invalid,
    /// A verified token of a service account. It counts as absent.
    ServiceAccount,
    /// There is no token, for example in a scheduled run or a handshake.
    Absent,
}

/// The rules of a route. `X` exchanges a token; `S` is the agent's own token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules<X, S> {
    /// The source of the token for a call of a user.
    pub with_user: WithUser<X, S>,
    /// The agent's own token, if the route sends it for a call without a user.
    pub without_user: Option<S>,
}

/// The source of the token for a user's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithUser<X, S> {
    /// The route has an STS.
    Exchange {
        /// The exchange.
        exchange: X,
        /// The agent's own token, if the route sends it during an outage of the STS.
        stand_in: Option<S>,
    },
    /// The route has no STS and explicitly passes the user's token through.
    PassThrough,
    /// The route has no STS and sends the agent's own token.
    ServiceAccount(S),
}

/// The decision before the request to the STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan<'r, U, X, S> {
    /// The STS is asked first; [`after`] then decides.
    Exchange {
        /// The user whose token is exchanged.
        user: U,
        /// The exchange.
        exchange: &'r X,
        /// The token for a fallback, to be passed to [`after`].
        stand_in: Option<&'r S>,
    },
    /// The call carries the agent's own token, and the tenant in `X-Tenant-ID`.
    ServiceAccount(&'r S),
    /// The call carries the user's own token, unchanged.
    PassThrough(U),
    /// The call fails: the inbound token is invalid. The caller gets a 401.
    InvalidToken,
    /// The call fails: the route requires a user, and there is none.
    LoginRequired,
}

/// The answer of the STS: a token `T`, or an error `E`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer<T, E> {
    /// The STS issued a token, and it was verified.
    Token(T),
    /// The user's token expired during the request.
    Expired,
    /// The STS refused (400, 401 or 403), or its answer was unreadable.
    No(E),
    /// The STS still answered 429 after the last retry.
    Overloaded(E),
    /// The agent could not ask the STS, because the source of the agent's own credential is
    /// unreachable.
    NoCredential(E),
    /// An outage after bounded retries: no connection, no answer in time, or a status from 500 to
    /// 599.
    Outage(E),
}

/// The decision after the request to the STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision<T, E, S> {
    /// The call carries the exchanged token alone.
    Exchanged(T),
    /// The call carries the agent's own token, marked as a stand-in, and the tenant in
    /// `X-Tenant-ID`.
    Fallback {
        /// The agent's own token.
        stand_in: S,
        /// The failure of the request to the STS.
        outage: E,
    },
    /// The call fails: the inbound token is invalid. The caller gets a 401.
    InvalidToken,
    /// The call fails: the STS refused.
    Refused(E),
    /// The call fails: the STS, or the source of the agent's credential, is unreachable or
    /// overloaded.
    Unavailable(E),
}

/// Decides before the request to the STS. An exchange has precedence over every other credential.
///
/// ```
/// use sts_client::propagate::decide::{InboundToken, Plan, Rules, WithUser, before};
///
/// let rules = Rules { with_user: WithUser::Exchange { exchange: "sts", stand_in: None }, without_user: Some("own token") };
/// let alice = before(InboundToken::Verified("alice"), &rules);
/// assert_eq!(alice, Plan::Exchange { user: "alice", exchange: &"sts", stand_in: None });
/// assert_eq!(before(InboundToken::<&str>::Absent, &rules), Plan::ServiceAccount(&"own token"));
/// assert_eq!(before(InboundToken::<&str>::Invalid, &rules), Plan::InvalidToken);
/// ```
#[must_use]
pub fn before<U, X, S>(inbound: InboundToken<U>, rules: &Rules<X, S>) -> Plan<'_, U, X, S> {
    match inbound {
        InboundToken::Invalid => Plan::InvalidToken,
        InboundToken::ServiceAccount | InboundToken::Absent => match &rules.without_user {
            Some(own) => Plan::ServiceAccount(own),
            None => Plan::LoginRequired,
        },
        InboundToken::Verified(user) => match &rules.with_user {
            WithUser::PassThrough => Plan::PassThrough(user),
            WithUser::ServiceAccount(own) => Plan::ServiceAccount(own),
            WithUser::Exchange { exchange, stand_in } => Plan::Exchange { user, exchange, stand_in: stand_in.as_ref() },
        },
    }
}

/// Decides after the request to the STS. A fallback follows an outage only. A refusal is final, and
/// load cannot lead to a weaker credential.
///
/// ```
/// use sts_client::propagate::decide::{Answer, Decision, after};
///
/// let outage = after(Some("own token"), Answer::<&str, _>::Outage("no answer"));
/// assert_eq!(outage, Decision::Fallback { stand_in: "own token", outage: "no answer" });
/// // A refusal never becomes a call.
/// assert_eq!(after(Some("own token"), Answer::<&str, _>::No("refused")), Decision::Refused("refused"));
/// ```
#[must_use]
pub fn after<T, E, S>(stand_in: Option<S>, answer: Answer<T, E>) -> Decision<T, E, S> {
    match answer {
        Answer::Token(token) => Decision::Exchanged(token),
        Answer::Expired => Decision::InvalidToken,
        Answer::No(refusal) => Decision::Refused(refusal),
        Answer::Overloaded(error) | Answer::NoCredential(error) => Decision::Unavailable(error),
        Answer::Outage(outage) => match stand_in {
            None => Decision::Unavailable(outage),
            Some(stand_in) => Decision::Fallback { stand_in, outage },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{OnOutage, WithoutUser};

    type Inbound = InboundToken<()>;
    type Asked = Answer<(), ()>;

    /// A row of the table, in the terms of a route.
    #[derive(Debug, Clone, Copy)]
    struct Row {
        inbound: Inbound,
        with_user: Source,
        on_outage: OnOutage,
        without_user: WithoutUser,
        answer: Asked,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Source {
        Exchange,
        PassThrough,
        ServiceAccount,
    }

    /// The result of both decisions.
    #[derive(Debug, Clone, Copy, PartialEq)]
    enum Sent {
        Exchanged,
        ServiceAccount,
        Fallback,
        PassThrough,
        InvalidToken,
        Refused,
        Unavailable,
        LoginRequired,
    }

    const INBOUND: [Inbound; 4] =
        [InboundToken::Verified(()), InboundToken::Invalid, InboundToken::ServiceAccount, InboundToken::Absent];
    const SOURCES: [Source; 3] = [Source::Exchange, Source::PassThrough, Source::ServiceAccount];
    const ANSWERS: [Asked; 6] = [
        Answer::Token(()),
        Answer::Expired,
        Answer::No(()),
        Answer::Overloaded(()),
        Answer::NoCredential(()),
        Answer::Outage(()),
    ];
    const ON_OUTAGE: [OnOutage; 2] = [OnOutage::Fail, OnOutage::ServiceAccount];
    const WITHOUT_USER: [WithoutUser; 2] = [WithoutUser::Fail, WithoutUser::ServiceAccount];

    impl Row {
        fn sent(&self) -> Sent {
            let stand_in = (self.on_outage == OnOutage::ServiceAccount).then_some(());
            let with_user = match self.with_user {
                Source::Exchange => WithUser::Exchange { exchange: (), stand_in },
                Source::PassThrough => WithUser::PassThrough,
                Source::ServiceAccount => WithUser::ServiceAccount(()),
            };
            let without_user = (self.without_user == WithoutUser::ServiceAccount).then_some(());
            match before(self.inbound, &Rules { with_user, without_user }) {
                Plan::ServiceAccount(()) => Sent::ServiceAccount,
                Plan::PassThrough(()) => Sent::PassThrough,
                Plan::InvalidToken => Sent::InvalidToken,
                Plan::LoginRequired => Sent::LoginRequired,
                Plan::Exchange { stand_in, .. } => match after(stand_in, self.answer) {
                    Decision::Exchanged(()) => Sent::Exchanged,
                    Decision::Fallback { .. } => Sent::Fallback,
                    Decision::InvalidToken => Sent::InvalidToken,
                    Decision::Refused(()) => Sent::Refused,
                    Decision::Unavailable(()) => Sent::Unavailable,
                },
            }
        }

        /// True if the STS is asked.
        fn asks(&self) -> bool {
            self.inbound == InboundToken::Verified(()) && self.with_user == Source::Exchange
        }
    }

    /// Every row of the input space.
    fn all() -> Vec<Row> {
        let mut rows = Vec::new();
        for inbound in INBOUND {
            for with_user in SOURCES {
                for on_outage in ON_OUTAGE {
                    for without_user in WITHOUT_USER {
                        rows.extend(ANSWERS.map(|answer| Row { inbound, with_user, on_outage, without_user, answer }));
                    }
                }
            }
        }
        assert_eq!(rows.len(), 288);
        rows
    }

    #[track_caller]
    fn assert_row(expected: Sent, row: impl Fn(&Row) -> bool) {
        let rows: Vec<Row> = all().into_iter().filter(row).collect();
        assert!(!rows.is_empty());
        for row in rows {
            assert_eq!(row.sent(), expected, "{row:?}");
        }
    }

    #[test]
    fn a_token_of_the_sts_goes_out_exchanged() {
        assert_row(Sent::Exchanged, |row| row.asks() && row.answer == Answer::Token(()));
    }

    #[test]
    fn a_user_token_that_expires_during_the_exchange_is_a_401() {
        assert_row(Sent::InvalidToken, |row| row.asks() && row.answer == Answer::Expired);
    }

    #[test]
    fn a_refusal_of_the_sts_stands_on_every_route() {
        assert_row(Sent::Refused, |row| row.asks() && row.answer == Answer::No(()));
    }

    #[test]
    fn load_never_earns_a_weaker_credential() {
        assert_row(Sent::Unavailable, |row| row.asks() && row.answer == Answer::Overloaded(()));
    }

    #[test]
    fn an_agent_without_its_credential_has_not_met_an_outage_of_the_sts() {
        assert_row(Sent::Unavailable, |row| row.asks() && row.answer == Answer::NoCredential(()));
    }

    #[test]
    fn an_outage_fails_closed_unless_the_route_says_otherwise() {
        let outage = |row: &Row| row.asks() && row.answer == Answer::Outage(());
        assert_row(Sent::Unavailable, |row| outage(row) && row.on_outage == OnOutage::Fail);
        assert_row(Sent::Fallback, |row| outage(row) && row.on_outage == OnOutage::ServiceAccount);
    }

    #[test]
    fn an_invalid_token_is_a_401_on_every_route() {
        assert_row(Sent::InvalidToken, |row| row.inbound == InboundToken::Invalid);
    }

    #[test]
    fn a_service_account_counts_as_no_user() {
        for row in all().into_iter().filter(|row| row.inbound == InboundToken::ServiceAccount) {
            assert_eq!(row.sent(), Row { inbound: InboundToken::Absent, ..row }.sent());
        }
    }

    #[test]
    fn without_a_user_the_service_account_goes_out_only_where_the_route_says_so() {
        let absent = |row: &Row| row.inbound == InboundToken::Absent;
        assert_row(Sent::LoginRequired, |row| absent(row) && row.without_user == WithoutUser::Fail);
        assert_row(Sent::ServiceAccount, |row| absent(row) && row.without_user == WithoutUser::ServiceAccount);
    }

    #[test]
    fn without_an_sts_the_route_decides() {
        let verified = |row: &Row| row.inbound == InboundToken::Verified(());
        assert_row(Sent::PassThrough, |row| verified(row) && row.with_user == Source::PassThrough);
        assert_row(Sent::ServiceAccount, |row| verified(row) && row.with_user == Source::ServiceAccount);
    }

    #[test]
    fn a_fallback_follows_an_outage_and_nothing_else() {
        for row in all().into_iter().filter(|row| row.sent() == Sent::Fallback) {
            assert!(row.asks() && row.answer == Answer::Outage(()), "{row:?}");
            assert_eq!(row.on_outage, OnOutage::ServiceAccount);
        }
    }
}
