//! How long an exchange takes: on an idle server, and at half of the load that the server can take.

use sts_jose::Algorithm;

use super::exchange::{Subjects, forms};
use crate::arguments::Plan;
use crate::load::Load;
use crate::server::Server;
use crate::statistics::{Rounds, percentile_us};

/// Latencies, in microseconds.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    /// Half of the requests to an idle server: one at a time.
    pub idle_p50: Rounds,
    /// Half of the requests at half load.
    pub half_p50: Rounds,
    /// 99 % of the requests at half load.
    pub half_p99: Rounds,
    /// The ratio that matters, round by round: `half_p99` to `idle_p50`.
    pub p99_over_idle_p50: Rounds,
}

/// Measures latencies; `per_second` is what the server can take.
///
/// # Errors
/// An answer that is no token.
pub async fn measure(plan: &Plan, server: &Server, per_second: f64) -> anyhow::Result<Latencies> {
    let endpoint = server.post("/oauth2/token");
    let mut one = Load::connect(&endpoint, 1).await?;
    let mut many = Load::connect(&endpoint, plan.connections).await?;
    let mut measured = Latencies::default();
    for _ in 0..plan.rounds {
        let mut idle = one.run(forms(server, Algorithm::Es256, Subjects::Once, plan.requests / 20)).await?;
        let idle_p50 = percentile_us(&mut idle.latencies, 50.0);
        let half = forms(server, Algorithm::Es256, Subjects::Once, plan.requests / 2);
        let mut half = many.run_at(half, per_second / 2.0).await?;
        let half_p99 = percentile_us(&mut half.latencies, 99.0);
        measured.idle_p50.push(idle_p50);
        measured.half_p50.push(percentile_us(&mut half.latencies, 50.0));
        measured.half_p99.push(half_p99);
        measured.p99_over_idle_p50.push(half_p99 / idle_p50);
    }
    Ok(measured)
}
