//! Argon2id hashes: the check of their form, and the cost of verifying a secret.

use std::fmt;

use argon2::{ARGON2ID_IDENT, Params, PasswordHash};

/// The most memory of an accepted hash, in KiB.
const MAX_MEMORY_KIB: u32 = 256 * 1024;
/// The most passes of an accepted hash.
const MAX_PASSES: u32 = 10;
/// The most lanes of an accepted hash.
const MAX_LANES: u32 = 4;

/// The cost of verifying a secret against a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Argon2idCost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl Argon2idCost {
    /// Returns the cost of the hashes that this program creates.
    #[must_use]
    pub fn standard() -> Self {
        Self::of(&Params::DEFAULT)
    }

    fn of(params: &Params) -> Self {
        Self { memory_kib: params.m_cost(), passes: params.t_cost(), lanes: params.p_cost() }
    }

    /// Returns the memory that all passes together write, in KiB.
    #[must_use]
    pub fn work(&self) -> u64 {
        u64::from(self.memory_kib) * u64::from(self.passes)
    }
}

impl fmt::Display for Argon2idCost {
    /// Writes the parameters as a PHC string does.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory_kib, passes, lanes } = self;
        write!(f, "m={memory_kib},t={passes},p={lanes}")
    }
}

/// Returns the cost of an argon2id hash in PHC form.
///
/// # Errors
/// Returns the reason if the text is not such a hash, or needs more than 256 MiB, 10 passes or 4
/// lanes. Otherwise one request could take the memory of the whole server.
pub fn argon2id_cost(hash: &str) -> Result<Argon2idCost, String> {
    let parsed = PasswordHash::new(hash)
        .ok()
        .filter(|hash| hash.algorithm == ARGON2ID_IDENT && hash.salt.is_some() && hash.hash.is_some());
    let params = parsed.as_ref().and_then(|hash| Params::try_from(hash).ok());
    let cost = Argon2idCost::of(&params.ok_or("must be an argon2id hash in PHC form, which begins with $argon2id$")?);
    if cost.memory_kib > MAX_MEMORY_KIB || cost.passes > MAX_PASSES || cost.lanes > MAX_LANES {
        return Err(format!(
            "asks for {cost}, and at most m={MAX_MEMORY_KIB},t={MAX_PASSES},p={MAX_LANES} are computed"
        ));
    }
    Ok(cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_may_not_ask_for_any_cost() {
        let hash = |parameters: &str| {
            format!("$argon2id$v=19${parameters}$bm9ib2R5LW5vYm9keQ$y5HFY3+UvY8XkyPtJY6sVvLjqHoC6kTGYVhNTvFOkNs")
        };
        for parameters in ["m=19456,t=2,p=1", "m=262144,t=10,p=4", "m=65536,t=3,p=4"] {
            assert_eq!(argon2id_cost(&hash(parameters)).unwrap().to_string(), parameters);
        }
        for parameters in ["m=262145,t=2,p=1", "m=4294967295,t=1,p=1", "m=19456,t=11,p=1", "m=19456,t=2,p=5"] {
            let refused = argon2id_cost(&hash(parameters)).unwrap_err();
            assert!(refused.starts_with(&format!("asks for {parameters}, and at most ")), "{refused}");
        }
        for text in
            ["", "x", "$argon2i$v=19$m=19456,t=2,p=1$bm9ib2R5LW5vYm9keQ$Zm9vYmFyYmF6", "$argon2id$v=19$m=8,t=1,p=1"]
        {
            assert_eq!(
                argon2id_cost(text),
                Err("must be an argon2id hash in PHC form, which begins with $argon2id$".to_owned()),
                "{text}"
            );
        }
        assert_eq!(Argon2idCost::standard().to_string(), "m=19456,t=2,p=1");
    }
}
