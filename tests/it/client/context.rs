//! The context of a call beyond the future of a handler: spawned tasks, and what is streamed after the handler has returned.

use futures_util::{StreamExt as _, stream};
use http_body_util::{BodyExt, StreamBody};
use sts_client::{CallContext, SystemEntropy, Tenant};

fn context(tenant: &str) -> CallContext {
    CallContext::without_user(Some(Tenant::new(tenant).unwrap()), &SystemEntropy)
}

fn current() -> Option<String> {
    CallContext::current().and_then(|context| context.tenant().map(ToString::to_string))
}

#[tokio::test]
async fn a_spawned_task_keeps_the_context_and_one_that_tokio_spawns_does_not() {
    let (kept, lost) = context("acme")
        .scope(async {
            let kept = CallContext::current().unwrap().spawn(async { current() });
            (kept.await.unwrap(), tokio::spawn(async { current() }).await.unwrap())
        })
        .await;
    assert_eq!((kept.as_deref(), lost), (Some("acme"), None));
}

#[tokio::test]
async fn a_stream_is_polled_in_its_context_whatever_the_current_one_is() {
    let events = || stream::iter([(), ()]).map(|()| current());
    let scoped = context("acme").scope_stream(events());
    let seen: Vec<_> = context("globex").scope(scoped.collect()).await;
    assert_eq!(seen, [Some("acme".to_owned()), Some("acme".to_owned())]);
    assert_eq!(events().collect::<Vec<_>>().await, [None, None]);
}

#[tokio::test]
async fn a_body_is_polled_in_its_context() {
    let frames = stream::iter(["a", "b"]).map(|text| {
        let text = format!("{text} for {} ", current().unwrap_or_default());
        Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from(text)))
    });
    let body = context("acme").scope_stream(StreamBody::new(frames));
    assert_eq!(BodyExt::collect(body).await.unwrap().to_bytes(), "a for acme b for acme ");
}
