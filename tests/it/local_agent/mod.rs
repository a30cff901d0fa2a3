//! sts-agent, asked by its socket, with the real server behind it.

mod callers;
mod calls;
mod details;
mod envoy;
mod packages;
mod process;
mod traces;

pub(crate) use packages::compiled_typescript;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sts_tests::Harness;
use sts_tests::local_agent::{LocalAgent, LocalFolder};

/// The server, and an `sts-agent` beside the coordinator.
struct Desk {
    harness: Harness,
    folder: LocalFolder,
    agent: LocalAgent,
}

impl Desk {
    async fn open() -> Self {
        Self::open_with("").await
    }

    /// With further text at the end of the agent's file.
    async fn open_with(more: &str) -> Self {
        let harness = Harness::start().await;
        let folder = LocalFolder::new(&agent_toml(&harness, more), &[("secret", &harness.secret("coordinator"))]);
        let agent = folder.serve().await;
        Self { harness, folder, agent }
    }

    /// The headers of a request of alice.
    fn alice(&self) -> Value {
        json!([["Authorization", format!("Bearer {}", self.harness.user_token())], ["Cookie", "session=1"]])
    }

    /// The `inbound` of alice's verified request.
    async fn inbound(&self) -> Value {
        let answer = self.agent.ask("/v1/verify", &json!({ "headers": self.alice() })).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json["inbound"].clone()
    }

    /// The headers of a call, as an object of arrays.
    async fn headers(&self, question: &Value) -> Value {
        let answer = self.agent.ask("/v1/headers", question).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        let mut headers = serde_json::Map::new();
        for pair in answer.json["headers"].as_array().expect("pairs") {
            let values = headers.entry(pair[0].as_str().expect("a name")).or_insert_with(|| json!([]));
            values.as_array_mut().expect("an array").push(pair[1].clone());
        }
        Value::Object(headers)
    }
}

fn agent_toml(harness: &Harness, more: &str) -> String {
    format!(
        "[inbound]\naudience = [\"web-app\"]\nissuers = [{{ issuer = \"{}\", tenant_claim = \"org_id\" }}]\n\n\
         [sts]\nissuer = \"{}\"\nclient_id = \"coordinator\"\nclient_secret_file = \"secret\"\n\n\
         [[routes]]\nurl = \"https://inventory.shop.example/\"\naudience = \"inventory-agent\"\nscopes = [\"stock:read\"]\n\
         forward_headers = [\"x-request-priority\"]\n{more}",
        harness.idp.url(),
        harness.issuer(),
    )
}

/// The claims of the token in an `Authorization` value.
fn claims(authorization: &Value) -> Value {
    let token = authorization.as_str().and_then(|value| value.strip_prefix("Bearer ")).expect("a bearer token");
    let payload = token.split('.').nth(1).expect("a token");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64url")).expect("JSON")
}
