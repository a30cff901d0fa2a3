//! Random bytes, passed in. No other code in the workspace may generate them (key generation
//! happens inside aws-lc).

/// A source of random bytes.
///
/// ```
/// use sts_jose::Entropy;
///
/// /// The same identifiers in every run of a test.
/// #[derive(Debug)]
/// struct Zeros;
///
/// impl Entropy for Zeros {
///     fn fill(&self, out: &mut [u8]) {
///         out.fill(0);
///     }
/// }
/// ```
pub trait Entropy: std::fmt::Debug + Send + Sync {
    /// Fills all of `out` with unpredictable bytes.
    fn fill(&self, out: &mut [u8]);
}

/// The random generator of aws-lc, seeded by the operating system.
///
/// ```
/// use sts_jose::{Entropy as _, SystemEntropy};
///
/// let mut nonce = [0; 16];
/// SystemEntropy.fill(&mut nonce);
/// assert_ne!(nonce, [0; 16]);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    /// Aborts the process if the generator fails. A guessable token id, secret or nonce is worse
    /// than no answer. The trait returns no error, so callers cannot ignore one.
    #[expect(clippy::disallowed_methods, reason = "the one place that draws random bytes")]
    fn fill(&self, out: &mut [u8]) {
        if aws_lc_rs::rand::fill(out).is_err() {
            tracing::error!("the random generator failed; the process stops");
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
