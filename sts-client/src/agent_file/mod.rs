//! The agent's configuration file, `agent.toml`.
//!
//! What lives here: its tables, and the conversion of each to a builder. `inbound` makes a
//! [`crate::Verifier`], `outbound` a [`crate::Propagator`]. What must never: a rule that does not
//! also hold for an agent configured in code.

mod files;
mod inbound;
mod outbound;

use serde::Deserialize;

use self::inbound::InboundTable;
use self::outbound::{HttpTable, ServiceAccountTable, StsTable};
use crate::build_error::{BuildError, TomlError};
use crate::call::Route;
use crate::inbound::{Verifier, VerifierBuilder};
use crate::propagate::{Propagator, PropagatorBuilder};

/// The agent's file. Each half reads its own part; both refuse unknown keys.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AgentFile {
    inbound: Option<InboundTable>,
    sts: Option<StsTable>,
    http: Option<HttpTable>,
    service_account: Option<ServiceAccountTable>,
    #[serde(default)]
    routes: Vec<Route>,
}

impl AgentFile {
    fn parse(text: &str) -> Result<Self, BuildError> {
        toml::from_str(text).map_err(|error| BuildError::Toml(TomlError::new(&error, text)))
    }
}

impl Verifier {
    /// Reads audiences, issuers and service accounts from the table `[inbound]` of the agent's
    /// TOML. [`crate::Propagator::from_toml`] reads the other tables. Reads the certificate
    /// authority files that the table names.
    ///
    /// ```
    /// # use sts_client::inbound::Verifier;
    /// let verifier = Verifier::from_toml(
    ///     r#"
    ///     [inbound]
    ///     audience = ["inventory-agent"]
    ///     resource = "https://inventory.shop.example/"  # optional: serves and names RFC 9728 metadata
    ///     required_scopes = ["stock:read"]              # optional
    ///     service_accounts = [{ issuer = "https://login.example.com", subject = "nightly", tenants = ["acme"] }]
    ///
    ///     [[inbound.issuers]]
    ///     issuer = "https://sts.example.com"
    ///     sts = true                                    # its tokens name actors and tenants
    ///
    ///     [[inbound.issuers]]
    ///     issuer = "https://login.example.com"
    ///     jwks_uri = "https://login.example.com/jwks"   # or jwks_file; absent: discovery
    ///     tenant_claim = "org_id"                       # or tenant = "acme"; neither: its tokens have no tenant
    ///     algorithms = ["RS256"]                        # default RS256, ES256, EdDSA
    ///     "#,
    /// )?
    /// .build()?;
    /// # Ok::<(), sts_client::BuildError>(())
    /// ```
    ///
    /// Further keys of an issuer: `aliases`, `tenants`, `audience_claim`, `subject_claim`,
    /// `subject_prefix`, `scope_claim`, `roles_claim`, `service_account_claim`, `max_token_age`,
    /// `jwks`, `bundle_uri`, `bundle_file`, `ca_file`, `jwks_bearer_token_file`, `allow_http`. Key
    /// fetches use the proxy of the table `[http]`. A key that ends with `_claim` takes the literal
    /// name of a claim, a JSON Pointer that starts with `/`, or an array of these. Paths are
    /// relative to the working directory.
    ///
    /// # Errors
    /// [`BuildError::Toml`] with the line; [`BuildError::File`] for a file that the table names;
    /// [`BuildError::Contradiction`].
    pub fn from_toml(text: &str) -> Result<VerifierBuilder, BuildError> {
        let AgentFile { inbound, sts, http, .. } = AgentFile::parse(text)?;
        let table = inbound.ok_or_else(|| BuildError::contradiction("the table [inbound] is missing"))?;
        table.builder(sts, http)
    }
}

impl Propagator {
    /// Reads routes, STS and service account from TOML, and the files that it names. Sends no
    /// request yet.
    ///
    /// ```
    /// # let folder = tempfile::tempdir()?;
    /// # let secret = folder.path().join("secret");
    /// # std::fs::write(&secret, "hunter2")?;
    /// # let agent_toml = r#"
    /// # [sts]
    /// # issuer = "https://sts.example.com"
    /// # client_id = "coordinator"
    /// # client_secret_file = "SECRET"
    /// #
    /// # [[routes]]
    /// # url = "https://inventory.shop.example/"
    /// # audience = "inventory"
    /// # scopes = ["stock:read"]
    /// # "#.replace("SECRET", secret.to_str().unwrap());
    /// use sts_client::Propagator;
    ///
    /// // [sts]
    /// // issuer = "https://sts.example.com"
    /// // client_id = "coordinator"
    /// // client_secret_file = "/run/secrets/sts"
    /// //
    /// // [[routes]]
    /// // url = "https://inventory.shop.example/"
    /// // audience = "inventory"
    /// // scopes = ["stock:read"]
    /// let builder = Propagator::from_toml(&agent_toml)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::Toml`] with the line; [`BuildError::File`] and [`BuildError::Key`] for the
    /// files that it names; [`BuildError::Contradiction`] for values that contradict each other, or
    /// a feature that is not compiled in.
    pub fn from_toml(text: &str) -> Result<PropagatorBuilder, BuildError> {
        let config = AgentFile::parse(text)?;
        let mut builder = config.routes.into_iter().fold(Self::builder(), PropagatorBuilder::route);
        if let Some(sts) = config.sts {
            builder = builder.sts_to_be_built(sts.builder()?);
        }
        if let Some(http) = config.http {
            builder = builder.http(http.options()?);
        }
        if let Some(service_account) = config.service_account {
            builder = service_account.add_to(builder)?;
        }
        Ok(builder)
    }
}
