//! Medians and spreads of rounds, and percentiles of latencies.

use std::time::Duration;

/// One figure, measured in several rounds.
#[derive(Debug, Clone, Default)]
pub struct Rounds {
    values: Vec<f64>,
}

impl Rounds {
    /// Adds the figure of a round.
    pub fn push(&mut self, value: f64) {
        self.values.push(value);
    }

    /// The median; zero of no rounds.
    #[must_use]
    pub fn median(&self) -> f64 {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        match sorted.len() {
            0 => 0.0,
            count if count % 2 == 1 => sorted[count / 2],
            count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
        }
    }

    /// How far the rounds lie apart: (greatest − least) / median, in percent.
    #[must_use]
    pub fn spread_percent(&self) -> f64 {
        let least = self.values.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = self.values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if self.values.is_empty() || self.median() == 0.0 { 0.0 } else { 100.0 * (greatest - least) / self.median() }
    }
}

impl FromIterator<f64> for Rounds {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self { values: values.into_iter().collect() }
    }
}

/// The latency that `percent` of all requests did not exceed, in microseconds; zero of no requests.
#[must_use]
pub fn percentile_us(latencies: &mut [Duration], percent: f64) -> f64 {
    if latencies.is_empty() {
        return 0.0;
    }
    latencies.sort_unstable();
    let rank = (percent / 100.0 * latencies.len() as f64).ceil() as usize;
    latencies[rank.clamp(1, latencies.len()) - 1].as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_and_the_spread_the_distance() {
        let rounds: Rounds = [4.0, 1.0, 2.0].into_iter().collect();
        assert!((rounds.median() - 2.0).abs() < 1e-9);
        assert!((rounds.spread_percent() - 150.0).abs() < 1e-9);
        let even: Rounds = [4.0, 2.0].into_iter().collect();
        assert!((even.median() - 3.0).abs() < 1e-9);
    }

    #[test]
    fn a_percentile_is_the_least_value_that_so_many_do_not_exceed() {
        let mut latencies: Vec<Duration> = (1..=100).rev().map(Duration::from_micros).collect();
        for (percent, expected) in [(50.0, 50.0), (99.0, 99.0), (100.0, 100.0), (0.1, 1.0)] {
            assert!((percentile_us(&mut latencies, percent) - expected).abs() < 1e-6, "{percent}");
        }
    }
}
