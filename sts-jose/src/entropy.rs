//! Chance, passed in. Nothing else in the workspace may ask for random bytes (key generation happens inside aws-lc).

/// Gives random bytes.
pub trait Entropy: std::fmt::Debug + Send + Sync {
    /// Fills all of `out` with bytes that nobody can predict.
    fn fill(&self, out: &mut [u8]);
}

/// The random generator of aws-lc, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// Ends the process when the generator fails: a token id, a secret or a nonce that somebody can guess is worse than
    /// no answer, and the trait leaves callers no way to forget that.
    #[expect(clippy::disallowed_methods, reason = "the one place that draws random bytes")]
    fn fill(&self, out: &mut [u8]) {
        if aws_lc_rs::rand::fill(out).is_err() {
            tracing::error!("the random generator failed; the process ends");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_entropy_fills_the_whole_slice() {
        let (mut first, mut second) = ([0_u8; 64], [0_u8; 64]);
        SystemEntropy.fill(&mut first);
        SystemEntropy.fill(&mut second);
        assert_ne!(first, second);
        assert_ne!(first.get(32..), Some([0_u8; 32].as_slice()));
    }
}
