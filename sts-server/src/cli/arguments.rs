//! The command line: commands, flags and their help. The types have no Debug, because they may hold
//! tokens and passwords.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use sts_jose::Algorithm;

use super::audit_arguments::AuditCommand;
use super::revoke_arguments::RevokeArguments;
use super::value_parsers::{role, signing_algorithm};
use crate::config::{Overrides, Role};

/// The configuration file that is read if no other is given.
const DEFAULT_FILE: &str = "sts.toml";
/// The heading of the options that select and override the configuration.
pub(super) const CONFIGURATION: &str = "Configuration";

/// A security token service for chains of AI agents (RFC 8693).
#[derive(Parser)]
#[command(name = "sts-server", bin_name = "sts-server", version, about, max_term_width = 80)]
#[command(after_help = "To see it at work, without any preparation: sts-server dev")]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
    /// The options of every command.
    #[command(flatten)]
    pub options: Options,
}

/// The options of every command. The configuration is the file, then the environment, then these
/// flags. Later values take precedence.
#[derive(Clone, Args)]
pub struct Options {
    /// The configuration file. Default: sts.toml in this folder, if it exists. Variables such as
    /// `STS__DATABASE__URL` and the flags below override it.
    #[arg(long, short, global = true, env = "STS_CONFIG", value_name = "FILE", help_heading = CONFIGURATION)]
    pub config: Option<PathBuf>,
    /// Print data as JSON.
    #[arg(long, global = true, display_order = 900)]
    pub json: bool,
    /// Run the command on this running server, through its admin API, instead of on the configured
    /// database. Needs neither the configuration nor the master key.
    #[arg(long, global = true, env = "STS_VIA", value_name = "URL", help_heading = CONFIGURATION)]
    pub via: Option<String>,
    /// The file with the token of the operator for --via, as `sts-server admin token` prints it.
    #[arg(long, global = true, env = "STS_VIA_TOKEN_FILE", value_name = "FILE", help_heading = CONFIGURATION)]
    pub via_token_file: Option<PathBuf>,
    /// Overrides `issuer`.
    #[arg(long = "sts-issuer", global = true, value_name = "URL", help_heading = CONFIGURATION)]
    pub sts_issuer: Option<String>,
    /// Overrides `registry`.
    #[arg(long, global = true, value_name = "FILE", help_heading = CONFIGURATION)]
    pub registry: Option<String>,
    /// Overrides `listen.public`.
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = CONFIGURATION)]
    pub public: Option<String>,
    /// Overrides `listen.admin`.
    #[arg(long, global = true, value_name = "ADDRESS", help_heading = CONFIGURATION)]
    pub admin: Option<String>,
    /// Overrides `database.url`. A password in it is visible in the process list: prefer the
    /// environment.
    #[arg(long, global = true, value_name = "URL", help_heading = CONFIGURATION)]
    pub database_url: Option<String>,
    /// Overrides `keys.master_key_file`.
    #[arg(long, global = true, value_name = "FILE", help_heading = CONFIGURATION)]
    pub master_key_file: Option<String>,
}

/// The commands of the program.
#[derive(Subcommand)]
pub enum Command {
    /// Shows a user's request travel through a chain of agents, then keeps serving. Creates all
    /// files that it needs.
    ///
    /// Creates the missing files in a separate folder: a database, a master key, and a registry
    /// with a demo issuer and three agents. Then sends one user's request through the whole chain,
    /// prints each hop's token, and tries three requests that are refused. While it serves, it
    /// prints each decision on one line, and applies the registry file whenever it is saved.
    Dev(DevArguments),
    /// Runs the service
    ///
    /// Creates the SQLite file, migrates the database, creates signing keys, and applies the
    /// registry file if the configuration names one. After SIGTERM or Ctrl-C, the server finishes
    /// pending requests. A second signal stops it at once. The master key file must exist:
    ///
    ///   openssl rand -base64 32 > master.key && chmod 600 master.key
    #[command(verbatim_doc_comment)]
    Serve(ServeArguments),
    /// Reports every fault of the configuration and of the registry file, with file and line.
    Check(CheckArguments),
    /// Reports whether the server of this configuration, on this machine, is ready. For a
    /// container's health check.
    Health,
    /// Shows the configuration options.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Brings the database's schema up to date.
    Migrate,
    /// Makes the database's registry match a file, and shows the changes.
    Apply(ApplyArguments),
    /// Reviews the registry, the keys and the revocations in the database.
    #[command(subcommand)]
    Registry(RegistryCommand),
    /// Shows which rule allows or refuses an exchange, and why; issues nothing
    ///
    /// With --subject-token, a real token is verified. Without it, a user is supposed:
    ///
    ///   sts-server explain --actor coordinator --target inventory \
    ///     --issuer https://login.example.com --sub alice --tenant acme
    #[command(verbatim_doc_comment)]
    #[expect(rustdoc::bare_urls, reason = "the help shows the command as it is typed")]
    Explain(Box<ExplainArguments>),
    /// Lists the approvals that persons decide on, and decides as an operator.
    #[command(subcommand)]
    Approvals(ApprovalsCommand),
    /// Lists, rotates and revokes signing keys, and changes the master key that seals them.
    #[command(subcommand)]
    Keys(KeysCommand),
    /// Reads and verifies the audit log.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Refuses a token, a transaction, or all tokens of a user, an agent or a tenant. Takes effect
    /// on every server within a second.
    ///
    /// A token is refused with every descendant. For a user, an agent or a tenant, tokens issued
    /// until now are refused until the revocation is lifted. New tokens are still issued. If --hold
    /// is given, tokens are refused whenever they are issued, and an agent cannot authenticate.
    #[command(
        override_usage = "sts-server revoke <--jti|--txn|--sub> <NAME> [OPTIONS]\n       sts-server revoke <--agent|--tenant|--owner> <NAME> [OPTIONS]\n       sts-server revoke --list"
    )]
    Revoke(RevokeArguments),
    /// Shows the content of tokens.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Creates the credentials of agents.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Creates the credentials of operators for the admin API.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Prints a completion script for a shell
    ///
    ///   sts-server completions bash > ~/.local/share/bash-completion/completions/sts-server
    #[command(verbatim_doc_comment)]
    Completions {
        /// The shell.
        shell: Shell,
    },
}

impl Command {
    /// Returns the reason why a server cannot do the command (`--via`), or `None` if it can.
    pub(super) fn needs_this_machine(&self) -> Option<&'static str> {
        match self {
            Self::Serve(_) => Some("`serve` starts a server on this machine"),
            Self::Check(_) => Some("`check` reads the files of this machine"),
            Self::Health => Some("`health` asks the server of a configuration: ask /readyz of another one"),
            Self::Migrate => Some("`migrate` needs the database: a server migrates it when it starts"),
            Self::Apply(_) => Some("`apply` needs the database and its master key"),
            Self::Registry(RegistryCommand::Accept { .. }) => {
                Some("`registry accept` needs the master key: its holder trusts the rows, and no operator of the API")
            }
            Self::Keys(KeysCommand::Reseal { .. }) => Some("`keys reseal` needs both master keys"),
            Self::Audit(command) => command.needs_this_machine(),
            Self::Explain(_)
            | Self::Registry(RegistryCommand::Export | RegistryCommand::Unused { .. })
            | Self::Approvals(_)
            | Self::Keys(KeysCommand::List | KeysCommand::Rotate { .. } | KeysCommand::Revoke { .. })
            | Self::Revoke(_)
            | Self::Dev(_)
            | Self::Config(_)
            | Self::Token(_)
            | Self::Agent(_)
            | Self::Admin(_)
            | Self::Completions { .. } => None,
        }
    }

    /// Returns true if the command prints for as long as its output is read. The exit code of every
    /// other command is an answer, which does not depend on a reader.
    pub(super) fn is_stream(&self) -> bool {
        match self {
            Self::Dev(_) | Self::Serve(_) => true,
            Self::Audit(command) => command.is_stream(),
            Self::Check(_)
            | Self::Health
            | Self::Config(_)
            | Self::Migrate
            | Self::Apply(_)
            | Self::Registry(_)
            | Self::Explain(_)
            | Self::Keys(_)
            | Self::Revoke(_)
            | Self::Approvals(_)
            | Self::Token(_)
            | Self::Agent(_)
            | Self::Admin(_)
            | Self::Completions { .. } => false,
        }
    }
}

/// The commands of `config`.
#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Prints a configuration file with every option: its meaning, its unit and its default.
    Reference,
}

/// The arguments of `serve`.
#[derive(Args)]
pub struct ServeArguments {
    /// Do not migrate the schema. The server does not start if the schema is older than it needs.
    #[arg(long)]
    pub no_migrate: bool,
}

/// The arguments of `check`.
#[derive(Args)]
pub struct CheckArguments {
    /// Also fetches every key set that configuration and registry name, shows its keys, and opens
    /// the database. Changes nothing.
    #[arg(long)]
    pub online: bool,
}

/// The arguments of `dev`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct DevArguments {
    #[command(subcommand)]
    pub command: Option<DevCommand>,
    /// The folder for all created files. Existing files are used again.
    #[arg(long, global = true, default_value = "sts-dev", value_name = "FOLDER")]
    pub directory: PathBuf,
    /// The port for agents; operators get the next one. Default: 8080, or the next free port.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
    /// Stop after the demonstration instead of serving on.
    #[arg(long)]
    pub once: bool,
}

/// The commands of `dev` besides the demonstration.
#[derive(Subcommand)]
pub enum DevCommand {
    /// Prints a token of a demo user, signed by the demo issuer and valid for one hour.
    Token(DevTokenArguments),
}

/// The arguments of `dev token`.
#[derive(Args)]
pub struct DevTokenArguments {
    /// The user: the `sub` of the token.
    #[arg(long, value_name = "USER")]
    pub sub: String,
    /// The `scope` of the token, separated by spaces. It bounds what agents may do for the user.
    #[arg(long, value_name = "SCOPES", default_value = "payroll:read profile stock:read")]
    pub scope: String,
}

/// The arguments of `apply`.
#[derive(Args)]
pub struct ApplyArguments {
    /// The registry file.
    pub file: PathBuf,
    /// Show the changes without applying them.
    #[arg(long)]
    pub dry_run: bool,
}

/// The commands of `registry`.
#[derive(Subcommand)]
pub enum RegistryCommand {
    /// Prints the registry of the database as a registry file.
    ///
    /// It has every entry, also those of the admin API: a file with an entry of the same content
    /// takes that entry over. Entries that an operator disabled have `disabled = true`.
    Export,
    /// Lists the rows that were written, altered or removed outside the servers, and seals the
    /// current content of the database.
    ///
    /// Such rows are disabled, and if rows were removed, no token is issued. Review the rows first
    /// with --dry-run. After this command the servers trust every row as it is.
    Accept {
        /// List the rows without accepting them.
        #[arg(long)]
        dry_run: bool,
    },
    /// Lists the agents and the delegations that no issued token used lately.
    ///
    /// A use is a token that the audit log has. An entry that is new, and was not used yet, is
    /// listed too. Servers remember uses for 400 days, longer than `audit.retain`.
    Unused {
        /// The number of days without a use.
        #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u16).range(1..=365))]
        days: u16,
    },
}

/// The arguments of `explain`.
#[derive(Args)]
pub struct ExplainArguments {
    /// The requesting agent, which need not authenticate. Not needed with a client assertion or an
    /// actor token.
    #[arg(long, value_name = "AGENT", required_unless_present_any = ["client_assertion", "actor_token"])]
    pub actor: Option<String>,
    /// A client assertion, or a workload token in its place, or @FILE. Alone, it shows whether it
    /// authenticates an agent, and why not.
    #[arg(long, value_name = "TOKEN", conflicts_with = "actor")]
    pub client_assertion: Option<String>,
    /// An actor token, or @FILE. Without --actor and --client-assertion, it is the credential of
    /// the request.
    #[arg(long, value_name = "TOKEN")]
    pub actor_token: Option<String>,
    /// The `audience` of the request: the agent to be called. May be repeated.
    #[arg(long = "target", visible_alias = "audience", value_name = "NAME")]
    pub target: Vec<String>,
    /// The `resource` of the request. May be repeated.
    #[arg(long, value_name = "URI")]
    pub resource: Vec<String>,
    /// The `scope` of the request, separated by spaces.
    #[arg(long)]
    pub scope: Option<String>,
    /// The `authorization_details` of the request, as JSON.
    #[arg(long, value_name = "JSON")]
    pub authorization_details: Option<String>,
    /// The `X-Tenant-ID` of the request.
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
    /// The scope of the supposed token. If absent, the entry of its issuer decides.
    #[arg(long)]
    pub subject_scope: Option<String>,
    /// A role of the supposed user. May be repeated.
    #[arg(long)]
    pub role: Vec<String>,
    /// The agents that have acted so far, the last first, separated by commas.
    #[arg(long, value_delimiter = ',', value_name = "AGENTS")]
    pub chain: Vec<String>,
    /// The supposed token is bound to a key (`cnf`).
    #[arg(long, requires = "issuer")]
    pub subject_bound: bool,
    /// The request has a valid DPoP proof.
    #[arg(long)]
    pub dpop: bool,
    /// The request has a valid client certificate of the agent.
    #[arg(long)]
    pub client_certificate: bool,
}

/// The commands of `approvals`.
#[derive(Subcommand)]
pub enum ApprovalsCommand {
    /// Lists the approvals that wait or are remembered.
    List {
        /// Also those that were closed in the last day.
        #[arg(long)]
        all: bool,
    },
    /// Shows an approval: everything that it approves.
    Show {
        /// The approval.
        id: String,
    },
    /// Grants an approval that an operator decides on.
    Grant {
        /// The approval.
        id: String,
    },
    /// Denies an approval that an operator decides on.
    Deny {
        /// The approval.
        id: String,
    },
    /// Takes an approval back, pending or granted. An operator or a user decides on it.
    Withdraw {
        /// The approval.
        id: String,
    },
}

/// The commands of `keys`.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// Lists the signing keys and their states: next, active or retired.
    List,
    /// Makes the next key active, retires the active key, and publishes a new next key. Refused
    /// while verifiers may not know the next key yet.
    Rotate {
        /// Rotate only keys of this algorithm.
        #[arg(long, value_name = "ALGORITHM", ignore_case = true, value_parser = signing_algorithm())]
        algorithm: Option<Algorithm>,
        /// Rotate even if the next key was published too recently for every verifier to know it.
        #[arg(long)]
        now: bool,
    },
    /// Removes a key at once. Its signatures are refused everywhere as soon as verifiers read the
    /// keys again.
    Revoke {
        /// The `kid` of the key.
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Seals all signing keys under a new master key, in place of the configured one.
    ///
    /// Then replace the configured file with the new file on every server, and restart all servers
    /// right away. From 30 s after this command, a server with the former key issues nothing and is
    /// not ready.
    ///
    ///   openssl rand -base64 32 > new.key && chmod 600 new.key
    #[command(verbatim_doc_comment)]
    Reseal {
        /// A file with one line: the base64 of 32 bytes.
        #[arg(long, value_name = "FILE")]
        new_master_key_file: PathBuf,
    },
}

/// The commands of `token`.
#[derive(Subcommand)]
pub enum TokenCommand {
    /// Shows the content of a token. Verifies nothing.
    Decode {
        /// The token, or @FILE. If absent, it is read from standard input.
        token: Option<String>,
    },
}

/// The commands of `agent`.
#[derive(Subcommand)]
pub enum AgentCommand {
    /// Makes a client secret, prints it once, and prints the lines of the registry that accept it.
    Secret {
        /// The id of the agent.
        id: String,
    },
}

/// The commands of `admin`.
#[derive(Subcommand)]
pub enum AdminCommand {
    /// Makes a bearer token, prints it once, and prints the lines of the configuration that accept
    /// it.
    Token {
        /// The name in the audit log: letters, digits, - and _.
        #[arg(long)]
        name: String,
        /// The role. Each includes the permissions of those before it.
        #[arg(long, value_parser = role())]
        role: Role,
    },
}

impl Options {
    /// Returns the configuration file: the given one, or `sts.toml` in the current folder.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        let default = || Some(PathBuf::from(DEFAULT_FILE)).filter(|file| file.is_file());
        self.config.clone().or_else(default)
    }

    /// Returns the configuration values that the flags override.
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
