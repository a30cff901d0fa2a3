//! The user's app: a plain A2A client with the token of its user, and no idea of what happens behind the coordinator.

use std::sync::Arc;

use a2a::{Message, Part, Role, SendMessageRequest, SendMessageResponse};
use a2a_client::A2AClient;
use a2a_client::auth::AuthInterceptor;
use a2a_client::jsonrpc::JsonRpcTransport;

use crate::idp::UserToken;

/// Asks the coordinator in a conversation: its answer, or why there is none.
pub async fn ask(coordinator: &str, user: &UserToken, conversation: &str, text: &str) -> Result<String, String> {
    let http = reqwest::Client::builder().no_proxy().build().map_err(|error| error.to_string())?;
    let transport = JsonRpcTransport::new(http, coordinator.to_owned());
    let bearer = AuthInterceptor::bearer(&user.token);
    let client = A2AClient::new(transport).with_interceptors(vec![Arc::new(bearer)]);
    let mut message = Message::new(Role::User, vec![Part::text(text)]);
    message.context_id = Some(conversation.to_owned());
    let request = SendMessageRequest { message, configuration: None, metadata: None, tenant: None };
    match client.send_message(&request).await.map_err(|error| error.message)? {
        SendMessageResponse::Message(message) => Ok(message.text().unwrap_or_default().to_owned()),
        SendMessageResponse::Task(task) => Err(format!("no answer: {:?}", task.status.state)),
    }
}
