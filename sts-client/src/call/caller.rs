//! The caller of an inbound request, from its verified token.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use secrecy::SecretString;
use serde_json::Value;
use sts_jose::Claims;
use sts_protocol::{Act, Actor, AuthorizationDetail, Scope, ScopeToken, SubjectId, Tenant};

use super::headers::{CorrelationId, PropagatedHeaders};
use super::idempotency_key::IdempotencyKey;
use super::possession::{Challenges, Possession};
use super::prior_actors::PriorActors;

/// The claim of the permissions that are finer than scopes.
const AUTHORIZATION_DETAILS: &str = "authorization_details";

/// The verified caller of an inbound request: its principal, actor, tenant and scopes, from its
/// token. Cloning is cheap.
///
/// Only [`crate::inbound::Verifier`] makes a `Caller`. It holds the token for the next exchange and
/// never shows it.
///
/// ```
/// # use sts_client::Caller;
/// # fn handler(caller: &Caller) {
/// println!("{} asks", caller.subject().sub);
/// # }
/// ```
#[derive(Clone)]
pub struct Caller(Arc<Verified>);

/// The result of verification; the content of a [`Caller`].
pub(crate) struct Verified {
    pub(crate) token: SecretString,
    /// SHA-256 of the token, header, payload and signature.
    pub(crate) digest: [u8; 32],
    pub(crate) kind: Kind,
    pub(crate) issuer: String,
    pub(crate) sub: String,
    pub(crate) subject: SubjectId,
    pub(crate) act: Option<Act>,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) scope: Scope,
    pub(crate) roles: Vec<String>,
    pub(crate) txn: Option<String>,
    pub(crate) expires_at: Timestamp,
    /// All claims of the token.
    pub(crate) claims: Claims,
    pub(crate) headers: PropagatedHeaders,
    pub(crate) possession: Possession,
    /// The challenges of this agent, for the refusals of a handler.
    pub(crate) challenges: Arc<Challenges>,
}

/// The kind of principal that a token speaks for.
///
/// ```
/// # use sts_client::{Caller, Kind};
/// fn is_user(caller: &Caller) -> bool {
///     caller.kind() == Kind::User
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An end user; [`Caller::actor`] names the agent that acts for it.
    User,
    /// An agent on its own behalf. There is no user.
    ServiceAccount,
}

impl Caller {
    pub(crate) fn new(verified: Verified) -> Self {
        Self(Arc::new(verified))
    }

    pub(crate) fn verified(&self) -> &Verified {
        &self.0
    }

    /// Returns the kind of principal: a user, or an agent on its own behalf.
    ///
    /// ```
    /// # use sts_client::{Caller, Kind};
    /// fn is_user(caller: &Caller) -> bool {
    ///     caller.kind() == Kind::User
    /// }
    /// ```
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Returns the principal, under the issuer that first named it: `sub_id` if the token has one,
    /// otherwise its `iss` and `sub`.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn key_of(caller: &Caller) -> (String, String) {
    ///     let subject = caller.subject();
    ///     (subject.iss.clone(), subject.sub.clone())
    /// }
    /// ```
    #[must_use]
    pub fn subject(&self) -> &SubjectId {
        &self.0.subject
    }

    /// Returns the issuer of the token: its `iss`, or the configured name if `iss` is an alias.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn came_through_the_sts(caller: &Caller) -> bool {
    ///     caller.issuer() == "https://sts.example.com"
    /// }
    /// ```
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// Returns the agent that acts now; `None` if the user calls directly. Authorization decisions
    /// may use only this actor (RFC 8693 §4.1).
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn is_the_coordinator(caller: &Caller) -> bool {
    ///     caller.actor().is_some_and(|actor| actor.sub == "coordinator")
    /// }
    /// ```
    #[must_use]
    pub fn actor(&self) -> Option<Actor<'_>> {
        self.0.act.as_ref().map(Act::current)
    }

    /// Returns the agents that acted before, for the audit log only.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// # fn handler(caller: &Caller) {
    /// println!("before it: {}", caller.prior_actors());
    /// # }
    /// ```
    #[must_use]
    pub fn prior_actors(&self) -> PriorActors<'_> {
        PriorActors::new(self.0.act.as_ref())
    }

    /// Returns the tenant. A user's tenant is in the token. A service account names its tenant in
    /// `X-Tenant-ID`, and must be allowed to speak for it.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// # fn handler(caller: &Caller) {
    /// println!("for {}", caller.tenant().map_or("no tenant", |tenant| tenant.as_str()));
    /// # }
    /// ```
    #[must_use]
    pub fn tenant(&self) -> Option<&Tenant> {
        self.0.tenant.as_ref()
    }

    /// Returns the tenant as a proof of its verification; `None` for a token without a tenant.
    ///
    /// ```
    /// # use sts_client::{Caller, VerifiedTenant};
    /// fn orders(tenant: &VerifiedTenant) {}
    ///
    /// # fn handler(caller: &Caller) {
    /// if let Some(tenant) = caller.verified_tenant() {
    ///     orders(&tenant);
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn verified_tenant(&self) -> Option<VerifiedTenant> {
        self.0.tenant.clone().map(VerifiedTenant)
    }

    /// Returns the scopes of the token.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// # fn handler(caller: &Caller) {
    /// println!("may {}", caller.scope());
    /// # }
    /// ```
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.0.scope
    }

    /// Returns true if the token has a scope, by its exact name.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn may_write(caller: &Caller) -> bool {
    ///     caller.has_scope("stock:write")
    /// }
    /// ```
    #[must_use]
    pub fn has_scope(&self, scope: &str) -> bool {
        ScopeToken::new(scope).is_ok_and(|token| self.0.scope.contains(&token))
    }

    /// Returns the transaction id (RFC 8417 §2.2), which all hops after one first hop share.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// # fn handler(caller: &Caller) {
    /// println!("transaction {}", caller.txn().unwrap_or("-"));
    /// # }
    /// ```
    #[must_use]
    pub fn txn(&self) -> Option<&str> {
        self.0.txn.as_deref()
    }

    /// Returns the way in which the caller proved that it may use its token.
    ///
    /// ```
    /// # use sts_client::{Caller, Possession};
    /// fn has_more_than_the_token(caller: &Caller) -> bool {
    ///     *caller.possession() != Possession::Bearer
    /// }
    /// ```
    #[must_use]
    pub fn possession(&self) -> &Possession {
        &self.0.possession
    }

    /// Returns the time at which the token expires.
    ///
    /// ```
    /// # use sts_client::{Clock as _, Caller, SystemClock};
    /// fn is_still_good(caller: &Caller) -> bool {
    ///     SystemClock.now() < caller.expires_at()
    /// }
    /// ```
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.0.expires_at
    }

    /// Returns the roles of the caller, from the claim `roles` or the configured claim. A token of
    /// the STS holds the roles that each delegation of its chain allows.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn is_clerk(caller: &Caller) -> bool {
    ///     caller.roles().any(|role| role == "clerk")
    /// }
    /// ```
    pub fn roles(&self) -> impl Iterator<Item = &str> {
        self.0.roles.iter().map(String::as_str)
    }

    /// Returns the authentication context class of the user (`acr`, OpenID Connect Core 1.0 §2);
    /// `None` if it is absent or not a string.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn has_used_a_second_factor(caller: &Caller) -> bool {
    ///     caller.acr() == Some("urn:example:mfa")
    /// }
    /// ```
    #[must_use]
    pub fn acr(&self) -> Option<&str> {
        self.text("acr")
    }

    /// Returns the authentication methods of the user (`amr`, RFC 8176); empty if the claim is
    /// absent or not an array of strings.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn has_used_a_one_time_password(caller: &Caller) -> bool {
    ///     caller.amr().contains(&"otp")
    /// }
    /// ```
    #[must_use]
    pub fn amr(&self) -> Vec<&str> {
        self.0.claims.strings("amr").ok().flatten().unwrap_or_default()
    }

    /// Returns the time at which the user authenticated (`auth_time`); `None` if it is absent or
    /// not a time.
    ///
    /// ```
    /// # use sts_client::{Caller, jiff::Timestamp};
    /// fn authenticated_after(caller: &Caller, earliest: Timestamp) -> bool {
    ///     caller.auth_time().is_some_and(|at| at >= earliest)
    /// }
    /// ```
    #[must_use]
    pub fn auth_time(&self) -> Option<Timestamp> {
        self.0.claims.numeric_date("auth_time").ok().flatten()
    }

    /// Returns the OAuth client to which the token was issued (`client_id`, RFC 9068 §2.2). In a
    /// token of the STS it is the agent that acts now.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn audit_line(caller: &Caller) -> String {
    ///     format!("{} by {}", caller.subject().sub, caller.client_id().unwrap_or("-"))
    /// }
    /// ```
    #[must_use]
    pub fn client_id(&self) -> Option<&str> {
        self.text("client_id")
    }

    /// Returns the identifier of the token (`jti`), by which `sts-server revoke --jti` revokes it.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn audit_line(caller: &Caller) -> String {
    ///     format!("token {}", caller.jti().unwrap_or("-"))
    /// }
    /// ```
    #[must_use]
    pub fn jti(&self) -> Option<&str> {
        self.text("jti")
    }

    /// Returns a claim of the token by its literal name, as its issuer wrote it. A token of the STS
    /// holds only `acr`, `amr` and `auth_time` of the identity provider's claims. A token of the
    /// identity provider holds all of them. The value may be personal data: keep it out of logs.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn email(caller: &Caller) -> Option<&str> {
    ///     caller.claim("email")?.as_str()
    /// }
    /// ```
    #[must_use]
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.0.claims.get(name)
    }

    /// Returns the permissions that are finer than scopes (`authorization_details`, RFC 9396 §9.1). A
    /// malformed element permits nothing, and is left out.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// fn is_for_one_order(caller: &Caller) -> bool {
    ///     caller.authorization_details().iter().all(|detail| detail.identifier.is_some())
    /// }
    /// ```
    #[must_use]
    pub fn authorization_details(&self) -> Vec<AuthorizationDetail> {
        let elements = self.claim(AUTHORIZATION_DETAILS).and_then(Value::as_array);
        elements.into_iter().flatten().filter_map(|element| serde_json::from_value(element.clone()).ok()).collect()
    }

    fn text(&self, claim: &str) -> Option<&str> {
        self.0.claims.get(claim).and_then(Value::as_str)
    }

    /// Returns the identifier that joins the events of one user request across hops. It is
    /// generated if the request had none.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// # fn handler(caller: &Caller) {
    /// println!("request {}", caller.correlation_id());
    /// # }
    /// ```
    #[must_use]
    pub fn correlation_id(&self) -> &CorrelationId {
        self.0.headers.correlation_id()
    }

    /// Returns the `Idempotency-Key` of the request.
    ///
    /// ```
    /// # use sts_client::Caller;
    /// # fn handler(caller: &Caller) {
    /// println!("operation {}", caller.idempotency_key().map_or("-", |key| key.as_str()));
    /// # }
    /// ```
    #[must_use]
    pub fn idempotency_key(&self) -> Option<&IdempotencyKey> {
        self.0.headers.idempotency_key()
    }
}

/// A tenant from a verified token. A function that takes a `VerifiedTenant` cannot be called with a
/// value from a header, a path or a body.
///
/// A user's tenant is in the token. A service account names its tenant in `X-Tenant-ID`, and must
/// be allowed to speak for it. With the feature `axum` a handler takes it as an argument.
///
/// ```
/// use sts_client::{Caller, VerifiedTenant};
///
/// fn orders_of(tenant: &VerifiedTenant) -> String {
///     format!("SELECT … WHERE tenant_id = '{tenant}'")
/// }
/// # fn handler(caller: &Caller) -> Option<String> {
/// caller.verified_tenant().map(|tenant| orders_of(&tenant))
/// # }
/// ```
///
/// Only a [`Caller`] returns one. These do not compile:
///
/// ```compile_fail,E0423
/// let tenant = sts_client::VerifiedTenant(sts_client::Tenant::new("acme").unwrap());
/// ```
///
/// ```compile_fail,E0277
/// let tenant: sts_client::VerifiedTenant = sts_client::Tenant::new("acme").unwrap().into();
/// ```
///
/// ```compile_fail,E0277
/// let tenant: sts_client::VerifiedTenant = serde_json::from_str("\"acme\"").unwrap();
/// ```
///
/// A context that is made without a request
/// ([`CallContext::without_user`](crate::CallContext::without_user)) has a tenant, but no verified
/// one:
///
/// ```compile_fail,E0599
/// # let context = sts_client::CallContext::without_user(None, &sts_client::SystemEntropy);
/// let tenant = context.verified_tenant();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct VerifiedTenant(Tenant);

impl VerifiedTenant {
    /// Returns the tenant.
    ///
    /// ```
    /// # use sts_client::{Tenant, VerifiedTenant};
    /// fn plain(tenant: &VerifiedTenant) -> &Tenant {
    ///     tenant.tenant()
    /// }
    /// ```
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        &self.0
    }

    /// Returns the identifier of the tenant.
    ///
    /// ```
    /// # use sts_client::VerifiedTenant;
    /// fn query(tenant: &VerifiedTenant) -> (&'static str, &str) {
    ///     ("SELECT … WHERE tenant_id = $1", tenant.as_str())
    /// }
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Display for VerifiedTenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caller").field("kind", &self.0.kind).field("txn", &self.0.txn).finish_non_exhaustive()
    }
}
