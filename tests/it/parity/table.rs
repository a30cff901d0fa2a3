//! The table.

use super::Outcome;
use super::credentials::Carried;

/// The fault of a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wrong {
    /// It is revoked by its name.
    Token,
    /// Its transaction is.
    Transaction,
    /// Its user is.
    User,
    /// An agent in it is.
    Agent,
    /// Its tenant is.
    Tenant,
    UserHeld,
    AgentHeld,
    TenantHeld,
    IssuerDisabled,
    AgentDisabled,
    DelegationDisabled,
    TargetDisabled,
    Expired,
    /// It says that it is another kind of token.
    Typ,
    /// It is bound to a key (`cnf`), and nothing proves possession.
    Bound,
}

impl Wrong {
    pub(super) const ALL: [Self; 15] = [
        Self::Token,
        Self::Transaction,
        Self::User,
        Self::Agent,
        Self::Tenant,
        Self::UserHeld,
        Self::AgentHeld,
        Self::TenantHeld,
        Self::IssuerDisabled,
        Self::AgentDisabled,
        Self::DelegationDisabled,
        Self::TargetDisabled,
        Self::Expired,
        Self::Typ,
        Self::Bound,
    ];
}

/// The expected outcome of a credential with a fault.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cell {
    /// The status, and the reason that is recorded or answered; empty where no agent is known and nothing is recorded.
    Refused(u16, &'static str),
    /// Introspection answers `{"active":false}`.
    Inactive,
    /// It is served all the same, and why.
    Served(#[expect(dead_code, reason = "for who reads the table")] &'static str),
    /// The question does not arise, and why.
    None(#[expect(dead_code, reason = "for who reads the table")] &'static str),
}

impl Cell {
    /// The outcome; none where the question does not arise.
    pub(super) fn outcome(self) -> Option<Outcome> {
        match self {
            Self::Refused(status, reason) => Some(Outcome::Refused(status, reason.to_owned())),
            Self::Inactive => Some(Outcome::Inactive),
            Self::Served(_) => Some(Outcome::Served),
            Self::None(_) => None,
        }
    }
}

const NO_TRANSACTION: Cell = Cell::None("it belongs to no transaction");
const NO_USER: Cell = Cell::None("it names no user");
const NO_TENANT: Cell = Cell::None("it has no tenant; the subject token of the same request is asked");
const NO_ISSUER: Cell = Cell::None("no issuer's entry vouches for it");
const NO_TOKEN: Cell = Cell::None("a secret is no token: it has no name, no times and no header");
/// Client authentication fails: nothing is recorded.
const UNAUTHENTICATED: Cell = Cell::Refused(401, "");
/// The agent that the token is for is the one that asks.
const TARGET_ASKS: Cell = UNAUTHENTICATED;

/// The answer says what the token is bound to, for a target that checks the proof itself.
const BOUND: Cell = Cell::Served("introspection tells of the binding");

/// The expected outcome of this credential with this fault.
pub(super) fn cell(carried: Carried, wrong: Wrong) -> Cell {
    match carried {
        Carried::UserToken => user_token(wrong),
        Carried::OwnToken => own_token(wrong),
        Carried::ActorToken => actor_token(wrong, ""),
        Carried::ActorTokenBeside => match wrong {
            Wrong::Token => Cell::Refused(400, "token_revoked"),
            Wrong::User | Wrong::UserHeld => Cell::Refused(400, "subject_revoked"),
            // The subject token, which the same agent presents, is asked first.
            Wrong::Agent => Cell::Refused(400, "agent_revoked"),
            Wrong::AgentHeld | Wrong::AgentDisabled => UNAUTHENTICATED,
            Wrong::IssuerDisabled => Cell::Refused(400, "workload_issuer_disabled"),
            Wrong::Expired => Cell::Refused(400, "workload_expired"),
            Wrong::Typ => Cell::Refused(400, "workload_typ"),
            Wrong::Bound => Cell::Refused(400, "workload_bound"),
            other => actor_token(other, ""),
        },
        Carried::WorkloadAssertion => workload_assertion(wrong),
        Carried::AskersAssertion => match wrong {
            Wrong::DelegationDisabled | Wrong::TargetDisabled => {
                Cell::Served("to ask about a token takes no delegation and no target")
            }
            other => workload_assertion(other),
        },
        Carried::ClientAssertion => match wrong {
            Wrong::Transaction => NO_TRANSACTION,
            Wrong::User | Wrong::UserHeld => NO_USER,
            Wrong::Tenant | Wrong::TenantHeld => NO_TENANT,
            Wrong::IssuerDisabled => Cell::None("the agent is its issuer"),
            other => workload_assertion(other),
        },
        Carried::ClientSecret => client_secret(wrong),
        Carried::Introspected => match wrong {
            Wrong::TargetDisabled => TARGET_ASKS,
            Wrong::Bound => BOUND,
            _ => Cell::Inactive,
        },
        Carried::IntrospectedServiceAccount => match wrong {
            Wrong::TargetDisabled => TARGET_ASKS,
            Wrong::User | Wrong::UserHeld => NO_USER,
            Wrong::IssuerDisabled => NO_ISSUER,
            Wrong::Bound => BOUND,
            _ => Cell::Inactive,
        },
        Carried::OperatorToken => operator(wrong),
    }
}

fn user_token(wrong: Wrong) -> Cell {
    match wrong {
        Wrong::Token | Wrong::Transaction => Cell::Refused(400, "token_revoked"),
        Wrong::User | Wrong::UserHeld => Cell::Refused(400, "subject_revoked"),
        Wrong::Agent => Cell::Refused(400, "agent_revoked"),
        Wrong::Tenant | Wrong::TenantHeld => Cell::Refused(400, "tenant_revoked"),
        // The agent that presents it.
        Wrong::AgentHeld | Wrong::AgentDisabled => UNAUTHENTICATED,
        Wrong::IssuerDisabled => Cell::Refused(400, "subject_issuer_disabled"),
        Wrong::DelegationDisabled => Cell::Refused(400, "no_delegation"),
        Wrong::TargetDisabled => Cell::Refused(400, "target_disabled"),
        Wrong::Expired => Cell::Refused(400, "subject_expired"),
        Wrong::Typ => Cell::Refused(400, "subject_typ"),
        Wrong::Bound => Cell::Refused(400, "binding_downgrade"),
    }
}

fn own_token(wrong: Wrong) -> Cell {
    match wrong {
        Wrong::Transaction => Cell::Refused(400, "transaction_revoked"),
        // The agent that it was issued to, and the delegation that allowed it.
        Wrong::AgentHeld => Cell::Refused(400, "agent_revoked"),
        Wrong::AgentDisabled => Cell::Refused(400, "subject_actor_disabled"),
        Wrong::DelegationDisabled => Cell::Refused(400, "subject_delegation_disabled"),
        // The agent that it is for is the one that presents it.
        Wrong::TargetDisabled => UNAUTHENTICATED,
        other => user_token(other),
    }
}

/// `recorded` is the reason where another authentication makes the agent known.
fn actor_token(wrong: Wrong, recorded: &'static str) -> Cell {
    match wrong {
        Wrong::Transaction => NO_TRANSACTION,
        Wrong::Tenant | Wrong::TenantHeld => NO_TENANT,
        Wrong::DelegationDisabled => Cell::Refused(400, "no_delegation"),
        Wrong::TargetDisabled => Cell::Refused(400, "target_disabled"),
        Wrong::Token
        | Wrong::User
        | Wrong::UserHeld
        | Wrong::Agent
        | Wrong::AgentHeld
        | Wrong::IssuerDisabled
        | Wrong::AgentDisabled
        | Wrong::Expired
        | Wrong::Typ
        | Wrong::Bound => Cell::Refused(400, recorded),
    }
}

fn workload_assertion(wrong: Wrong) -> Cell {
    match actor_token(wrong, "") {
        Cell::Refused(_, "") => UNAUTHENTICATED,
        other => other,
    }
}

fn client_secret(wrong: Wrong) -> Cell {
    match wrong {
        Wrong::Token | Wrong::Transaction | Wrong::Expired | Wrong::Typ | Wrong::Bound => NO_TOKEN,
        Wrong::User | Wrong::UserHeld => NO_USER,
        Wrong::IssuerDisabled => NO_ISSUER,
        // The secret is as good as before. A token that would be covered by the block is not issued.
        Wrong::Agent => Cell::Refused(400, "agent_revoked"),
        Wrong::Tenant => Cell::Refused(400, "tenant_revoked"),
        Wrong::TenantHeld => Cell::Served("the token leaves the tenant out"),
        Wrong::AgentHeld | Wrong::AgentDisabled => UNAUTHENTICATED,
        Wrong::DelegationDisabled => Cell::Refused(400, "no_delegation"),
        Wrong::TargetDisabled => Cell::Refused(400, "target_disabled"),
    }
}

fn operator(wrong: Wrong) -> Cell {
    match wrong {
        Wrong::Token | Wrong::User | Wrong::UserHeld | Wrong::Expired | Wrong::Typ | Wrong::Bound => {
            Cell::Refused(401, "admin_access_token_invalid")
        }
        Wrong::Transaction => NO_TRANSACTION,
        Wrong::Agent | Wrong::AgentHeld => Cell::None("it names no agent"),
        Wrong::Tenant | Wrong::TenantHeld => Cell::None("operators have no tenant"),
        Wrong::IssuerDisabled | Wrong::AgentDisabled | Wrong::DelegationDisabled | Wrong::TargetDisabled => {
            Cell::None("the configuration lets it in, and no entry of the registry")
        }
    }
}
