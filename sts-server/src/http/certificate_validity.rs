//! The time for which a served certificate is valid.

use jiff::Timestamp;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The longest time before its end at which a certificate counts as about to expire.
const SOON_SECONDS: i64 = 14 * 24 * 60 * 60;
/// The part of its life that is left when a certificate with a short life counts as about to
/// expire. Those that renew by themselves do so earlier.
const SOON_PART: i64 = 5;

/// The time for which the server's own certificate is valid. Clients may use other intermediate
/// certificates than those that the server sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateValidity {
    /// The time from which the certificate is valid.
    pub begins: Timestamp,
    /// The time until which the certificate is valid.
    pub ends: Timestamp,
}

/// The state of a certificate at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateAge {
    /// It is not valid yet.
    Early,
    /// It is valid.
    Valid,
    /// It is valid, and should have been renewed.
    ExpiresSoon,
    /// It has expired.
    Expired,
}

impl CertificateValidity {
    /// Returns the validity of a certificate (DER), or `None` if it cannot be read.
    pub(super) fn of(leaf: &[u8]) -> Option<Self> {
        let time = |seconds: i64| Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let (_rest, certificate) = X509Certificate::from_der(leaf).ok()?;
        let validity = certificate.validity();
        let [begins, ends] = [validity.not_before, validity.not_after].map(|at| time(at.timestamp()));
        Some(Self { begins, ends })
    }

    /// Returns the time for which the certificate is valid, in seconds.
    #[must_use]
    pub fn lifetime_seconds(self) -> i64 {
        self.ends.as_second().saturating_sub(self.begins.as_second())
    }

    /// Returns the state of the certificate at `now`.
    #[must_use]
    pub fn at(self, now: Timestamp) -> CertificateAge {
        let left = self.ends.as_second().saturating_sub(now.as_second());
        let soon = self.lifetime_seconds().checked_div(SOON_PART).unwrap_or_default().min(SOON_SECONDS);
        match left {
            _ if now < self.begins => CertificateAge::Early,
            i64::MIN..=0 => CertificateAge::Expired,
            left if left < soon => CertificateAge::ExpiresSoon,
            _ => CertificateAge::Valid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_expires_soon_in_the_last_fifth_of_its_life_and_in_its_last_fortnight() {
        let day = 24 * 60 * 60;
        let at = |seconds: i64| Timestamp::from_second(seconds).unwrap();
        for (life, now, age) in [
            (365 * day, -1, CertificateAge::Early),
            (365 * day, 350 * day, CertificateAge::Valid),
            (365 * day, 352 * day, CertificateAge::ExpiresSoon),
            (365 * day, 365 * day, CertificateAge::Expired),
            (day, day / 2, CertificateAge::Valid),
            (day, day - 60, CertificateAge::ExpiresSoon),
        ] {
            let validity = CertificateValidity { begins: at(0), ends: at(life) };
            assert_eq!(validity.at(at(now)), age, "{life} {now}");
        }
    }
}
