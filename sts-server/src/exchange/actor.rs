//! Step 5: checks that the actor token, if sent, belongs to the authenticated agent.

use super::{ExchangeRequest, Refusal};
use crate::client_auth::{AuthenticatedAgent, Method, identify_workload};
use crate::declared_slot::declared_slot;
use crate::service::View;

/// Checks the actor token of a request, and adds its standing to the standings of the client.
///
/// # Errors
/// [`Refusal::ActorToken`] and [`Refusal::ActorTokenMismatch`].
pub(super) async fn check_actor_token(
    view: &View<'_>,
    exchange: &ExchangeRequest<'_>,
    client: &mut AuthenticatedAgent,
) -> Result<(), Refusal> {
    let Some((token, token_type)) = exchange.actor_token else { return Ok(()) };
    if client.method() == Method::WorkloadActorToken {
        // The actor token itself authenticated the client.
        return Ok(());
    }
    let identified = identify_workload(&view.client_context(), token, declared_slot(token_type)).await;
    let actor = identified.map_err(Refusal::ActorToken)?;
    if actor.agent.id != client.agent().id {
        return Err(Refusal::ActorTokenMismatch);
    }
    client.presents(actor.standing);
    Ok(())
}
