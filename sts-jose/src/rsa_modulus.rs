//! Whether an RSA public key is one that we rely on.

/// Moduli outside of this range are refused: shorter ones are broken, longer ones are a way to burn our CPU.
const MODULUS_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// aws-lc's own bound on public exponents, in bytes (33 bits).
const MAX_EXPONENT_BYTES: usize = 5;

/// The odd primes by which the fingerprint of a ROCA key is taken (Nemec et al., "The Return of Coppersmith's Attack",
/// 2017): such a modulus is a power of 65537 modulo each of them, which a sound one is only by a freak.
const ROCA_PRIMES: [u32; 38] = [
    3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107, 109,
    113, 127, 131, 137, 139, 149, 151, 157, 163, 167,
];

/// Whether the big-endian `modulus` and `exponent`, both without leading zeros, are of an accepted size and shape.
pub(crate) fn is_sound(modulus: &[u8], exponent: &[u8]) -> bool {
    MODULUS_BITS.contains(&bit_length(modulus))
        && is_odd(modulus)
        && is_sound_exponent(exponent)
        && !has_roca_fingerprint(modulus)
}

/// Drops leading zero bytes, which RFC 7518 §6.3.1.1 forbids and some key sets have all the same.
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

/// Odd and at least 3: with 1, every padded hash is its own signature.
fn is_sound_exponent(exponent: &[u8]) -> bool {
    is_odd(exponent) && exponent != [1] && exponent.len() <= MAX_EXPONENT_BYTES
}

/// Whether the modulus was made by the broken generator of CVE-2017-15361, so that anybody can factor it.
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
