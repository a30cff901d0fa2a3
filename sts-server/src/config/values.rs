//! The values of options that the document reader cannot check by itself. For each there is a
//! check, and where the type of a field is not read by serde, a function for `deserialize_with`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use sts_jose::{Algorithm, Egress};
use url::Url;

use super::ForwardedHeader;
use crate::document::reads;
use crate::ttl::Ttl;

/// The largest value of a timeout.
const MAX_TIMEOUT: Ttl = Ttl::from_minutes(10);

/// Checks a text that `T` reads. `wanted` describes the form in the error.
pub(super) fn word<T: DeserializeOwned>(text: &str, wanted: &str) -> Result<(), String> {
    reads::<T>(text).ok().ok_or_else(|| format!("must be {wanted}"))
}

pub(super) fn address(text: &str) -> Result<(), String> {
    word::<SocketAddr>(text, "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"")
}

pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.is_empty() { Err("must not be empty".to_owned()) } else { Ok(()) }
}

/// Parses a number of bytes, such as `134217728`, `131072KiB` or `128MiB`.
pub(super) fn bytes(text: &str) -> Result<usize, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let unit = units.into_iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, bytes)));
    let bytes = unit.and_then(|(number, bytes)| number.trim_end().parse::<usize>().ok()?.checked_mul(bytes));
    bytes.ok_or_else(|| "must be a number of bytes, such as \"128MiB\"".to_owned())
}

/// Checks a number of bytes from 1 to `most`.
pub(super) fn bytes_up_to(most: usize, text: &str) -> Result<(), String> {
    if (1..=most).contains(&bytes(text)?) { Ok(()) } else { Err(format!("must be 1 to {most} bytes")) }
}

pub(super) fn ttl_up_to(most: Ttl, text: &str) -> Result<(), String> {
    let ttl: Ttl = text.parse().map_err(|error: crate::ttl::TtlError| error.to_string())?;
    if ttl > most { Err(format!("at most {most}")) } else { Ok(()) }
}

pub(super) fn timeout(text: &str) -> Result<(), String> {
    ttl_up_to(MAX_TIMEOUT, text)
}

/// Parses a timeout that may be `0s`.
pub(super) fn delay(text: &str) -> Result<Duration, String> {
    if text == "0s" {
        return Ok(Duration::ZERO);
    }
    timeout(text)?;
    text.parse::<Ttl>().map(Ttl::as_duration).map_err(|error| error.to_string())
}

/// Parses how long audit events are kept; `None` means forever.
pub(super) fn retention(text: &str) -> Result<Option<Ttl>, String> {
    if text == "forever" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error: crate::ttl::TtlError| format!("{error}, or \"forever\""))
}

/// Parses the proxy of all requests. An empty text means no proxy.
pub(super) fn proxy(text: &str) -> Result<Egress, String> {
    match text {
        "" => Ok(Egress::default()),
        proxy => Egress::by_proxy("egress.proxy", proxy).map_err(|error| error.to_string()),
    }
}

pub(super) fn algorithm(text: &str) -> Result<(), String> {
    text.parse::<Algorithm>().map(drop).map_err(|error| format!("{text:?}: {error}"))
}

pub(super) fn some_algorithm(algorithms: &Value) -> Result<(), String> {
    if algorithms.as_array().is_none_or(Vec::is_empty) { Err("must name an algorithm".to_owned()) } else { Ok(()) }
}

/// Checks a URL that the server fetches from.
pub(super) fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    sts_jose::check_url(&url, false).map_err(|error| error.to_string())
}

/// Parses a network. A single address is a network of one host.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(address);
    network.ok_or_else(|| format!("{text:?} is not an IP address or a network, such as \"10.0.0.0/8\" or \"::1\""))
}

pub(super) fn read_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    bytes(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn read_delay<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    delay(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn read_retention<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Ttl>, D::Error> {
    retention(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

pub(super) fn read_proxy<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Egress>, D::Error> {
    proxy(&String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

pub(super) fn read_networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| network(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
}

impl<'de> Deserialize<'de> for ForwardedHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.to_ascii_lowercase().as_str() {
            "x-forwarded-for" => Ok(Self::XForwardedFor),
            "forwarded" => Ok(Self::Forwarded),
            unknown => Err(D::Error::unknown_variant(unknown, &["X-Forwarded-For", "Forwarded"])),
        }
    }
}
