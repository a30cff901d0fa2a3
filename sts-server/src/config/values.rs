//! Parsers of the values of options.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use ipnet::IpNet;
use sts_jose::{Algorithm, Egress};
use url::Url;

use super::ForwardedHeader;
use super::option::Given;
use crate::ttl::Ttl;

pub(super) const ADDRESS: &str = "an IP address and a port, such as \"127.0.0.1:8080\" or \"[::1]:8080\"";

/// The largest value of a timeout.
const MAX_TIMEOUT: Ttl = Ttl::from_minutes(10);

/// The largest value of a rate limit, in requests per minute.
const MAX_RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(999_999);

pub(super) fn set<T: FromStr>(field: &mut T, given: &Given<'_>, wanted: &str) -> Result<(), String> {
    *field = given.text.parse().ok().ok_or_else(|| format!("must be {wanted}"))?;
    Ok(())
}

pub(super) fn set_count<T: FromStr + PartialOrd + std::fmt::Display>(
    field: &mut T,
    given: &Given<'_>,
    least: T,
    most: T,
) -> Result<(), String> {
    match given.text.parse() {
        Ok(count) if (&least..=&most).contains(&&count) => {
            *field = count;
            Ok(())
        }
        Ok(_) | Err(_) => Err(format!("must be {least} to {most}")),
    }
}

/// Sets a number of bytes, such as `134217728`, `131072KiB` or `128MiB`.
pub(super) fn set_bytes(field: &mut usize, given: &Given<'_>) -> Result<(), String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
    let unit = units.into_iter().find_map(|(unit, bytes)| Some((given.text.strip_suffix(unit)?, bytes)));
    let bytes = unit.and_then(|(number, bytes)| number.trim_end().parse::<usize>().ok()?.checked_mul(bytes));
    *field = bytes.ok_or("must be a number of bytes, such as \"128MiB\"")?;
    Ok(())
}

/// Sets a number of bytes from 1 to `most`.
pub(super) fn set_bytes_within(field: &mut usize, given: &Given<'_>, most: usize) -> Result<(), String> {
    set_bytes(field, given)?;
    if (1..=most).contains(field) { Ok(()) } else { Err(format!("must be 1 to {most} bytes")) }
}

/// Sets the proxy of all requests. An empty text means no proxy.
pub(super) fn set_proxy(field: &mut Option<Egress>, given: &Given<'_>) -> Result<(), String> {
    let proxies = match given.text {
        "" => Ok(Egress::default()),
        proxy => Egress::by_proxy("egress.proxy", proxy),
    };
    *field = Some(proxies.map_err(|error| error.to_string())?);
    Ok(())
}

pub(super) fn set_ttl(field: &mut Ttl, given: &Given<'_>) -> Result<(), String> {
    *field = given.text.parse::<Ttl>().map_err(|error| error.to_string())?;
    Ok(())
}

pub(super) fn set_timeout(field: &mut Ttl, given: &Given<'_>) -> Result<(), String> {
    set_ttl(field, given)?;
    if *field > MAX_TIMEOUT {
        return Err(format!("at most {MAX_TIMEOUT}"));
    }
    Ok(())
}

pub(super) fn set_delay(field: &mut Duration, given: &Given<'_>) -> Result<(), String> {
    if given.text == "0s" {
        *field = Duration::ZERO;
        return Ok(());
    }
    let mut delay = MAX_TIMEOUT;
    set_timeout(&mut delay, given)?;
    *field = delay.as_duration();
    Ok(())
}

pub(super) fn set_rate(field: &mut Option<NonZeroU32>, given: &Given<'_>) -> Result<(), String> {
    let mut rate = NonZeroU32::MIN;
    set_count(&mut rate, given, NonZeroU32::MIN, MAX_RATE)?;
    *field = Some(rate);
    Ok(())
}

pub(super) fn set_forwarded_header(field: &mut ForwardedHeader, given: &Given<'_>) -> Result<(), String> {
    *field = match given.text.to_ascii_lowercase().as_str() {
        "x-forwarded-for" => ForwardedHeader::XForwardedFor,
        "forwarded" => ForwardedHeader::Forwarded,
        _ => return Err("must be X-Forwarded-For or Forwarded".to_owned()),
    };
    Ok(())
}

pub(super) fn set_text(field: &mut Option<String>, given: &Given<'_>) -> Result<(), String> {
    if given.text.is_empty() {
        return Err("must not be empty".to_owned());
    }
    *field = Some(given.text.to_owned());
    Ok(())
}

/// Sets the texts between commas.
pub(super) fn set_texts(field: &mut Vec<String>, given: &Given<'_>) -> Result<(), String> {
    *field = given.text.split(',').map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned).collect();
    Ok(())
}

pub(super) fn set_algorithms(field: &mut Vec<Algorithm>, given: &Given<'_>) -> Result<(), String> {
    let texts = given.text.split(',').map(str::trim).filter(|text| !text.is_empty());
    let algorithms = texts.map(|text| text.parse().map_err(|error| format!("{text:?}: {error}")));
    *field = algorithms.collect::<Result<_, _>>()?;
    if field.is_empty() { Err("must name an algorithm".to_owned()) } else { Ok(()) }
}

/// Parses a URL that the server fetches from.
pub(super) fn check_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("not a URL: {error}"))?;
    sts_jose::check_url(&url, false).map_err(|error| error.to_string())?;
    Ok(url)
}

/// Sets the networks between commas. A single address is a network of one host.
pub(super) fn set_networks(field: &mut Vec<IpNet>, given: &Given<'_>) -> Result<(), String> {
    let texts = given.text.split(',').map(str::trim).filter(|text| !text.is_empty());
    *field = texts.map(network).collect::<Result<_, _>>()?;
    Ok(())
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    let network = text.parse().ok().or_else(address);
    network.ok_or_else(|| format!("{text:?} is no IP address and no network, such as \"10.0.0.0/8\" or \"::1\""))
}

pub(super) fn path(given: &Given<'_>) -> Result<PathBuf, String> {
    if given.text.is_empty() {
        return Err("must be a path".to_owned());
    }
    Ok(given.directory.join(given.text))
}
