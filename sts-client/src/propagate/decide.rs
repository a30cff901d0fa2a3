//! What goes out: the decision table, as one function that is total and pure. No other code decides.

use crate::call::{OnOutage, WithoutUser};

/// The user token of the inbound request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InboundToken {
    /// Verified, of a user.
    Verified,
    /// Invalid, or expired meanwhile.
    Invalid,
    /// Verified, of a service account: as absent.
    ServiceAccount,
    /// There is none: a scheduled run, a handshake.
    Absent,
}

/// What a route says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Where the token for a user's call comes from.
    pub with_user: WithUser,
    /// What stands in while the STS is out of reach.
    pub on_outage: OnOutage,
    /// What goes out when there is no user.
    pub without_user: WithoutUser,
}

/// Where the token for a user's call comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WithUser {
    /// The route has an STS.
    Exchange,
    /// No STS, and the route says to pass the user's token on, in as many words.
    PassThrough,
    /// No STS.
    ServiceAccount,
}

/// What came of asking the STS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nobody has asked yet.
    NotAsked,
    /// A token, verified.
    Token,
    /// No: 400, 401, 403, or anything unreadable.
    No,
    /// Still 429 after bounded retries.
    Overloaded,
    /// It could not be asked: the source of the agent's own credential is out of reach.
    NoCredential,
    /// An outage after bounded retries: no connection, no answer in time, a status of 500 to 599.
    Outage,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Ask the STS, then decide again.
    Ask,
    /// The exchanged token goes out, alone.
    Exchanged,
    /// The agent's own token goes out, with the tenant in `X-Tenant-ID`.
    ServiceAccount,
    /// The same, and it says that it stands in for a delegated one.
    Fallback,
    /// The user's own token goes out raw.
    PassThrough,
    /// Nothing goes out.
    Nothing(Because),
}

/// Why nothing goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Because {
    /// The inbound token is not good: 401 to the caller.
    InvalidToken,
    /// The STS said no.
    Refused,
    /// The STS is out of reach or overloaded.
    Unavailable,
    /// The route wants a user, and there is none.
    LoginRequired,
}

/// The decision table. STS comes before everything else, and a refusal ends the matter: a fallback never turns a "no" into a "yes", and
/// load never earns a weaker credential.
#[must_use]
pub fn decide(inbound: InboundToken, rules: Rules, answer: Answer) -> Decision {
    match inbound {
        InboundToken::Invalid => Decision::Nothing(Because::InvalidToken),
        InboundToken::ServiceAccount | InboundToken::Absent => match rules.without_user {
            WithoutUser::ServiceAccount => Decision::ServiceAccount,
            WithoutUser::Fail => Decision::Nothing(Because::LoginRequired),
        },
        InboundToken::Verified => match rules.with_user {
            WithUser::PassThrough => Decision::PassThrough,
            WithUser::ServiceAccount => Decision::ServiceAccount,
            WithUser::Exchange => match answer {
                Answer::NotAsked => Decision::Ask,
                Answer::Token => Decision::Exchanged,
                Answer::No => Decision::Nothing(Because::Refused),
                Answer::Overloaded | Answer::NoCredential => Decision::Nothing(Because::Unavailable),
                Answer::Outage => match rules.on_outage {
                    OnOutage::Fail => Decision::Nothing(Because::Unavailable),
                    OnOutage::ServiceAccount => Decision::Fallback,
                },
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INBOUND: [InboundToken; 4] =
        [InboundToken::Verified, InboundToken::Invalid, InboundToken::ServiceAccount, InboundToken::Absent];
    const WITH_USER: [WithUser; 3] = [WithUser::Exchange, WithUser::PassThrough, WithUser::ServiceAccount];
    const ANSWERS: [Answer; 6] =
        [Answer::NotAsked, Answer::Token, Answer::No, Answer::Overloaded, Answer::NoCredential, Answer::Outage];
    const ON_OUTAGE: [OnOutage; 2] = [OnOutage::Fail, OnOutage::ServiceAccount];
    const WITHOUT_USER: [WithoutUser; 2] = [WithoutUser::Fail, WithoutUser::ServiceAccount];

    /// Every row of the input space: (inbound, rules, answer, decision).
    fn all() -> Vec<(InboundToken, Rules, Answer, Decision)> {
        let mut rows = Vec::new();
        for inbound in INBOUND {
            for with_user in WITH_USER {
                for on_outage in ON_OUTAGE {
                    for without_user in WITHOUT_USER {
                        for answer in ANSWERS {
                            let rules = Rules { with_user, on_outage, without_user };
                            rows.push((inbound, rules, answer, decide(inbound, rules, answer)));
                        }
                    }
                }
            }
        }
        rows
    }

    #[track_caller]
    fn assert_row(expected: Decision, row: impl Fn(InboundToken, Rules, Answer) -> bool) {
        let rows: Vec<_> =
            all().into_iter().filter(|(inbound, rules, answer, _)| row(*inbound, *rules, *answer)).collect();
        assert!(!rows.is_empty());
        for (inbound, rules, answer, decision) in rows {
            assert_eq!(decision, expected, "{inbound:?} {rules:?} {answer:?}");
        }
    }

    #[test]
    fn a_token_of_the_sts_goes_out_exchanged() {
        assert_row(Decision::Exchanged, |inbound, rules, answer| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::Exchange && answer == Answer::Token
        });
    }

    #[test]
    fn a_no_of_the_sts_is_a_no_whatever_the_route_allows() {
        assert_row(Decision::Nothing(Because::Refused), |inbound, rules, answer| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::Exchange && answer == Answer::No
        });
    }

    #[test]
    fn load_never_earns_a_weaker_credential() {
        assert_row(Decision::Nothing(Because::Unavailable), |inbound, rules, answer| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::Exchange && answer == Answer::Overloaded
        });
    }

    #[test]
    fn an_agent_without_its_credential_has_not_met_an_outage_of_the_sts() {
        assert_row(Decision::Nothing(Because::Unavailable), |inbound, rules, answer| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::Exchange && answer == Answer::NoCredential
        });
    }

    #[test]
    fn an_outage_fails_closed_unless_the_route_says_otherwise() {
        let outage = |inbound, rules: Rules, answer| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::Exchange && answer == Answer::Outage
        };
        assert_row(Decision::Nothing(Because::Unavailable), |inbound, rules, answer| {
            outage(inbound, rules, answer) && rules.on_outage == OnOutage::Fail
        });
        assert_row(Decision::Fallback, |inbound, rules, answer| {
            outage(inbound, rules, answer) && rules.on_outage == OnOutage::ServiceAccount
        });
    }

    #[test]
    fn an_invalid_token_is_a_401_on_every_route() {
        assert_row(Decision::Nothing(Because::InvalidToken), |inbound, _, _| inbound == InboundToken::Invalid);
    }

    #[test]
    fn a_service_account_counts_as_no_user() {
        for (inbound, rules, answer, decision) in all() {
            if inbound == InboundToken::ServiceAccount {
                assert_eq!(decision, decide(InboundToken::Absent, rules, answer));
            }
        }
    }

    #[test]
    fn without_a_user_the_service_account_goes_out_only_where_the_route_says_so() {
        let absent = |inbound| inbound == InboundToken::Absent;
        assert_row(Decision::Nothing(Because::LoginRequired), |inbound, rules, _| {
            absent(inbound) && rules.without_user == WithoutUser::Fail
        });
        assert_row(Decision::ServiceAccount, |inbound, rules, _| {
            absent(inbound) && rules.without_user == WithoutUser::ServiceAccount
        });
    }

    #[test]
    fn without_an_sts_the_route_decides() {
        assert_row(Decision::PassThrough, |inbound, rules, _| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::PassThrough
        });
        assert_row(Decision::ServiceAccount, |inbound, rules, _| {
            inbound == InboundToken::Verified && rules.with_user == WithUser::ServiceAccount
        });
    }

    #[test]
    fn a_fallback_follows_an_outage_and_nothing_else() {
        for (inbound, rules, answer, decision) in all() {
            if decision == Decision::Fallback {
                assert_eq!(
                    (inbound, rules.with_user, answer),
                    (InboundToken::Verified, WithUser::Exchange, Answer::Outage)
                );
                assert_eq!(rules.on_outage, OnOutage::ServiceAccount);
            }
        }
    }
}
