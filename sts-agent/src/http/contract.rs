//! The contract of the packages: the rows of the decision table, the refusals and the rules of
//! headers, each with the answer of this process. `contract.json` is read by the tests of each
//! language.

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Map, Value, json};
    use sts_client::http::{HeaderMap, Method};
    use sts_client::propagate::OutboundOperation;
    use sts_client::propagate::decide::{Answer, Decision, InboundToken, Plan, Rules, WithUser, after, before};
    use sts_client::test_util::{MockAnswer, MockSts};
    use sts_client::{CallContext, Caller, CorrelationId, Error, Propagator, RefusalCode, Route, SystemEntropy};

    use crate::header_pairs::{self, HeaderPairs};
    use crate::http::answer::Failure;
    use crate::loaded::CallerError;

    const CONTRACT: &str = include_str!("../../contract.json");
    const INBOUND: [&str; 4] = ["verified", "invalid", "service_account", "absent"];
    const WITH_USER: [&str; 3] = ["exchange", "pass_through", "service_account"];
    const EITHER: [&str; 2] = ["fail", "service_account"];
    const STS: [&str; 6] = ["token", "expired", "no", "overloaded", "no_credential", "outage"];

    /// The outcome of a row, by the two functions of the table.
    fn decided([inbound, with_user, on_outage, without_user, sts]: [&str; 5]) -> &'static str {
        let own = |rule: &str| (rule == "service_account").then_some(());
        let with_user = match with_user {
            "exchange" => WithUser::Exchange { exchange: (), stand_in: own(on_outage) },
            "pass_through" => WithUser::PassThrough,
            _ => WithUser::ServiceAccount(()),
        };
        let inbound = match inbound {
            "verified" => InboundToken::Verified(()),
            "invalid" => InboundToken::Invalid,
            "service_account" => InboundToken::ServiceAccount,
            _ => InboundToken::Absent,
        };
        let rules = Rules { with_user, without_user: own(without_user) };
        let stand_in = match before(inbound, &rules) {
            Plan::ServiceAccount(()) => return "service_account",
            Plan::PassThrough(()) => return "pass_through",
            Plan::InvalidToken => return "invalid_token",
            Plan::LoginRequired => return "login_required",
            Plan::Exchange { stand_in, .. } => stand_in,
        };
        let answer = match sts {
            "token" => Answer::Token(()),
            "expired" => Answer::Expired,
            "no" => Answer::No(()),
            "overloaded" => Answer::Overloaded(()),
            "no_credential" => Answer::NoCredential(()),
            _ => Answer::Outage(()),
        };
        match after(stand_in, answer) {
            Decision::Exchanged(()) => "exchanged",
            Decision::Fallback { .. } => "fallback",
            Decision::InvalidToken => "invalid_token",
            Decision::Refused(()) => "refused",
            Decision::Unavailable(()) => "unavailable",
        }
    }

    fn rows() -> Vec<Value> {
        let mut rows = Vec::new();
        for inbound in INBOUND {
            for with_user in WITH_USER {
                for on_outage in EITHER {
                    for without_user in EITHER {
                        rows.extend(STS.map(|sts| {
                            let row = [inbound, with_user, on_outage, without_user, sts];
                            json!([inbound, with_user, on_outage, without_user, sts, decided(row)])
                        }));
                    }
                }
            }
        }
        assert_eq!(rows.len(), 288);
        rows
    }

    fn context() -> CallContext {
        CallContext::without_user(None, &SystemEntropy)
            .with_correlation_id(CorrelationId::from_text("request-7").unwrap())
    }

    fn failed(failure: Failure) -> Value {
        json!({ "status": failure.status().as_u16(), "body": failure })
    }

    /// The answer to each decision.
    fn answers() -> Value {
        let mut answers = Map::new();
        for credential in ["exchanged", "service_account", "fallback", "pass_through"] {
            let mut headers = vec![["authorization", credential], ["x-correlation-id", "request-7"], ["accept", "*/*"]];
            headers.extend((credential == "fallback").then_some(["x-delegation-fallback", "service-account"]));
            headers[0][1] = match credential {
                "exchanged" => "Bearer exchanged",
                "pass_through" => "Bearer of-the-user",
                _ => "Bearer of-the-agent",
            };
            let body = json!({ "headers": headers, "credential": credential });
            answers.insert(credential.to_owned(), json!({ "status": 200, "body": body }));
        }
        let refused = |code| Error::Refused { code };
        let unavailable = Error::Unavailable { retry_after: Some(std::time::Duration::from_secs(7)), outage: None };
        for (name, error) in [
            ("invalid_token", refused(RefusalCode::INVALID_TOKEN)),
            ("login_required", refused(RefusalCode::LOGIN_REQUIRED)),
            ("refused", refused(RefusalCode::from_answer("invalid_target"))),
            ("unavailable", unavailable),
        ] {
            answers.insert(name.to_owned(), failed(Failure::call(&error, &context())));
        }
        Value::Object(answers)
    }

    /// The answer to a call that a person must approve first.
    async fn approvals() -> Vec<Value> {
        let url = "https://shop.example/".parse().unwrap();
        let sts = MockSts::new();
        sts.answer_with(MockAnswer::RequireApproval);
        let route = Route::to(sts_client::url::Url::clone(&url)).audience("shop");
        let propagator = Propagator::builder().sts(sts.sts("coordinator")).route(route).build().await.unwrap();
        let alice = Caller::for_test().correlation_id("request-7").build();
        let error = propagator.apply(&alice.into(), &url, &mut HeaderMap::new()).await.unwrap_err();
        vec![failed(Failure::call(&error, &context()))]
    }

    /// The refusals of inbound requests, by the headers that earn them.
    async fn refusals() -> Vec<Value> {
        let file = "[inbound]\naudience = [\"inventory\"]\n\
                    issuers = [{ issuer = \"https://sts.example\", sts = true, jwks = { keys = [KEY] } }]\n";
        let key = "{ kty = \"EC\", crv = \"P-256\", x = \"B-rsEqz1pLozzSA18m2gqIT-suZk8KQakGlcOz80hnQ\", y = \"kh14D3_Q1MAOlxfBTMVlgtpqKT16dO8r8vQxWXtnz5U\", kid = \"seuyFNpCqZVBsClr-GwyVYstts2x_G28Gafqv-tw7Js\", alg = \"ES256\", use = \"sig\" }";
        let verifier = sts_client::Verifier::from_toml(&file.replace("KEY", key)).unwrap().build().unwrap();
        let mut refusals = Vec::new();
        for headers in [
            json!([]),
            json!([["authorization", "Basic YTpi"]]),
            json!([["authorization", "Bearer a b"]]),
            json!([["authorization", "Bearer not.a.token"]]),
            json!([["authorization", "Bearer a"], ["Authorization", "Bearer b"]]),
        ] {
            let pairs: HeaderPairs = serde_json::from_value(headers.clone()).unwrap();
            let refusal = verifier.verify(&header_pairs::read(&pairs).unwrap()).await.unwrap_err();
            let mut refused = failed(CallerError::Refused(refusal).into());
            refused["headers"] = headers;
            refusals.push(refused);
        }
        refusals
    }

    /// The headers of calls, as given and as sent.
    async fn header_rules() -> Vec<Value> {
        let url = "https://inventory.shop.example/stock".parse().unwrap();
        let route = Route::to("https://inventory.shop.example/".parse().unwrap()).audience("inventory");
        let sts = MockSts::new().sts("coordinator");
        let propagator = Propagator::builder().sts(sts).route(route).build().await.unwrap();
        let caller = Caller::for_test().subject("alice").tenant("acme").correlation_id("request-7").build();
        let mut rules = Vec::new();
        for given in [
            json!([]),
            json!([["AUTHORIZATION", "Bearer of-another"], ["authorization", "Bearer of-a-third"]]),
            json!([["Cookie", "session=1"], ["Proxy-Authorization", "Basic YTpi"], ["DPoP", "a-proof"]]),
            json!([
                ["X-Tenant-ID", "evil"],
                ["X-Delegation-Fallback", "service-account"],
                ["X-Correlation-ID", "evil"]
            ]),
            json!([["Client-Cert", ":AA==:"], ["X-Forwarded-Client-Cert", "Hash=1"]]),
            json!([["Connection", "x-tenant-id"], ["Host", "evil.example"]]),
            json!([["Accept", "a"], ["accept", "b"], ["X-Name", "M\u{fc}ller"]]),
            json!([
                ["Idempotency-Key", "of-the-agent"],
                ["traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]
            ]),
        ] {
            let pairs: HeaderPairs = serde_json::from_value(given.clone()).unwrap();
            let mut headers: HeaderMap = header_pairs::read(&pairs).unwrap();
            let operation = OutboundOperation::Request { method: &Method::GET, body: None };
            propagator.apply_as(&CallContext::from(&caller), &url, &mut headers, operation).await.unwrap();
            headers.insert("authorization", "Bearer exchanged".parse().unwrap());
            let mut sent = header_pairs::write(&headers);
            sent.sort();
            rules.push(json!({ "given": given, "sent": sent }));
        }
        rules
    }

    /// The text of the contract, an item a line.
    fn text(contract: &Value) -> String {
        let list = |items: Vec<String>| items.join(",\n    ");
        let parts = contract.as_object().unwrap().iter().map(|(name, part)| match part {
            Value::Array(items) => {
                format!("  \"{name}\": [\n    {}\n  ]", list(items.iter().map(Value::to_string).collect()))
            }
            members => {
                let members = members.as_object().unwrap().iter();
                format!(
                    "  \"{name}\": {{\n    {}\n  }}",
                    list(members.map(|(key, value)| format!("\"{key}\": {value}")).collect())
                )
            }
        });
        format!("{{\n{}\n}}\n", parts.collect::<Vec<_>>().join(",\n"))
    }

    /// The value with its texts of JSON read, whose order of members depends on the features of the build.
    fn read_whole(value: &Value) -> Value {
        match value {
            Value::String(text) if text.starts_with('{') => {
                serde_json::from_str(text).map_or_else(|_| value.clone(), |read: Value| read_whole(&read))
            }
            Value::Array(items) => items.iter().map(read_whole).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), read_whole(value))).collect(),
            _ => value.clone(),
        }
    }

    #[tokio::test]
    async fn the_contract_of_the_packages_is_what_this_process_answers() {
        let contract = json!({
            "decisions": rows(), "answers": answers(), "approvals": approvals().await,
            "refusals": refusals().await, "headers": header_rules().await,
        });
        let known: Value = serde_json::from_str(CONTRACT).unwrap_or_default();
        if read_whole(&known) != read_whole(&contract) && std::env::var_os("STS_TESTS_GENERATE").is_some() {
            std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("contract.json"), text(&contract)).unwrap();
            return;
        }
        assert!(read_whole(&known) == read_whole(&contract), "STS_TESTS_GENERATE=1 writes contract.json");
    }
}
