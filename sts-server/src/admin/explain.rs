//! Which rule allows or refuses an exchange, and why.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use sts_protocol::{Scope, Tenant, parameter};
use utoipa::ToSchema;

use super::Wrong;
use crate::exchange::{self, Asker, Explanation, SUPPOSED, Supposition};
use crate::service::Sts;
use crate::verify::{SupposedSubject, suppose};

/// A request that is not made. With `subject_token`, a real token is verified; with `issuer` and `sub`, a user is supposed. No Debug:
/// it may hold a token.
#[derive(Clone, Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainRequest {
    /// The agent that asks; it is supposed. Absent, `client_assertion` or `actor_token` says which agent asks.
    pub actor: Option<String>,
    /// A client assertion, or a workload token in its place: verified and not spent. Not together with `actor`.
    pub client_assertion: Option<String>,
    /// An actor token. Without `actor` and `client_assertion` it is the credential of the request.
    pub actor_token: Option<String>,
    /// `audience` of the request: the agent to be called.
    pub target: Vec<String>,
    /// `resource` of the request.
    pub resource: Vec<String>,
    /// `scope` of the request, separated by spaces.
    pub scope: Option<String>,
    /// `X-Tenant-ID` of the request.
    pub x_tenant_id: Option<String>,
    /// Whether the agent asks on its own behalf (`client_credentials`).
    pub service_account: bool,
    /// A real subject token.
    pub subject_token: Option<String>,
    /// The declared type of the subject token; absent, `urn:ietf:params:oauth:token-type:jwt`.
    pub subject_token_type: Option<String>,
    /// The issuer of the supposed user.
    pub issuer: Option<String>,
    /// The supposed user, as the issuer names it.
    pub sub: Option<String>,
    /// The tenant of the supposed user.
    pub tenant: Option<String>,
    /// The scope that the supposed token holds; absent, what its issuer's entry says.
    pub subject_scope: Option<String>,
    /// The roles of the supposed user.
    pub role: Vec<String>,
    /// The agents that have acted so far, the last one first.
    pub chain: Vec<String>,
}

impl ExplainRequest {
    /// Goes through the steps. May fetch key sets of outside issuers; issues and writes nothing.
    ///
    /// # Errors
    /// [`Wrong`] names the parameter that makes no sense.
    pub async fn explain(&self, sts: &Sts) -> Result<Explanation, Wrong> {
        let actor = match (&self.actor, &self.client_assertion, &self.actor_token) {
            (Some(actor), None, _) => Asker::Supposed(actor),
            (None, Some(_), _) | (None, None, Some(_)) => Asker::Authenticated,
            (Some(_), Some(_), _) => return Err(Wrong::new("client_assertion", "does not go with actor")),
            (None, None, None) => {
                return Err(Wrong::new("actor", "is needed, or client_assertion or actor_token in its place"));
            }
        };
        if matches!(actor, Asker::Authenticated) && self.asks_for_nothing() {
            return Ok(exchange::explain_authentication(sts, self.credentials().as_bytes()).await);
        }
        let body = self.body()?;
        let headers = self.headers()?;
        let subject = self.supposed()?.map(|supposed| suppose(&sts.view().verify_context(), supposed));
        let supposition = Supposition { actor, subject };
        Ok(exchange::explain(sts, body.as_bytes(), &headers, supposition).await)
    }

    /// Returns true if there is nothing but credentials.
    fn asks_for_nothing(&self) -> bool {
        !self.service_account && self.subject_token.is_none() && self.issuer.is_none() && self.sub.is_none()
    }

    /// The credentials, and the grant that they would be sent for.
    fn credentials(&self) -> String {
        let mut parameters = self.credential_parameters();
        parameters.push((parameter::GRANT_TYPE, parameter::GRANT_TOKEN_EXCHANGE.to_owned()));
        encoded(&parameters)
    }

    fn credential_parameters(&self) -> Vec<(&'static str, String)> {
        let mut parameters = Vec::new();
        if let Some(assertion) = &self.client_assertion {
            parameters.push((parameter::CLIENT_ASSERTION, assertion.clone()));
            parameters.push((parameter::CLIENT_ASSERTION_TYPE, parameter::JWT_BEARER_ASSERTION.to_owned()));
        }
        if let Some(token) = &self.actor_token {
            parameters.push((parameter::ACTOR_TOKEN, token.clone()));
            parameters.push((parameter::ACTOR_TOKEN_TYPE, sts_protocol::TokenType::Jwt.as_str().to_owned()));
        }
        parameters
    }

    fn supposed(&self) -> Result<Option<SupposedSubject>, Wrong> {
        let (issuer, sub) = match (&self.issuer, &self.sub) {
            (None, None) => return Ok(None),
            (Some(issuer), Some(sub)) => (issuer.clone(), sub.clone()),
            (Some(_), None) => return Err(Wrong::new("sub", "goes with issuer")),
            (None, Some(_)) => return Err(Wrong::new("issuer", "goes with sub")),
        };
        let tenant = self.tenant.as_deref().map(Tenant::new).transpose();
        let scope = self.subject_scope.as_deref().map(str::parse::<Scope>).transpose();
        Ok(Some(SupposedSubject {
            issuer,
            sub,
            tenant: tenant.map_err(|error| Wrong::new("tenant", error.to_string()))?,
            scope: scope.map_err(|error| Wrong::new("subject_scope", error.to_string()))?,
            roles: self.role.clone(),
            actors: self.chain.clone(),
        }))
    }

    /// The body that a request with these parameters would have.
    fn body(&self) -> Result<String, Wrong> {
        let mut parameters = self.credential_parameters();
        let grant = match (self.service_account, &self.subject_token, &self.issuer) {
            (true, None, None) => parameter::GRANT_CLIENT_CREDENTIALS,
            (false, Some(token), None) => {
                parameters.push((parameter::SUBJECT_TOKEN, token.clone()));
                parameter::GRANT_TOKEN_EXCHANGE
            }
            (false, None, Some(_)) => {
                parameters.push((parameter::SUBJECT_TOKEN, SUPPOSED.to_owned()));
                parameter::GRANT_TOKEN_EXCHANGE
            }
            (_, _, _) => {
                let message = "exactly one of subject_token, issuer with sub, and service_account is needed";
                return Err(Wrong::new("", message));
            }
        };
        if !self.service_account {
            let declared = self.subject_token_type.clone();
            let declared = declared.unwrap_or_else(|| sts_protocol::TokenType::Jwt.as_str().to_owned());
            parameters.push((parameter::SUBJECT_TOKEN_TYPE, declared));
        }
        parameters.push((parameter::GRANT_TYPE, grant.to_owned()));
        parameters.extend(self.target.iter().map(|target| (parameter::AUDIENCE, target.clone())));
        parameters.extend(self.resource.iter().map(|resource| (parameter::RESOURCE, resource.clone())));
        parameters.extend(self.scope.iter().map(|scope| (parameter::SCOPE, scope.clone())));
        Ok(encoded(&parameters))
    }

    fn headers(&self) -> Result<HeaderMap, Wrong> {
        let mut headers = HeaderMap::new();
        if let Some(tenant) = &self.x_tenant_id {
            let value = HeaderValue::from_str(tenant);
            let value = value.map_err(|error| Wrong::new("x_tenant_id", error.to_string()))?;
            headers.insert(parameter::X_TENANT_ID, value);
        }
        Ok(headers)
    }
}

fn encoded(parameters: &[(&str, String)]) -> String {
    let encode = |(name, value): &(&str, String)| format!("{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC));
    parameters.iter().map(encode).collect::<Vec<_>>().join("&")
}
