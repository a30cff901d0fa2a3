//! Introspection (RFC 7662): is this token of ours active, for whoever may know?

use sts_jose::UnverifiedToken;
use sts_protocol::{AccessTokenClaims, Form, IntrospectedToken, IntrospectionResponse, parameter};

use super::request::refuse_not_honoured;
use super::service::View;
use super::{Call, Refusal, RequestError, Snapshot, Sts};
use crate::record::Standing;
use crate::registry::Agent;
use crate::storage::TokenReference;
use crate::verify::own_token;

impl Sts {
    /// Answers a request to the introspection endpoint: what the token says, or exactly `{"active":false}`.
    ///
    /// # Errors
    /// [`Refusal`] when the request is malformed or its client not authenticated; never because of the token.
    pub async fn introspect(&self, call: &Call<'_>) -> Result<IntrospectionResponse, Refusal> {
        let form = Form::parse(call.body)?;
        self.refresh_if_stale().await?;
        let view = self.view();
        let client = self.authenticate(&view, call, &form).await?;
        self.spend(&view, &client).await?;
        refuse_not_honoured(&form, call.headers)?;
        let token = form.get(parameter::TOKEN).ok_or(RequestError::Missing(parameter::TOKEN))?;
        Ok(match self.active(&view, token, client.agent()) {
            Some(claims) => IntrospectionResponse {
                active: true,
                token: Some(IntrospectedToken { token_type: "Bearer".to_owned(), claims }),
            },
            None => IntrospectionResponse::default(),
        })
    }

    /// The claims of a token that is ours, alive, in good standing, and the asker's to know of.
    fn active(&self, view: &View, token: &str, asker: &Agent) -> Option<AccessTokenClaims> {
        let token = UnverifiedToken::parse(token).ok()?;
        let claims = own_token(&view.snapshot.ring, token, view.now).ok()?.claims;
        let may_know = asker.is_addressed_by(&claims.aud) || claims.client_id == asker.id;
        let stands =
            stands(&view.snapshot, &claims) && view.snapshot.revocations.refuse(&self.standing(&claims)).is_none();
        (may_know && stands).then_some(claims)
    }

    fn standing(&self, claims: &AccessTokenClaims) -> Standing {
        let mut agents = Standing::agents_of(claims.act.as_ref(), &self.issuer);
        agents.push(claims.client_id.clone());
        Standing {
            token: TokenReference { iss: claims.iss.clone(), jti: claims.jti.clone() },
            txn: Some(claims.txn.clone()),
            principal: claims.sub_id.as_ref().map(|principal| (principal.iss.clone(), principal.sub.clone())),
            sub: claims.sub.clone(),
            agents,
            tenant: claims.tenant_id.as_ref().map(ToString::to_string),
            issued_at: jiff::Timestamp::from_second(claims.iat).ok(),
        }
    }
}

/// Whether nobody of whom the token speaks has been disabled since: its agents, its target, the issuer of its user.
fn stands(snapshot: &Snapshot, claims: &AccessTokenClaims) -> bool {
    let registry = &snapshot.registry;
    let agent_stands = |id: &str| registry.agent(id).is_some_and(|agent| !agent.disabled);
    let target_stands = registry.target([claims.aud.as_str()].into_iter());
    let issuer_stands = claims
        .sub_id
        .as_ref()
        .is_none_or(|principal| registry.issuer(&principal.iss).is_some_and(|issuer| !issuer.disabled));
    agent_stands(&claims.client_id)
        && target_stands.is_ok_and(|target| target.is_some_and(|target| !target.disabled))
        && issuer_stands
}
