//! The coordinator: users talk to it, and it asks other agents. Here: one, the inventory.

use std::sync::Arc;

use a2a::{Message, Part, Role, SendMessageRequest, SendMessageResponse};
use a2a_client::A2AClient;
use a2a_client::jsonrpc::JsonRpcTransport;
use async_trait::async_trait;
use sts_client::inbound::Issuer;
use sts_client::integrations::a2a::{PropagateInterceptor, to_error};
use sts_client::integrations::http_client;
use sts_client::outcome::{Halted, Outcome, Translator};
use sts_client::{
    CallContext, Caller, Propagator, Route, ServiceAccount, Sts, SystemEntropy, Tenant, Verifier, WithoutUser,
};
use url::Url;

use crate::agent::{self, Agent};
use crate::idp::APP;
use crate::verified;

/// The coordinator.
pub struct Coordinator {
    inventory: A2AClient<JsonRpcTransport>,
}

/// Whom it believes: the users' IdP, for users come with the token of their app.
pub fn verifier(idp: &str) -> anyhow::Result<Verifier> {
    let idp = Issuer::new(idp).tenant_claim("org_id").scope_claim("scope");
    Ok(Verifier::builder([Coordinator::NAME, APP]).issuer(idp).build()?)
}

impl Coordinator {
    /// Sets it up for an inventory at that URL.
    pub async fn new(sts: Sts, inventory: Url) -> anyhow::Result<Arc<Self>> {
        // It asks for no scope: it gets what both the user and the delegation have. While the STS is out of reach nothing goes out.
        let route = Route::to(inventory.clone()).audience("inventory").without_user(WithoutUser::ServiceAccount);
        Self::calling(
            Propagator::builder().sts(sts).service_account(ServiceAccount::Sts).route(route).build().await?,
            inventory,
        )
    }

    /// Sets it up for an inventory at that URL, with what goes out there told by the propagator.
    pub fn calling(propagator: Propagator, inventory: Url) -> anyhow::Result<Arc<Self>> {
        let transport = JsonRpcTransport::new(http_client()?, inventory.to_string());
        let interceptor = PropagateInterceptor::new(propagator, inventory);
        Ok(Arc::new(Self { inventory: A2AClient::new(transport).with_interceptors(vec![Arc::new(interceptor)]) }))
    }

    /// The work of every night: no user asked for it, so it says for which tenant it is done.
    pub async fn nightly(&self, tenant: Tenant) -> Result<String, Halted> {
        let context = CallContext::without_user(Some(tenant), &SystemEntropy);
        context.scope(self.ask_inventory("nightly", "stock tea")).await
    }

    /// Asks the inventory on behalf of whoever's context it runs in.
    async fn ask_inventory(&self, conversation: &str, text: &str) -> Result<String, Halted> {
        let mut message = Message::new(Role::User, vec![Part::text(text)]);
        message.context_id = Some(conversation.to_owned());
        let request = SendMessageRequest { message, configuration: None, metadata: None, tenant: None };
        let answer = self.inventory.send_message(&request).await;
        let outcome = match &answer {
            Ok(SendMessageResponse::Message(message)) => agent::outcome(message),
            Ok(SendMessageResponse::Task(_)) => Outcome::Halted(no_answer()),
            Err(error) => Outcome::Halted(to_error(error).map_or_else(no_answer, Halted::from)),
        };
        match outcome {
            Outcome::Done(text) => Ok(text),
            Outcome::Halted(halted) => Err(Translator::of("inventory").translate(halted)),
        }
    }
}

fn no_answer() -> Halted {
    Halted::failed_dependency("NO_ANSWER", "there is no answer", None)
}

#[async_trait]
impl Agent for Coordinator {
    const NAME: &'static str = "coordinator";
    const DESCRIPTION: &'static str = "Helps with the shop";

    async fn answer(&self, caller: &Caller, conversation: &str, message: &str) -> Result<String, Halted> {
        verified::print(Self::NAME, caller);
        self.ask_inventory(conversation, message).await
    }
}
