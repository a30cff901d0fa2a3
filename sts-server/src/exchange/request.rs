//! Step 3: the target, the scopes and the token types that a request asks for.

use std::sync::Arc;

use http::HeaderMap;
use sts_jose::JsonError;
use sts_protocol::{
    AuthorizationDetail, DetailsError, Form, MAX_DETAILS_BYTES, Scope, ScopeError, Tenant, TokenType, parameter,
};
use thiserror::Error;
use url::Url;

use crate::client_auth::AuthenticatedAgent;
use crate::error_kind::ErrorKind;
use crate::policy::{Chain, Question, ServiceAccountQuestion};
use crate::registry::{Agent, Registry, TargetError};
use crate::service::View;

/// A valid request to the token endpoint.
#[derive(Debug)]
pub struct TokenRequest<'a> {
    /// The grant with its parameters.
    pub grant: Grant<'a>,
    /// The single agent that will receive the token.
    pub target: Arc<Agent>,
    /// The requested scope.
    pub scope: Option<Scope>,
    /// The requested authorization details; empty if the request names none.
    pub details: Vec<AuthorizationDetail>,
    /// The tenant that `X-Tenant-ID` names.
    pub tenant_header: Option<Tenant>,
    /// The type of the issued token.
    pub issued_token_type: TokenType,
}

/// The supported grants.
#[derive(Debug)]
pub enum Grant<'a> {
    /// Token exchange (RFC 8693).
    TokenExchange(ExchangeRequest<'a>),
    /// Client credentials (RFC 6749 §4.4).
    ClientCredentials,
}

/// The parameters of a token exchange. `Debug` shows no token.
pub struct ExchangeRequest<'a> {
    /// The `subject_token` parameter.
    pub subject_token: &'a str,
    /// The `subject_token_type` parameter.
    pub subject_token_type: TokenType,
    /// The `actor_token` and `actor_token_type` parameters.
    pub actor_token: Option<(&'a str, TokenType)>,
}

/// A request is malformed, or asks for something that the server does not support.
#[derive(Debug, Error)]
pub enum RequestError {
    /// A required parameter is missing.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// The server does not support the grant.
    #[error("the grant type is not served")]
    UnsupportedGrant,
    /// A token without its type, or a type without its token.
    #[error("{0} and its type belong together")]
    Unpaired(&'static str),
    /// A token type is unknown, or not supported in this parameter.
    #[error("{0} is not served")]
    TokenType(&'static str),
    /// A parameter belongs to another grant.
    #[error("{0} is no parameter of this grant")]
    Foreign(&'static str),
    /// A known feature is not supported at this endpoint.
    #[error("{0} is not honoured")]
    NotHonoured(&'static str),
    /// The parameters are too long to be held by a deferral code.
    #[error("the request is too long to be deferred")]
    TooLongToDefer,
    /// `X-Tenant-ID` is not exactly one tenant.
    #[error("X-Tenant-ID is not one tenant")]
    TenantHeader,
    /// No target is named, and the agent has no default.
    #[error("no target is named, and there is no default")]
    NoTarget,
    /// A `resource` is not an absolute URI without fragment (RFC 8707 §2).
    #[error("a resource is not an absolute URI without fragment")]
    MalformedResource,
    /// The names do not identify exactly one agent.
    #[error("the target is unknown, or there are several")]
    Target(TargetError),
    /// The `scope` parameter is malformed.
    #[error("scope is malformed")]
    Scope(#[source] ScopeError),
    /// The `authorization_details` parameter is longer than [`MAX_DETAILS_BYTES`].
    #[error("authorization_details is longer than {MAX_DETAILS_BYTES} bytes")]
    DetailsTooLong,
    /// The `authorization_details` parameter is not JSON.
    #[error("authorization_details is malformed")]
    DetailsJson(#[source] JsonError),
    /// The `authorization_details` parameter is not a list of authorization details.
    #[error("authorization_details is malformed")]
    Details(#[source] DetailsError),
}

impl RequestError {
    /// Returns the kind of error that the token endpoint answers with.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::UnsupportedGrant => ErrorKind::UnsupportedGrant,
            Self::NoTarget | Self::MalformedResource | Self::Target(_) => ErrorKind::Target,
            Self::Scope(_) => ErrorKind::Scope,
            Self::DetailsTooLong | Self::DetailsJson(_) | Self::Details(_) => ErrorKind::Details,
            Self::Missing(_)
            | Self::Unpaired(_)
            | Self::TokenType(_)
            | Self::Foreign(_)
            | Self::NotHonoured(_)
            | Self::TooLongToDefer
            | Self::TenantHeader => ErrorKind::Request,
        }
    }

    /// Returns the stable name of the reason, for audit and metrics.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Missing(_) => "parameter_missing",
            Self::UnsupportedGrant => "grant_unsupported",
            Self::Unpaired(_) => "token_without_type",
            Self::TokenType(_) => "token_type_unsupported",
            Self::Foreign(_) => "parameter_foreign",
            Self::NotHonoured(_) => "not_honoured",
            Self::TooLongToDefer => "deferral_too_long",
            Self::TenantHeader => "tenant_header_malformed",
            Self::NoTarget => "target_missing",
            Self::MalformedResource => "resource_malformed",
            Self::Target(TargetError::Unknown) => "target_unknown",
            Self::Target(TargetError::Several) => "target_several",
            Self::Scope(_) => "scope_malformed",
            Self::DetailsTooLong | Self::DetailsJson(_) | Self::Details(_) => "details_malformed",
        }
    }
}

impl<'a> TokenRequest<'a> {
    /// Reads the request of an authenticated agent.
    ///
    /// # Errors
    /// [`RequestError`] names the first fault.
    pub fn read(
        form: &'a Form,
        headers: &HeaderMap,
        registry: &Registry,
        client: &Agent,
    ) -> Result<Self, RequestError> {
        let grant = match form.get(parameter::GRANT_TYPE) {
            Some(parameter::GRANT_TOKEN_EXCHANGE) => Grant::TokenExchange(exchange(form)?),
            Some(parameter::GRANT_CLIENT_CREDENTIALS) => client_credentials(form)?,
            Some(_) => return Err(RequestError::UnsupportedGrant),
            None => return Err(RequestError::Missing(parameter::GRANT_TYPE)),
        };
        let issued_token_type = issued_token_type(form)?;
        let tenant_header = tenant_header(headers)?;
        let target = target(form, registry, client)?;
        let scope = form.get(parameter::SCOPE).map(Scope::requested).transpose().map_err(RequestError::Scope)?;
        let details = form.get(parameter::AUTHORIZATION_DETAILS).map_or(Ok(Vec::new()), details)?;
        Ok(Self { grant, target, scope, details, tenant_header, issued_token_type })
    }

    /// Returns the input of the exchange rules.
    pub(super) fn question<'b>(
        &'b self,
        view: &'b View<'_>,
        client: &'b AuthenticatedAgent,
        chain: &'b Chain,
    ) -> Question<'b> {
        Question {
            registry: &view.snapshot.registry,
            actor: client.agent(),
            proven: client.proven(),
            target: &self.target,
            target_is_held: view.snapshot.revocations.holds_agent(&self.target.id),
            chain,
            scope: self.scope.as_ref(),
            details: &self.details,
            approvals: &view.snapshot.approvals,
            tenant_header: self.tenant_header.as_ref(),
            max_ttl: view.sts.limits.max_ttl,
            now: view.now,
        }
    }

    /// Returns the input of the service-account rules.
    pub(super) fn service_account_question<'b>(
        &'b self,
        view: &'b View<'_>,
        client: &'b AuthenticatedAgent,
    ) -> ServiceAccountQuestion<'b> {
        let actor = client.agent();
        let revocations = &view.snapshot.revocations;
        let forwarded = actor.forward_tenants.iter();
        ServiceAccountQuestion {
            registry: &view.snapshot.registry,
            actor,
            proven: client.proven(),
            held_tenants: forwarded.filter(|tenant| revocations.holds_tenant(tenant.as_str())).collect(),
            target: &self.target,
            target_is_held: revocations.holds_agent(&self.target.id),
            scope: self.scope.as_ref(),
            details: &self.details,
            tenant_header: self.tenant_header.as_ref(),
            max_ttl: view.sts.limits.max_ttl,
            now: view.now,
        }
    }
}

fn exchange(form: &Form) -> Result<ExchangeRequest<'_>, RequestError> {
    let (token, declared) = pair(form, parameter::SUBJECT_TOKEN, parameter::SUBJECT_TOKEN_TYPE)?
        .ok_or(RequestError::Missing(parameter::SUBJECT_TOKEN))?;
    let subject_token_type =
        TokenType::from_identifier(declared).ok_or(RequestError::TokenType(parameter::SUBJECT_TOKEN_TYPE))?;
    let actor_token = match pair(form, parameter::ACTOR_TOKEN, parameter::ACTOR_TOKEN_TYPE)? {
        None => None,
        Some((token, declared)) => match TokenType::from_identifier(declared) {
            Some(token_type @ (TokenType::Jwt | TokenType::AccessToken)) => Some((token, token_type)),
            Some(TokenType::IdToken) | None => return Err(RequestError::TokenType(parameter::ACTOR_TOKEN_TYPE)),
        },
    };
    Ok(ExchangeRequest { subject_token: token, subject_token_type, actor_token })
}

fn client_credentials(form: &Form) -> Result<Grant<'_>, RequestError> {
    use parameter::{ACTOR_TOKEN, ACTOR_TOKEN_TYPE, SUBJECT_TOKEN, SUBJECT_TOKEN_TYPE};
    let foreign = [SUBJECT_TOKEN, SUBJECT_TOKEN_TYPE, ACTOR_TOKEN, ACTOR_TOKEN_TYPE];
    match foreign.into_iter().find(|name| form.get(name).is_some()) {
        Some(name) => Err(RequestError::Foreign(name)),
        None => Ok(Grant::ClientCredentials),
    }
}

/// Returns a token with its declared type. Both or neither must be present (RFC 8693 §2.1).
fn pair<'a>(form: &'a Form, token: &'static str, declared: &str) -> Result<Option<(&'a str, &'a str)>, RequestError> {
    match (form.get(token), form.get(declared)) {
        (Some(token), Some(declared)) => Ok(Some((token, declared))),
        (None, None) => Ok(None),
        (Some(_), None) | (None, Some(_)) => Err(RequestError::Unpaired(token)),
    }
}

/// Refuses parameters that only the token endpoint supports, at the other endpoints.
///
/// # Errors
/// [`RequestError::NotHonoured`].
pub(super) fn refuse_not_honoured(form: &Form) -> Result<(), RequestError> {
    if form.get(parameter::AUTHORIZATION_DETAILS).is_some() {
        return Err(RequestError::NotHonoured(parameter::AUTHORIZATION_DETAILS));
    }
    Ok(())
}

/// Reads the authorization details. Checks the length before it parses.
fn details(text: &str) -> Result<Vec<AuthorizationDetail>, RequestError> {
    if text.len() > MAX_DETAILS_BYTES {
        return Err(RequestError::DetailsTooLong);
    }
    let details = sts_jose::json::parse_value(text.as_bytes()).map_err(RequestError::DetailsJson)?;
    AuthorizationDetail::array(details).map_err(RequestError::Details)
}

fn issued_token_type(form: &Form) -> Result<TokenType, RequestError> {
    match form.get(parameter::REQUESTED_TOKEN_TYPE).map(TokenType::from_identifier) {
        None => Ok(TokenType::AccessToken),
        Some(Some(issued @ (TokenType::AccessToken | TokenType::Jwt))) => Ok(issued),
        Some(Some(TokenType::IdToken) | None) => Err(RequestError::TokenType(parameter::REQUESTED_TOKEN_TYPE)),
    }
}

fn tenant_header(headers: &HeaderMap) -> Result<Option<Tenant>, RequestError> {
    let mut values = headers.get_all(parameter::X_TENANT_ID).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let tenant = value.to_str().ok().and_then(|text| Tenant::new(text).ok());
    if values.next().is_some() {
        return Err(RequestError::TenantHeader);
    }
    tenant.map(Some).ok_or(RequestError::TenantHeader)
}

/// Returns the single agent that all `audience` and `resource` values name, or the client's
/// default.
fn target(form: &Form, registry: &Registry, client: &Agent) -> Result<Arc<Agent>, RequestError> {
    let resources = || form.all(parameter::RESOURCE);
    let is_resource = |uri: &str| Url::parse(uri).is_ok() && !uri.contains('#');
    if !resources().all(is_resource) {
        return Err(RequestError::MalformedResource);
    }
    let named = registry.target(form.all(parameter::AUDIENCE).chain(resources())).map_err(RequestError::Target)?;
    if let Some(target) = named {
        return Ok(Arc::clone(target));
    }
    let default = client.default_target.as_deref().ok_or(RequestError::NoTarget)?;
    let named = registry.target([default].into_iter()).map_err(RequestError::Target)?;
    named.map(Arc::clone).ok_or(RequestError::Target(TargetError::Unknown))
}

impl std::fmt::Debug for ExchangeRequest<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExchangeRequest")
            .field("subject_token_type", &self.subject_token_type)
            .field("actor_token_type", &self.actor_token.map(|(_, token_type)| token_type))
            .finish_non_exhaustive()
    }
}
