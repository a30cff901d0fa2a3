//! The tests of sts-jose through its public API: each row changes one thing in something valid.

#[cfg(test)]
mod claims;
#[cfg(test)]
mod dpop;
#[cfg(test)]
mod file;
#[cfg(test)]
mod json;
#[cfg(test)]
mod key_set;
#[cfg(test)]
mod memo;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod remote;
#[cfg(test)]
mod remote_bounds;
#[cfg(test)]
mod selectors;
#[cfg(test)]
mod server;
#[cfg(test)]
mod signing;
#[cfg(test)]
mod support;
#[cfg(test)]
mod tls;
#[cfg(test)]
mod token;
