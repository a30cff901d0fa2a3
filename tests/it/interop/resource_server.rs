//! The verifiers that resource servers use: PyJWT with `PyJWKClient`, and `JWTVerifier` of fastmcp.

use serde_json::Value;
use sts_jose::Algorithm;

use super::Shop;

#[tokio::test]
async fn resource_servers_believe_our_token_and_refuse_it_for_another_audience() {
    for algorithm in [Algorithm::Es256, Algorithm::Rs256] {
        let shop = Shop::open("", algorithm).await;
        let token = token(&shop).await;
        let verified = verify(&shop, &token, "inventory-agent", algorithm).await;
        for verifier in ["pyjwt", "fastmcp"] {
            let claims = &verified[verifier];
            assert_eq!(claims["sub"], "alice", "{verifier}, {algorithm}: {verified}");
            assert_eq!(claims["act"]["sub"], "coordinator", "{verifier}, {algorithm}");
        }
        assert_eq!(verified["fastmcp"]["scopes"], serde_json::json!(["stock:read"]), "fastmcp reads the scope");

        let refused = verify(&shop, &token, "coordinator", algorithm).await;
        for verifier in ["pyjwt", "fastmcp"] {
            assert_eq!(refused[verifier], Value::Null, "{verifier}, {algorithm}: the token is for another audience");
        }
    }
}

async fn token(shop: &Shop) -> String {
    let jwt = "urn:ietf:params:oauth:token-type:jwt";
    let form = [
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("subject_token", &shop.user_token()),
        ("subject_token_type", jwt),
        ("actor_token", &shop.workload_token(shop.folder.issuer())),
        ("actor_token_type", jwt),
    ];
    let endpoint = format!("{}/oauth2/token", shop.folder.issuer());
    let response = reqwest::Client::new().post(endpoint).form(&form).send().await.expect("an answer");
    let answer: Value = response.json().await.expect("JSON");
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

async fn verify(shop: &Shop, token: &str, audience: &str, algorithm: Algorithm) -> Value {
    let issuer = shop.folder.issuer();
    let jwks_uri = format!("{issuer}/oauth2/jwks");
    shop.python("resource_server.py", &[token, &jwks_uri, issuer, audience, algorithm.as_str()]).await
}
