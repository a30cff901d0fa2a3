//! What a call costs the agent: with a token that is cached, and beside it, in the same run, what a cold call and the parts of one cost.

use std::hint::black_box;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use criterion::{Criterion, criterion_group, criterion_main};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use sts_client::{CallContext, Propagator, Route, Verifier};
use sts_tests::{Harness, bearer};
use tokio::runtime::Runtime;

/// An agent beside a real server.
struct Agent {
    harness: Harness,
    verifier: Verifier,
    propagator: Propagator,
}

impl Agent {
    async fn start() -> Self {
        let harness = Harness::start().await;
        let sts = harness.sts_of("coordinator").build().expect("an sts");
        let route = Route::to("https://inventory.example/".parse().expect("a url"))
            .audience("inventory")
            .issued_audience("inventory-agent")
            .scope("stock:read".parse().expect("a scope"));
        let builder = Propagator::builder().sts(sts).route(route).clock(Arc::new(harness.clock.clone()));
        let (verifier, propagator) = (harness.verifier_of_users(), builder.build().await.expect("a propagator"));
        Self { harness, verifier, propagator }
    }

    /// The headers of a user's request, with a token that was never used.
    fn inbound(&self) -> HeaderMap {
        bearer(&self.harness.user_token())
    }

    async fn call(&self, context: &CallContext) -> HeaderMap {
        let url = "https://inventory.example/stock".parse().expect("a url");
        let mut headers = HeaderMap::new();
        self.propagator.apply(context, &url, &mut headers).await.expect("a token");
        headers
    }
}

fn client(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let agent = runtime.block_on(Agent::start());
    let inbound = agent.inbound();
    let caller = runtime.block_on(agent.verifier.verify(&inbound)).expect("a delegation");
    let context = CallContext::from(caller);
    let token = inbound[AUTHORIZATION].as_bytes().to_vec();

    let mut group = criterion.benchmark_group("client");
    group.bench_function("cached call", |bencher| {
        bencher.to_async(&runtime).iter(async || black_box(agent.call(&context).await));
    });
    group.bench_function("inbound verification", |bencher| {
        bencher.to_async(&runtime).iter(async || black_box(agent.verifier.verify(&inbound).await.expect("verified")));
    });
    group.bench_function("cold call", |bencher| {
        bencher.to_async(&runtime).iter_batched(
            || agent.inbound(),
            async |inbound| {
                let caller = agent.verifier.verify(&inbound).await.expect("verified");
                black_box(agent.call(&CallContext::from(caller)).await)
            },
            criterion::BatchSize::SmallInput,
        );
    });
    group.bench_function("SHA-256 of the token", |bencher| bencher.iter(|| digest(&SHA256, black_box(&token))));
    group.finish();
}

criterion_group!(benches, client);
criterion_main!(benches);
