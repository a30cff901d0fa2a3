//! The files that entries name. One that is absent may be there where the server runs, so that is a warning.

use std::fs;
use std::path::Path;

use sts_jose::MAX_KEY_SET_BYTES;

use super::keys::check_key_set_bytes;
use crate::fault::Fault;
use crate::registry::located::{Entries, Place};

pub(super) fn faults(entries: &Entries) -> Vec<Fault> {
    let mut faults = Vec::new();
    for located in &entries.issuers {
        let issuer = &located.entry;
        if let Some(file) = &issuer.jwks_file {
            faults.extend(key_set(&located.place, &issuer.issuer, file));
        }
        for (key, file) in [("ca_file", &issuer.ca_file), ("jwks_bearer_token_file", &issuer.jwks_bearer_token_file)] {
            if let Some(Err(error)) = file.as_ref().map(fs::metadata) {
                faults.push(unreadable(&located.place, &issuer.issuer, key, &error));
            }
        }
    }
    faults
}

fn key_set(place: &Place, issuer: &str, file: &Path) -> Option<Fault> {
    let bytes = match fs::read(file) {
        Ok(bytes) => bytes,
        Err(error) => return Some(unreadable(place, issuer, "jwks_file", &error)),
    };
    let reason = if bytes.len() > MAX_KEY_SET_BYTES {
        format!("longer than {MAX_KEY_SET_BYTES} bytes")
    } else {
        check_key_set_bytes(&bytes).err()?
    };
    Some(place.error("jwks_file", format!("jwks_file of issuer {issuer:?}: {reason}")))
}

fn unreadable(place: &Place, issuer: &str, key: &str, error: &std::io::Error) -> Fault {
    place.warning(key, format!("{key} of issuer {issuer:?} cannot be read here: {error}"))
}
