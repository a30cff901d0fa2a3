//! The arguments of `revoke`.

use clap::Args;

/// The arguments of `revoke`.
#[derive(Args)]
pub struct RevokeArguments {
    /// The object of the revocation.
    #[command(flatten)]
    pub what: RevokedArguments,
    /// The issuer of the token or user. If absent: this service for a token, every issuer for a
    /// user.
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Refuse new tokens too, until lifted. Goes with --sub, --agent, --tenant and --owner.
    #[arg(long)]
    pub hold: bool,
    /// Revoke the name even if the registry does not know it.
    #[arg(long)]
    pub unknown: bool,
    /// Lift the revocation instead: exactly the named one, not those of a token's descendants. With
    /// --owner, lift that of each agent that has this owner now, also one made with --agent.
    #[arg(long, conflicts_with_all = ["hold", "unknown"])]
    pub lift: bool,
}

/// The object of a revocation. Exactly one is required.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct RevokedArguments {
    /// A token, with every descendant.
    #[arg(long)]
    pub jti: Option<String>,
    /// A transaction: all tokens of one first hop and its descendants, and the token that started
    /// it.
    #[arg(long)]
    pub txn: Option<String>,
    /// A user, as its issuer names it. Without --issuer, also as minted tokens name it.
    #[arg(long)]
    pub sub: Option<String>,
    /// An agent: every token with it in the chain, its client assertions and workload tokens. Its
    /// secret too, if --hold is given.
    #[arg(long)]
    pub agent: Option<String>,
    /// A tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// Each agent with this `owner`.
    #[arg(long)]
    pub owner: Option<String>,
    /// List the revocations in force.
    #[arg(long, conflicts_with_all = ["issuer", "hold", "unknown", "lift"])]
    pub list: bool,
}
