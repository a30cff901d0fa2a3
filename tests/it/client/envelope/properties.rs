//! Whatever a message holds, its recipient reads it as it was written; whatever it is mixed with, it stays shut.

use proptest::prelude::*;
use serde_json::json;
use sts_client::envelope::{Capability, Message};
use sts_client::{CorrelationId, IdempotencyKey};

use super::{World, claims, put};

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Ids with quotation marks and backslashes, and subjects with all that a text can hold: the two sides canonicalise alike.
    #[test]
    fn what_was_sealed_is_read_as_it_was_written(
        payload in proptest::collection::vec(any::<u8>(), 0..2000),
        trace_id in "[!-~]{1,128}",
        key in "[ -~]{1,255}",
        sub in "[^\\p{C}]{1,50}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = World::start().await;
            let headers = world.token(&json!({ "sub": sub }));
            let quoted = format!("\"{}\"", key.replace('\\', "\\\\").replace('"', "\\\""));
            let message = Message {
                capability: Capability::ToolCall,
                scopes: "ledger:use refund:draft".parse().unwrap(),
                trace_id: &CorrelationId::from_text(&trace_id).unwrap(),
                idempotency_key: &IdempotencyKey::from_text(&quoted).unwrap(),
                payload: &payload,
                payload_uri: None,
            };
            let sealed = world.billing.seal("ledger", &headers, &message).await.unwrap();
            let opened = world.open(&sealed.envelope, &headers).await.unwrap();
            assert_eq!(opened.payload(), Some(payload.as_slice()));
            assert_eq!((opened.trace_id(), opened.idempotency_key()), (trace_id.as_str(), key.as_str()));
            let other = world.billing.seal("ledger", &headers, &message).await.unwrap();
            let jwe = claims(&other.envelope)["encryptedPayload"].clone();
            let third = world.billing.seal("ledger", &headers, &message).await.unwrap();
            let mixed = world.resigned(&third.envelope, |claims| put(claims, "encryptedPayload", jwe));
            world.open(&mixed, &headers).await.unwrap_err();
        });
    }
}
