//! The floor: the one signature check and the one signature that an exchange cannot do without, by the library that the server uses.

use std::hint::black_box;

use anyhow::Context as _;
use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair,
};
use sts_jose::Algorithm;

use crate::process::thread_cpu_time;

/// What is signed has so many bytes: as an access token without its signature.
const MESSAGE_BYTES: usize = 800;

/// A key pair, both halves parsed.
#[derive(Debug)]
pub struct Floor {
    pair: Pair,
    public: ParsedPublicKey,
    signature: Vec<u8>,
    message: Vec<u8>,
}

#[derive(Debug)]
enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Floor {
    /// The floor of an algorithm.
    ///
    /// # Errors
    /// When there is no key of it.
    pub fn of(algorithm: Algorithm) -> anyhow::Result<Self> {
        let (pair, public) = match algorithm {
            Algorithm::Es256 => {
                let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
                let public = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref())?;
                (Pair::Ec(pair), public)
            }
            Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::generate()?;
                let public = ParsedPublicKey::new(&ED25519, pair.public_key().as_ref())?;
                (Pair::Ed(pair), public)
            }
            Algorithm::Rs256 => {
                let pair = RsaKeyPair::generate(KeySize::Rsa2048)?;
                let document = pair.public_key().as_der()?;
                let public = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, document.as_ref())?;
                (Pair::Rsa(Box::new(pair)), public)
            }
            other => anyhow::bail!("no floor is measured for {other}"),
        };
        let mut floor = Self { pair, public, signature: Vec::new(), message: vec![b'm'; MESSAGE_BYTES] };
        floor.signature = floor.sign()?;
        Ok(floor)
    }

    /// The CPU time of one check and one signature, in microseconds, as the mean of so many.
    ///
    /// # Errors
    /// When a signature does not verify.
    pub fn round(&self, operations: usize) -> anyhow::Result<f64> {
        self.round_with(1, operations)
    }

    /// The same with so many checks beside the one signature.
    ///
    /// # Errors
    /// When a signature does not verify.
    pub fn round_with(&self, checks: usize, operations: usize) -> anyhow::Result<f64> {
        let before = thread_cpu_time()?;
        for _ in 0..operations {
            for _ in 0..checks {
                let checked = self.public.verify_sig(black_box(&self.message), black_box(&self.signature));
                checked.context("a signature of our own does not verify")?;
            }
            black_box(self.sign()?);
        }
        Ok((thread_cpu_time()? - before).as_secs_f64() * 1e6 / operations as f64)
    }

    #[expect(clippy::disallowed_types, reason = "ring's signature; aws-lc draws its nonces itself")]
    fn sign(&self) -> anyhow::Result<Vec<u8>> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        Ok(match &self.pair {
            Pair::Ec(pair) => pair.sign(&random, &self.message)?.as_ref().to_vec(),
            Pair::Ed(pair) => pair.try_sign(&self.message)?.as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, &self.message, &mut signature)?;
                signature
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_algorithm_that_is_measured_has_a_floor() {
        for algorithm in crate::server::ALGORITHMS {
            Floor::of(algorithm)
                .and_then(|floor| floor.round(1))
                .unwrap_or_else(|error| panic!("{algorithm}: {error}"));
        }
    }
}
