//! Explanations of the rule that allows or refuses an exchange.

use http::{HeaderMap, HeaderValue};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use sts_protocol::{Confirmation, Scope, Tenant, parameter};
use utoipa::ToSchema;

use super::Wrong;
use crate::exchange::{self, Asker, Explanation, SUPPOSED, Supposition};
use crate::policy::ParentBinding;
use crate::service::Sts;
use crate::verify::{SupposedSubject, suppose};

/// A hypothetical request.
///
/// With `subject_token`, a real token is verified; with `issuer` and `sub`, a user is supposed. It
/// has no `Debug`, because it may hold a token.
#[derive(Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainRequest {
    /// The supposed agent that makes the request. If absent, `client_assertion` or `actor_token`
    /// identifies it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// A client assertion, or a workload token in its place. It is verified but not spent. Excludes
    /// `actor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_assertion: Option<String>,
    /// An actor token. Without `actor` and `client_assertion` it authenticates the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor_token: Option<String>,
    /// The `audience` of the request: the agent to be called.
    pub target: Vec<String>,
    /// The `resource` of the request.
    pub resource: Vec<String>,
    /// The `scope` of the request, separated by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// The `authorization_details` of the request, as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization_details: Option<String>,
    /// The `X-Tenant-ID` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub x_tenant_id: Option<String>,
    /// True if the agent acts on its own behalf (`client_credentials`).
    pub service_account: bool,
    /// A real subject token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_token: Option<String>,
    /// The declared type of the subject token. Defaults to `urn:ietf:params:oauth:token-type:jwt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_token_type: Option<String>,
    /// The issuer of the supposed user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The supposed user, as named by the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The tenant of the supposed user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The scope of the supposed token. Defaults to the scope that the issuer's entry defines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_scope: Option<String>,
    /// The roles of the supposed user.
    pub role: Vec<String>,
    /// The agents that have acted so far, the latest first.
    pub chain: Vec<String>,
    /// True if the supposed token is bound to a key (`cnf`).
    pub subject_bound: bool,
    /// True if the request has a valid DPoP proof.
    pub dpop: bool,
    /// True if the request has a valid client certificate of the agent.
    pub client_certificate: bool,
}

impl ExplainRequest {
    /// Runs the steps of the request. May fetch key sets of outside issuers; issues and writes
    /// nothing.
    ///
    /// # Errors
    /// [`Wrong`] names the invalid parameter.
    pub async fn explain(&self, sts: &Sts) -> Result<Explanation, Wrong> {
        let actor = match (&self.actor, &self.client_assertion, &self.actor_token) {
            (Some(actor), None, _) => Asker::Supposed(actor),
            (None, Some(_), _) | (None, None, Some(_)) => Asker::Authenticated,
            (Some(_), Some(_), _) => return Err(Wrong::new("client_assertion", "excludes actor")),
            (None, None, None) => {
                return Err(Wrong::new("actor", "is required, unless client_assertion or actor_token is given"));
            }
        };
        if matches!(actor, Asker::Authenticated) && self.asks_for_nothing() {
            return Ok(exchange::explain_authentication(sts, self.credentials().as_bytes()).await);
        }
        let body = self.body()?;
        let headers = self.headers()?;
        let subject = self.supposed()?.map(|supposed| suppose(&sts.view().verify_context(), supposed));
        let supposition = Supposition { actor, subject, proven: self.proven() };
        Ok(exchange::explain(sts, body.as_bytes(), &headers, supposition).await)
    }

    /// Returns the keys that the request proves. Their names are supposed.
    fn proven(&self) -> Confirmation {
        let supposed = || SUPPOSED.to_owned();
        Confirmation { jkt: self.dpop.then(supposed), x5t_s256: self.client_certificate.then(supposed) }
    }

    /// Returns true if the request contains only credentials.
    fn asks_for_nothing(&self) -> bool {
        !self.service_account && self.subject_token.is_none() && self.issuer.is_none() && self.sub.is_none()
    }

    /// Returns a form with the credentials and the grant that needs them.
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
            (Some(_), None) => return Err(Wrong::new("sub", "requires issuer")),
            (None, Some(_)) => return Err(Wrong::new("issuer", "requires sub")),
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
            binding: if self.subject_bound { ParentBinding::Bound } else { ParentBinding::Bearer },
        }))
    }

    /// Returns the body of a request with these parameters.
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
                let message = "give exactly one of subject_token, issuer with sub, and service_account";
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
        let details = self.authorization_details.iter();
        parameters.extend(details.map(|details| (parameter::AUTHORIZATION_DETAILS, details.clone())));
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
