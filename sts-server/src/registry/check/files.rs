//! The files that entries name. One that is absent may be there where the server runs, so that is a warning.

use std::io;
use std::path::Path;

use sts_jose::{MAX_FILE_BYTES, http_client, read_file};

use super::keys::{check_key_set_bytes, cut};
use crate::fault::Fault;
use crate::registry::located::{Entries, Place};

pub(super) fn faults(entries: &Entries) -> Vec<Fault> {
    let mut faults = Vec::new();
    for located in &entries.issuers {
        let issuer = &located.entry;
        if let Some(file) = &issuer.jwks_file {
            faults.extend(key_set(&located.place, &issuer.issuer, file));
        }
        if let Some(file) = &issuer.ca_file {
            faults.extend(authorities(&located.place, &issuer.issuer, file));
        }
        if let Some(file) = &issuer.jwks_bearer_token_file
            && let Err(error) = read_file(file, MAX_FILE_BYTES)
        {
            faults.push(unreadable(&located.place, &issuer.issuer, "jwks_bearer_token_file", &error));
        }
    }
    faults
}

fn authorities(place: &Place, issuer: &str, file: &Path) -> Option<Fault> {
    let bytes = match read_file(file, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return Some(unreadable(place, issuer, "ca_file", &error)),
    };
    let reason = http_client(Some(&bytes)).err()?;
    Some(place.error("ca_file", format!("ca_file of issuer {issuer:?}: {reason}")))
}

fn key_set(place: &Place, issuer: &str, file: &Path) -> Option<Fault> {
    let bytes = match read_file(file, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return Some(unreadable(place, issuer, "jwks_file", &error)),
    };
    if let Err(reason) = check_key_set_bytes(&bytes) {
        return Some(place.error("jwks_file", format!("jwks_file of issuer {issuer:?}: {reason}")));
    }
    cut(&bytes).map(|reason| place.warning("jwks_file", format!("jwks_file of issuer {issuer:?} {reason}")))
}

/// A file that is of no use anywhere is an error.
fn unreadable(place: &Place, issuer: &str, key: &str, error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::InvalidInput => place.error(key, format!("{key} of issuer {issuer:?} cannot be used: {error}")),
        _ => place.warning(key, format!("{key} of issuer {issuer:?} cannot be read here: {error}")),
    }
}
