//! The checks of RSA public keys.

/// The accepted sizes of a modulus. Shorter moduli are broken. Longer moduli would let an attacker
/// burn our CPU.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// aws-lc's own bound on public exponents, in bytes (33 bits).
const MAX_EXPONENT_BYTES: usize = 5;

/// The odd primes for the fingerprint of a ROCA key (Nemec et al., "The Return of Coppersmith's
/// Attack", 2017). Such a modulus is a power of 65537 modulo each of them. A sound modulus has this
/// property only by extreme chance.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Returns true if `modulus` and `exponent` have an accepted size and shape. Both are big-endian,
/// without leading zeros.
pub(crate) fn is_sound(modulus: &[u8], exponent: &[u8]) -> bool {
    MODULUS_BITS.contains(&bit_length(modulus))
        && is_odd(modulus)
        && is_sound_exponent(exponent)
        && !has_roca_fingerprint(modulus)
}

/// Drops leading zero bytes, which RFC 7518 §6.3.1.1 forbids but some key sets contain.
pub(crate) fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn bit_length(number: &[u8]) -> usize {
    let Some(first) = number.first() else { return 0 };
    (number.len() * 8).saturating_sub(usize::try_from(first.leading_zeros()).unwrap_or(8))
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|byte| byte & 1 == 1)
}

/// Returns true if the exponent is odd and at least 3. With 1, every padded hash is a valid
/// signature of itself.
fn is_sound_exponent(exponent: &[u8]) -> bool {
    is_odd(exponent) && exponent != [1] && exponent.len() <= MAX_EXPONENT_BYTES
}

/// Returns true if the broken generator of CVE-2017-15361 made the modulus, so that an attacker can
/// factor it.
fn has_roca_fingerprint(modulus: &[u8]) -> bool {
    ROCA_PRIMES.iter().all(|&prime| {
        let residue = modulus.iter().fold(0, |residue, &byte| (residue * 256 + u32::from(byte)) % prime);
        is_power_of_65537(residue, prime)
    })
}

fn is_power_of_65537(residue: u32, prime: u32) -> bool {
    let mut power = 1;
    for _ in 0..prime {
        if power == residue {
            return true;
        }
        power = power * (65_537 % prime) % prime;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_one_even_and_huge_are_refused() {
        for exponent in [&[1_u8][..], &[], &[2], &[1, 0, 0], &[1, 0, 0, 0, 0, 1]] {
            assert!(!is_sound_exponent(exponent), "{exponent:?}");
        }
        assert!(is_sound_exponent(&[3]));
        assert!(is_sound_exponent(&[1, 0, 1]));
    }

    #[test]
    fn bit_length_counts_bits() {
        assert_eq!(bit_length(&[]), 0);
        assert_eq!(bit_length(&[1]), 1);
        assert_eq!(bit_length(&[0x80, 0]), 16);
        assert_eq!(without_leading_zeros(&[0, 0, 5, 0]), &[5, 0]);
    }

    #[test]
    fn a_power_of_65537_has_the_roca_fingerprint() {
        assert!(has_roca_fingerprint(&[1, 0, 1]));
        assert!(!has_roca_fingerprint(&[1, 0, 3]));
    }
}
