//! Exchanges with a durable audit log, beside their floor.

use std::time::Duration;

use bytes::Bytes;
use sts_jose::Algorithm;

use super::floor::Floor;
use crate::arguments::Plan;
use crate::load::{Load, Outcome, Prepared};
use crate::process;
use crate::server::{FAN_OUT, Server, audience, fan_out_audience};
use crate::statistics::{Rounds, percentile_us};
use crate::tokens::exchange_form;

/// A round is a floor and a load in turns, so many of each: a machine that is shared is faster in one second than in the next, and what
/// is compared must share that.
const SLICES: usize = 8;

/// How subject tokens are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subjects {
    /// Each once.
    Once,
    /// Each for [`FAN_OUT`] targets.
    FanOut,
}

/// One kind of exchange, measured.
#[derive(Debug, Clone, Default)]
pub struct Exchanges {
    /// CPU time of the floor, in microseconds.
    pub floor_us: Rounds,
    /// CPU time of the server per exchange, in microseconds.
    pub cpu_us: Rounds,
    /// The ratio of the two, round by round.
    pub ratio: Rounds,
    /// Exchanges per second, in a closed loop.
    pub per_second: Rounds,
    /// Latency of half of the requests, in microseconds, in the closed loop.
    pub p50_us: Rounds,
    /// Latency of 99 % of the requests.
    pub p99_us: Rounds,
}

/// Measures exchanges: rounds of load, each beside a round of the floor.
///
/// # Errors
/// An answer that is no token.
pub async fn measure(
    plan: &Plan,
    server: &Server,
    algorithm: Algorithm,
    subjects: Subjects,
) -> anyhow::Result<Exchanges> {
    let floor = Floor::of(algorithm)?;
    let load = Load::connect(&server.post("/oauth2/token"), plan.connections).await?;
    let requests = |count| forms(server, algorithm, subjects, count);
    rounds(plan, server, (load, requests), |operations| floor.round(operations)).await
}

/// Rounds of requests, each beside a round of the floor.
pub(super) async fn rounds<R>(
    plan: &Plan,
    server: &Server,
    (mut load, requests): (Load, impl Fn(usize) -> Vec<R>),
    floor: impl Fn(usize) -> anyhow::Result<f64>,
) -> anyhow::Result<Exchanges>
where
    R: Clone + Into<Prepared> + Send + Sync + 'static,
{
    load.run(requests(plan.requests / 2)).await?;
    let mut measured = Exchanges::default();
    for _ in 0..plan.rounds {
        let forms = requests(plan.requests);
        let (mut floor_us, mut cpu_time, mut outcome) = (0.0, Duration::ZERO, Outcome::default());
        for slice in forms.chunks(plan.requests.div_ceil(SLICES)) {
            floor_us += floor(plan.operations / SLICES)? / SLICES as f64;
            let before = process::cpu_time(server.pid())?;
            outcome.add(load.run(slice.to_vec()).await?);
            cpu_time += process::cpu_time(server.pid())?.saturating_sub(before);
        }
        let requests = outcome.latencies.len() as f64;
        let cpu_us = cpu_time.as_secs_f64() * 1e6 / requests;
        measured.floor_us.push(floor_us);
        measured.cpu_us.push(cpu_us);
        measured.ratio.push(cpu_us / floor_us);
        measured.per_second.push(requests / outcome.elapsed.as_secs_f64());
        measured.p50_us.push(percentile_us(&mut outcome.latencies, 50.0));
        measured.p99_us.push(percentile_us(&mut outcome.latencies, 99.0));
    }
    Ok(measured)
}

/// The requests of a round, no two alike.
#[must_use]
pub fn forms(server: &Server, algorithm: Algorithm, subjects: Subjects, count: usize) -> Vec<Bytes> {
    match subjects {
        Subjects::Once => {
            let audience = audience(algorithm);
            let tokens = server.users().tokens(algorithm, count);
            tokens.iter().map(|token| exchange_form(token, &audience)).collect()
        }
        Subjects::FanOut => {
            let tokens = server.users().tokens(algorithm, count.div_ceil(FAN_OUT));
            let targets = |token: &String| {
                (0..FAN_OUT).map(|index| exchange_form(token, &fan_out_audience(index))).collect::<Vec<Bytes>>()
            };
            tokens.iter().flat_map(targets).collect()
        }
    }
}
