//! The user's app: a plain A2A client with the token of its user, and no idea of what happens behind the coordinator.

use std::sync::Arc;

use a2a::{A2AError, Message, Part, Role, SendMessageRequest, SendMessageResponse};
use a2a_client::A2AClient;
use a2a_client::auth::AuthInterceptor;
use a2a_client::jsonrpc::JsonRpcTransport;
use a2a_client::middleware::CallInterceptor;
use a2a_client::transport::ServiceParams;
use async_trait::async_trait;
use sts_client::outcome::Outcome;

use crate::agent::outcome;
use crate::idp::UserToken;

/// Asks the coordinator in a conversation: its answer, or why there is none.
pub async fn ask(coordinator: &str, user: &UserToken, conversation: &str, text: &str) -> Result<String, String> {
    ask_with(coordinator, user, Vec::new(), (conversation, text)).await
}

/// The same for something that must be done once, however often it is asked for under that key.
pub async fn ask_once(coordinator: &str, user: &UserToken, key: &str, text: &str) -> Result<String, String> {
    let key: Arc<dyn CallInterceptor> = Arc::new(Key(key.to_owned()));
    ask_with(coordinator, user, vec![key], ("orders", text)).await
}

async fn ask_with(
    coordinator: &str,
    user: &UserToken,
    mut interceptors: Vec<Arc<dyn CallInterceptor>>,
    (conversation, text): (&str, &str),
) -> Result<String, String> {
    let http = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
    let transport = JsonRpcTransport::new(http, coordinator.to_owned());
    interceptors.push(Arc::new(AuthInterceptor::bearer(&user.token)));
    let client = A2AClient::new(transport).with_interceptors(interceptors);
    let mut message = Message::new(Role::User, vec![Part::text(text)]);
    message.context_id = Some(conversation.to_owned());
    let request = SendMessageRequest { message, configuration: None, metadata: None, tenant: None };
    match client.send_message(&request).await.map_err(|error| error.message)? {
        SendMessageResponse::Message(message) => match outcome(&message) {
            Outcome::Done(text) => Ok(text),
            Outcome::Halted(halted) => Err(halted.detail().message.clone()),
        },
        SendMessageResponse::Task(task) => Err(format!("no answer: {:?}", task.status.state)),
    }
}

/// The app's own idempotency key, for one operation.
struct Key(String);

#[async_trait]
impl CallInterceptor for Key {
    async fn before(&self, _method: &str, params: &mut ServiceParams) -> Result<(), A2AError> {
        params.insert("Idempotency-Key".to_owned(), vec![self.0.clone()]);
        Ok(())
    }
}
