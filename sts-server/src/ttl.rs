//! Durations as the configuration writes them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

/// A whole number of seconds, minutes, hours or days, written `90s`, `5m`, `24h`, `30d`. It is
/// greater than zero and at most ten years.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ttl(u32);

const MINUTE: u32 = 60;
const HOUR: u32 = 60 * MINUTE;
const DAY: u32 = 24 * HOUR;
const MAX_SECONDS: u32 = 3650 * DAY;

/// The text is not a valid duration.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("a span of time is a whole number above zero and s, m, h or d, such as \"5m\"; ten years at most")]
pub struct TtlError;

impl Ttl {
    /// Returns a duration of whole minutes, for defaults.
    #[must_use]
    pub const fn from_minutes(minutes: u16) -> Self {
        Self(minutes as u32 * MINUTE)
    }

    /// Returns the duration in seconds.
    #[must_use]
    pub fn as_seconds(self) -> i64 {
        i64::from(self.0)
    }

    /// Returns the duration as a [`Duration`].
    #[must_use]
    pub fn as_duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0))
    }
}

impl FromStr for Ttl {
    type Err = TtlError;

    fn from_str(text: &str) -> Result<Self, TtlError> {
        let unit = match text.chars().last() {
            Some('s') => 1,
            Some('m') => MINUTE,
            Some('h') => HOUR,
            Some('d') => DAY,
            Some(_) | None => return Err(TtlError),
        };
        let digits = text.get(..text.len() - 1).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let count: u32 = digits.and_then(|digits| digits.parse().ok()).ok_or(TtlError)?;
        match count.checked_mul(unit) {
            Some(seconds @ 1..=MAX_SECONDS) => Ok(Self(seconds)),
            Some(_) | None => Err(TtlError),
        }
    }
}

impl fmt::Display for Ttl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (unit, name) in [(DAY, 'd'), (HOUR, 'h'), (MINUTE, 'm')] {
            if self.0.is_multiple_of(unit) {
                return write!(f, "{}{name}", self.0 / unit);
            }
        }
        write!(f, "{}s", self.0)
    }
}

impl Serialize for Ttl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Ttl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_reads_back_as_it_is_written() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("24h", 86_400), ("30d", 2_592_000)] {
            let ttl: Ttl = text.parse().unwrap();
            assert_eq!(ttl.as_seconds(), seconds);
            assert_eq!(ttl.to_string().parse::<Ttl>().unwrap(), ttl);
        }
    }

    #[test]
    fn what_is_no_span_is_refused() {
        for text in ["", "5", "m", "0s", "-5m", "+5m", "1.5h", "5 m", "5M", "5ä", "4000d", "99999999999s"] {
            assert_eq!(text.parse::<Ttl>(), Err(TtlError), "{text:?}");
        }
    }
}
