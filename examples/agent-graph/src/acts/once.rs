//! What is asked for again is not done again.

use super::stage::Stage;
use crate::idp::ALICE;
use crate::{Graph, user};

/// Alice orders, her answer is lost on its way, and she asks again under the same key. What stands against an order comes back as it is.
pub(super) async fn reserved_once(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("alice's answer is lost: her second try reserves nothing again");
    let (coordinator, alice) = (graph.coordinator_url.as_str(), graph.idp.log_in(ALICE)?);
    let lost = graph.wiretap.lose_next_answer("coordinator");
    tokio::select! {
        answer = user::ask_once(coordinator, &alice, "order-7", "reserve tea") => anyhow::bail!("it was not lost: {answer:?}"),
        is_lost = lost => is_lost?,
    }
    let left = user::ask(coordinator, &alice, "orders", "stock tea").await;
    stage.expect("the tea was reserved, and she gave up waiting", left, Ok("41 packets of tea".to_owned()));
    let answer = user::ask_once(coordinator, &alice, "order-7", "reserve tea").await;
    stage.expect("she asks again and gets the answer", answer, Ok("reserved, 41 packets of tea left".to_owned()));
    let left = user::ask(coordinator, &alice, "orders", "stock tea").await;
    stage.expect("nothing was reserved twice", left, Ok("41 packets of tea".to_owned()));
    for (agent, begins) in [
        ("coordinator", "order-7"),
        ("inventory", "order-7::SendMessage"),
        ("warehouse", "order-7::SendMessage:1::tools/call:reserve:"),
    ] {
        let heard = graph.wiretap.with_key(agent);
        let keys: Vec<_> = heard.iter().rev().filter_map(|heard| heard.idempotency_key.as_deref()).take(2).collect();
        let is_one = matches!(keys.as_slice(), [one, other] if one == other && one.starts_with(begins));
        stage.expect(&format!("both tries came to the {agent} under one key"), is_one, true);
    }
    let answer = user::ask_once(coordinator, &alice, "order-8", "reserve tea").await;
    stage.expect("another order is another", answer, Ok("reserved, 40 packets of tea left".to_owned()));
    let answer = user::ask_once(coordinator, &alice, "order-9", "reserve saffron").await;
    stage.expect("the warehouse's conflict comes back over both hops", answer, Err("none is left".to_owned()));
    Ok(())
}
