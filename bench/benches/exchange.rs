//! The steps of an exchange that need no database, one by one: what each costs beside the signature check and the signature.

use std::hint::black_box;

use aws_lc_rs::hmac;
use criterion::{Criterion, criterion_group, criterion_main};
use sts_bench::server::{ALGORITHMS, CLIENT};
use sts_bench::tokens::{Users, exchange_form};
use sts_jose::{Clock as _, KeySet, SignatureMemo, SigningKey, SystemClock, SystemEntropy, UnverifiedToken};
use sts_protocol::Form;
use sts_server::mint;
use sts_server::record::{AuditWriter, Event, EventKind};
use sts_tests::TestKey;

fn steps(criterion: &mut Criterion) {
    for algorithm in ALGORITHMS {
        let key = TestKey::new(algorithm);
        let users = Users { issuer: "https://login.example.com".to_owned(), keys: vec![(algorithm, key.clone())] };
        let token = users.tokens(algorithm, 1).pop().expect("a token");
        let jwks = serde_json::json!({ "keys": [key.jwk()] }).to_string();
        let keys = KeySet::parse(jwks.as_bytes()).expect("a key set");
        let verification_key = keys.find(Some(key.kid()), algorithm).expect("its key");
        let signing_key = SigningKey::generate(algorithm).expect("a key");
        let claims =
            serde_json::to_vec(UnverifiedToken::parse(&token).expect("a token").claims().as_map()).expect("JSON");
        let memo = SignatureMemo::default();
        let parse = || UnverifiedToken::parse(black_box(&token)).expect("a token");

        let mut group = criterion.benchmark_group(format!("exchange, {algorithm}"));
        group.bench_function("token parsed", |bencher| bencher.iter(parse));
        group.bench_function("token parsed and its signature checked", |bencher| {
            bencher.iter(|| parse().verify(verification_key).expect("verified"));
        });
        group.bench_function("token parsed and its signature remembered", |bencher| {
            bencher.iter(|| parse().verify_once(verification_key, &memo).expect("verified"));
        });
        group.bench_function("token signed", |bencher| {
            bencher.iter(|| signing_key.sign(Some("at+jwt"), black_box(&claims)).expect("a token"));
        });
        group.finish();
    }
}

fn frame(criterion: &mut Criterion) {
    let users = Users {
        issuer: "https://login.example.com".to_owned(),
        keys: vec![(ALGORITHMS[0], TestKey::new(ALGORITHMS[0]))],
    };
    let form = exchange_form(&users.tokens(ALGORITHMS[0], 1).pop().expect("a token"), "inventory");
    let mut event = Event::new(EventKind::TokenIssued, SystemClock.now());
    event.client_id = Some(CLIENT.to_owned());
    event.sub = Some("alice".to_owned());
    event.jti = Some(mint::name(SystemClock.now(), &SystemEntropy));
    event.txn.clone_from(&event.jti);
    let mut writer = AuditWriter::new(hmac::Key::new(hmac::HMAC_SHA256, &[0; 32]), &SystemEntropy);

    let mut group = criterion.benchmark_group("exchange");
    group.bench_function("form read", |bencher| bencher.iter(|| Form::parse(black_box(&form)).expect("a form")));
    group.bench_function("name made", |bencher| bencher.iter(|| mint::name(SystemClock.now(), &SystemEntropy)));
    group.bench_function("audit event sealed", |bencher| bencher.iter(|| writer.seal(black_box(&event))));
    group.finish();
}

criterion_group!(benches, steps, frame);
criterion_main!(benches);
