//! A thief has captured tokens on their way.

use http::StatusCode;
use http::header::WWW_AUTHENTICATE;
use url::Url;

use super::stage::Stage;
use crate::Graph;

/// A token is good at the one agent that it was issued for.
pub(super) async fn refused_elsewhere(graph: &Graph, stage: &mut Stage) -> anyhow::Result<()> {
    stage.act("a thief tries captured tokens at other agents");
    let [user, inventory, warehouse] = [0, 1, 2].map(|index| stage.first_call[index].token.clone());
    let tries = [
        ("the warehouse's token at the inventory", &warehouse, &graph.inventory_url),
        ("the warehouse's token at the coordinator", &warehouse, &graph.coordinator_url),
        ("the inventory's token at the warehouse", &inventory, &graph.warehouse_url),
        ("the inventory's token at the coordinator", &inventory, &graph.coordinator_url),
        ("alice's own token at the inventory", &user, &graph.inventory_url),
        ("alice's own token at the warehouse", &user, &graph.warehouse_url),
    ];
    for (what, token, url) in tries {
        let refused = (StatusCode::UNAUTHORIZED, r#"Bearer error="invalid_token""#.to_owned());
        stage.expect(&format!("{what}: 401, invalid_token"), present(token, url).await?, refused);
    }
    let exchanged = exchange(graph, &warehouse).await?;
    stage.expect("the coordinator cannot exchange the warehouse's token", exchanged, StatusCode::BAD_REQUEST);
    Ok(())
}

/// Presents a token to an agent: the status, and the scheme and error of the challenge.
pub(super) async fn present(token: &str, url: &Url) -> anyhow::Result<(StatusCode, String)> {
    present_with(&[("authorization", &format!("Bearer {token}"))], url).await
}

/// The same with any headers.
pub(super) async fn present_with(headers: &[(&str, &str)], url: &Url) -> anyhow::Result<(StatusCode, String)> {
    let request = http_client()?.post(url.clone()).header("content-type", "application/json");
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.header("accept", "application/json, text/event-stream").header("A2A-Version", "1.0");
    let answer = request.body(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).send().await?;
    let challenge = answer.headers().get(WWW_AUTHENTICATE).map(|value| value.to_str()).transpose()?.unwrap_or_default();
    let challenge = challenge.split(',').next().unwrap_or_default().to_owned();
    Ok((answer.status(), challenge))
}

/// Presents a token to the STS, as the coordinator that was broken into.
async fn exchange(graph: &Graph, token: &str) -> anyhow::Result<StatusCode> {
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", token),
        ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", "inventory"),
    ];
    let request = http_client()?.post(format!("{}/oauth2/token", graph.sts.issuer())).form(&form);
    Ok(request.basic_auth("coordinator", Some(graph.sts.secret("coordinator")?)).send().await?.status())
}

fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder().no_proxy().build()
}
