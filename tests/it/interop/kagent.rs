//! kagent's client, `agentsts-core`: discovery by `STS_WELL_KNOWN_URI`, a user's token and the pod's own, nothing else.

use serde_json::{Value, json};
use sts_jose::{Algorithm, UnverifiedToken};

use super::Shop;

/// What a cluster writes into the tokens of its pods when nobody asks for another audience.
const CLUSTER_AUDIENCE: &str = "https://kubernetes.default.svc.cluster.local";

#[tokio::test]
async fn kagent_gets_a_token_that_names_its_agent_and_the_user() {
    let shop = Shop::open("", Algorithm::Es256).await;
    let workload_token = shop.workload_token(shop.folder.issuer());
    assert_delegated(&shop, &exchange(&shop, &workload_token).await);
}

#[tokio::test]
async fn kagent_gets_a_token_for_a_cluster_wide_audience_that_the_entry_allows() {
    let shop = Shop::open(&format!(", audience = \"{CLUSTER_AUDIENCE}\""), Algorithm::Es256).await;
    let workload_token = shop.workload_token(CLUSTER_AUDIENCE);
    assert_delegated(&shop, &exchange(&shop, &workload_token).await);
}

#[tokio::test]
async fn kagent_is_refused_with_a_cluster_wide_audience_that_no_entry_allows() {
    let shop = Shop::open("", Algorithm::Es256).await;
    let workload_token = shop.workload_token(CLUSTER_AUDIENCE);
    assert_eq!(exchange(&shop, &workload_token).await, json!({ "error": "invalid_request", "status": 400 }));
}

async fn exchange(shop: &Shop, workload_token: &str) -> Value {
    let file = shop.folder.write("token", workload_token);
    let well_known = format!("{}/.well-known/oauth-authorization-server", shop.folder.issuer());
    let file = file.to_str().expect("a path of UTF-8");
    shop.python("kagent.py", &[&well_known, file, &shop.user_token()]).await
}

fn assert_delegated(shop: &Shop, printed: &Value) {
    let token = printed["access_token"].as_str().unwrap_or_else(|| panic!("{printed}"));
    let token = UnverifiedToken::parse(token).expect("a JWT");
    let claims = token.claims().as_map();
    assert_eq!(claims["sub"], "alice");
    assert_eq!(claims["act"], json!({ "sub": "coordinator", "iss": shop.folder.issuer() }));
    assert_eq!(claims["aud"], "inventory-agent");
    assert_eq!(claims["tenant_id"], "acme");
    assert_eq!(claims["scope"], "stock:read");
}
