//! Exchanges of a client that authenticates by a signed assertion (`private_key_jwt`), each used once.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use sts_jose::{Algorithm, Clock as _, Entropy as _, SystemClock, SystemEntropy};
use sts_tests::{TestKey, base64url};

use super::exchange::{Exchanges, Subjects, forms, rounds};
use super::floor::Floor;
use crate::arguments::Plan;
use crate::load::{Endpoint, Load};
use crate::server::{ROBOT, Server};

const ALGORITHM: Algorithm = Algorithm::Es256;
/// The validity of an assertion, in seconds: the longest that the server accepts.
const LIFE_SECONDS: i64 = 240;
const TYPE: &str = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";

/// Measures exchanges with an assertion. The floor is two checks, of the subject token and of the assertion, and one signature.
///
/// # Errors
/// An answer that is no token.
pub async fn measure(plan: &Plan, server: &Server) -> anyhow::Result<Exchanges> {
    let floor = Floor::of(ALGORITHM)?;
    let endpoint = Endpoint { authorization: None, ..server.post("/oauth2/token") };
    let load = Load::connect(&endpoint, plan.connections).await?;
    let requests = |count: usize| -> Vec<Bytes> {
        let asserted = |form: Bytes| {
            let assertion = assertion(server.robot(), server.issuer());
            let credentials = format!("&client_assertion_type={TYPE}&client_assertion={assertion}");
            Bytes::from([&form[..], credentials.as_bytes()].concat())
        };
        forms(server, ALGORITHM, Subjects::Once, count).into_iter().map(asserted).collect()
    };
    rounds(plan, server, (load, requests), |operations| floor.round_with(2, operations)).await
}

fn assertion(key: &Arc<TestKey>, issuer: &str) -> String {
    let mut name = [0; 16];
    SystemEntropy.fill(&mut name);
    let now = SystemClock.now().as_second();
    key.sign(&json!({
        "iss": ROBOT, "sub": ROBOT, "aud": issuer, "iat": now, "exp": now + LIFE_SECONDS, "jti": base64url(name),
    }))
}
