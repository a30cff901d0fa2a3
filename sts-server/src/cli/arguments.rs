//! The command line: commands, flags and the help that teaches them. No Debug: tokens and passwords may stand in it.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use sts_jose::Algorithm;

use crate::config::{Overrides, Role};

/// A security token service for chains of AI agents (RFC 8693).
#[derive(Parser)]
#[command(name = "sts-server", version, about, max_term_width = 100)]
#[command(after_help = "To see it at work, with nothing prepared: sts-server dev")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// What every command takes.
    #[command(flatten)]
    pub options: Options,
}

/// What every command takes. The configuration is the file, then the environment, then these flags; later wins.
#[derive(Clone, Args)]
pub struct Options {
    /// The configuration file. Without one, the environment (STS__DATABASE__URL=…) and the flags say it all.
    #[arg(long, short, global = true, env = "STS_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print data as JSON.
    #[arg(long, global = true)]
    pub json: bool,
    /// Overrides `issuer`.
    #[arg(long = "sts-issuer", global = true, value_name = "URL", help_heading = "Configuration")]
    pub sts_issuer: Option<String>,
    /// Overrides `registry`.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub registry: Option<String>,
    /// Overrides `listen.public`.
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Configuration")]
    pub public: Option<String>,
    /// Overrides `listen.admin`.
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = "Configuration")]
    pub admin: Option<String>,
    /// Overrides `database.url`. A password in it is seen by whoever lists processes: prefer the environment.
    #[arg(long, global = true, value_name = "URL", help_heading = "Configuration")]
    pub database_url: Option<String>,
    /// Overrides `keys.master_key_file`.
    #[arg(long, global = true, value_name = "FILE", help_heading = "Configuration")]
    pub master_key_file: Option<String>,
}

/// The commands.
#[derive(Subcommand)]
pub enum Command {
    /// Shows a user's request travel through a chain of agents, then keeps serving; makes all it needs.
    ///
    /// Makes what is missing in a folder of its own (a database, a master key, a registry with a demo issuer and three agents), sends
    /// one user's request through the whole chain, and prints each hop's token as a readable chain.
    Dev(DevArguments),
    /// Runs the service.
    ///
    /// Makes the SQLite file, migrates the database, makes signing keys, and applies the registry file if the configuration names one.
    /// SIGTERM and Ctrl-C let the requests under way end; a second one ends at once. The master key file must be there:
    ///
    ///   openssl rand -base64 32 > master.key && chmod 600 master.key
    #[command(verbatim_doc_comment)]
    Serve,
    /// Reports every fault of the configuration and of the registry file, with file and line.
    Check(CheckArguments),
    /// Says whether the server of this configuration, on this machine, is ready; for a container's health check.
    Health,
    /// Shows what can be configured.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Brings the database's schema up to date.
    Migrate,
    /// Makes the database's registry match a file; shows what changes.
    Apply(ApplyArguments),
    /// Reviews what the database holds of the registry, the keys and the revocations.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Shows which rule allows or refuses an exchange, and why; issues nothing.
    ///
    /// With --subject-token, a real token is verified. Without, a user is supposed:
    ///
    ///   sts-server explain -c sts.toml --actor coordinator --target inventory --issuer https://login.example.com --sub alice --tenant acme
    #[command(verbatim_doc_comment)]
    #[expect(rustdoc::bare_urls, reason = "the help shows the command as it is typed")]
    Explain(Box<ExplainArguments>),
    /// Lists, rotates and revokes signing keys, and changes the master key that seals them.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Reads and verifies the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Refuses a token, a transaction, or all that was issued of a user, an agent or a tenant, on every server within a second.
    ///
    /// A token goes with every descendant. For a user, an agent or a tenant, tokens issued until now are refused, until that is lifted;
    /// it does not stop new tokens. With --hold, tokens are refused whenever they are issued, and an agent cannot authenticate.
    Revoke(RevokeArguments),
    /// Reads tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Makes what agents authenticate with.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Makes what operators authenticate with at the admin API.
    #[command(subcommand)]
    Admin(AdminCommand),
}

/// `config`.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Prints a configuration file with every option: its meaning, its unit and its default.
    Reference,
}

/// `check`.
#[derive(Args)]
pub struct CheckArguments {
    /// Also fetches every key set that configuration and registry name, shows its keys, and opens the database. Changes nothing.
    #[arg(long)]
    pub online: bool,
}

/// `dev`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArguments {
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    /// The folder for all that it makes; what is there is used again.
    #[arg(long, global = true, default_value = "sts-dev", value_name = "FOLDER")]
    pub directory: PathBuf,
    /// End after the demonstration instead of serving on.
    #[arg(long)]
    pub once: bool,
}

/// What `dev` does besides the demonstration.
#[derive(Subcommand)]
pub enum DevCommand {
    /// Prints a token of a demo user, signed by the demo issuer and valid for one hour
    Token(DevTokenArguments),
}

/// `dev token`.
#[derive(Args)]
pub struct DevTokenArguments {
    /// The user: `sub` of the token.
    #[arg(long, value_name = "USER")]
    pub sub: String,
    /// `scope` of the token, separated by spaces. The registry reads it where the issuer says `scopes_from = "token"`.
    #[arg(long, value_name = "SCOPES")]
    pub scope: Option<String>,
}

/// `apply`.
#[derive(Args)]
pub struct ApplyArguments {
    /// The registry file.
    pub file: PathBuf,
    /// Only show what would change.
    #[arg(long)]
    pub dry_run: bool,
}

/// `registry`.
#[derive(Subcommand)]
pub enum RegistryCommand {
    /// Lists the rows that were written, altered or removed past the servers, and seals what the database holds.
    ///
    /// Such rows are disabled, and where some were removed nothing is issued. Review them first with --dry-run: after this command the
    /// servers believe every row as it is.
    Accept {
        /// Only list them.
        #[arg(long)]
        dry_run: bool,
    },
}

/// `explain`.
#[derive(Args)]
pub struct ExplainArguments {
    /// The agent that asks. It is supposed, unless a client assertion or an actor token says which agent asks.
    #[arg(long, value_name = "AGENT", required_unless_present_any = ["client_assertion", "actor_token"])]
    pub actor: Option<String>,
    /// A client assertion, or a workload token in its place, or @FILE. Alone, it shows whether it authenticates an agent, and why not.
    #[arg(long, value_name = "TOKEN", conflicts_with = "actor")]
    pub client_assertion: Option<String>,
    /// An actor token, or @FILE. Without --actor and --client-assertion it is the credential of the request.
    #[arg(long, value_name = "TOKEN")]
    pub actor_token: Option<String>,
    /// `audience` of the request: the agent to be called. May be repeated.
    #[arg(long = "target", visible_alias = "audience", value_name = "NAME")]
    pub target: Vec<String>,
    /// `resource` of the request. May be repeated.
    #[arg(long, value_name = "URI")]
    pub resource: Vec<String>,
    /// `scope` of the request, separated by spaces.
    #[arg(long)]
    pub scope: Option<String>,
    /// `X-Tenant-ID` of the request.
    #[arg(long, value_name = "TENANT")]
    pub x_tenant_id: Option<String>,
    /// The agent asks on its own behalf (client_credentials).
    #[arg(long, conflicts_with_all = ["subject_token", "issuer"])]
    pub service_account: bool,
    /// A real subject token, or @FILE.
    #[arg(long, value_name = "TOKEN", conflicts_with = "issuer")]
    pub subject_token: Option<String>,
    /// The declared type of the subject token.
    #[arg(long, value_name = "URN", default_value = "urn:ietf:params:oauth:token-type:jwt")]
    pub subject_token_type: String,
    /// The issuer of the supposed user.
    #[arg(long, requires = "sub", value_name = "URL")]
    pub issuer: Option<String>,
    /// The supposed user, as the issuer names it.
    #[arg(long, requires = "issuer")]
    pub sub: Option<String>,
    /// The tenant of the supposed user.
    #[arg(long)]
    pub tenant: Option<String>,
    /// The scope that the supposed token holds; absent, what its issuer's entry says.
    #[arg(long)]
    pub subject_scope: Option<String>,
    /// A role of the supposed user. May be repeated.
    #[arg(long)]
    pub role: Vec<String>,
    /// The agents that have acted so far, the last one first, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "AGENTS")]
    pub chain: Vec<String>,
}

/// `keys`.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Lists the signing keys and where they are in their life: next, active, retired.
    List,
    /// Lets the next key sign, retires the active one and publishes a new next key. Refused while verifiers may not know the next key yet.
    Rotate {
        /// Only keys of this algorithm: ES256, EdDSA or RS256.
        #[arg(long, value_name = "ALGORITHM")]
        algorithm: Option<Algorithm>,
        /// Even if the next key was published too short a time ago for every verifier to know it.
        #[arg(long)]
        now: bool,
    },
    /// Removes a key at once: what it has signed is refused everywhere as soon as verifiers read the keys again.
    Revoke {
        /// The key.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Seals all signing keys under a new master key, in place of the configured one.
    ///
    /// Then put the new file in place of the configured one at every server, and start them again one after the other. A server that
    /// runs goes on with the keys that it has opened, but can neither rotate them nor read new ones until it has the new file.
    ///
    ///   openssl rand -base64 32 > new.key && chmod 600 new.key
    #[command(verbatim_doc_comment)]
    Reseal {
        /// A file with one line, the base64 of 32 bytes.
        #[arg(long, value_name = "FILE")]
        new_master_key_file: PathBuf,
    },
}

/// `audit`.
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Lists events, oldest first.
    List(AuditFilterArguments),
    /// Shows events as they happen.
    Follow,
    /// Checks that no event was edited, removed or moved; names the first that was.
    Verify {
        /// Heads that `audit export --heads` wrote earlier: finds a cut tail and a missing writer too.
        #[arg(long, value_name = "FILE")]
        heads: Option<PathBuf>,
    },
    /// Writes all rows, or only the heads of the chains, one JSON object a line.
    Export {
        /// Only the last row of each chain: keep them where the database's administrator cannot write.
        #[arg(long)]
        heads: bool,
    },
}

/// Which events to list.
#[derive(Args)]
pub struct AuditFilterArguments {
    /// Only those of this X-Correlation-ID, told as one story: each hop, its chain, its rule, and how long it took.
    #[arg(long, value_name = "ID")]
    pub correlation: Option<String>,
    /// Only those of this transaction.
    #[arg(long)]
    pub txn: Option<String>,
    /// Only those of this token.
    #[arg(long)]
    pub jti: Option<String>,
    /// Only those of the last while, such as 15m or 24h.
    #[arg(long, value_name = "SPAN")]
    pub since: Option<crate::ttl::Ttl>,
}

/// `revoke`.
#[derive(Args)]
pub struct RevokeArguments {
    /// What is revoked.
    #[command(flatten)]
    pub what: RevokedArguments,
    /// Whose token or user it is: an issuer. Of a token, absent, this service's; of a user, absent, every issuer's.
    #[arg(long, value_name = "URL")]
    pub issuer: Option<String>,
    /// Refuse new tokens too, until lifted. Goes with --sub, --agent and --tenant.
    #[arg(long)]
    pub hold: bool,
    /// Revoke it even if the registry does not know it.
    #[arg(long)]
    pub unknown: bool,
    /// Lift the revocation instead: exactly the one that is named, not those of a token's descendants.
    #[arg(long, conflicts_with_all = ["hold", "unknown"])]
    pub lift: bool,
}

/// Exactly one of these.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub struct RevokedArguments {
    /// A token, with every descendant.
    #[arg(long)]
    pub jti: Option<String>,
    /// A transaction: everything that came of one first hop, and the token that began it.
    #[arg(long)]
    pub txn: Option<String>,
    /// A user, as its issuer names it; without --issuer, also as minted tokens do.
    #[arg(long)]
    pub sub: Option<String>,
    /// An agent: every token with it in the chain, its client assertions and workload tokens. Not its secret, unless --hold is given.
    #[arg(long)]
    pub agent: Option<String>,
    /// A tenant.
    #[arg(long)]
    pub tenant: Option<String>,
    /// List the revocations that are in force.
    #[arg(long, conflicts_with_all = ["issuer", "hold", "unknown", "lift"])]
    pub list: bool,
}

/// `token`.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Shows what a token says. Verifies nothing.
    Decode {
        /// The token, or @FILE; absent, it is read from standard input.
        token: Option<String>,
    },
}

/// `agent`.
#[derive(Subcommand)]
pub enum AgentCommand {
    /// Makes a client secret, prints it this once, and prints the lines of the registry that let it in.
    Secret {
        /// The agent.
        id: String,
    },
}

/// `admin`.
#[derive(Subcommand)]
pub enum AdminCommand {
    /// Makes a bearer token, prints it this once, and prints the lines of the configuration that let it in.
    Token {
        /// Its name, as the audit log shows it: letters, digits, - and _.
        #[arg(long)]
        name: String,
        /// What it may do: reader, operator or admin.
        #[arg(long)]
        role: Role,
    },
}

impl Options {
    /// What the flags say of the configuration.
    #[must_use]
    pub fn overrides(&self) -> Overrides {
        Overrides {
            issuer: self.sts_issuer.clone(),
            registry: self.registry.clone(),
            public: self.public.clone(),
            admin: self.admin.clone(),
            database_url: self.database_url.clone(),
            master_key_file: self.master_key_file.clone(),
        }
    }
}
