//! The files that entries name. A file that is missing here may exist on the server, so it causes a
//! warning only.

use std::io;
use std::path::Path;

use sts_jose::{MAX_FILE_BYTES, http_client, read_file};

use super::keys::check_key_set_bytes;
use crate::fault::Fault;
use crate::registry::located::{Entries, Place};

pub(super) fn faults(entries: &Entries) -> Vec<Fault> {
    let mut faults = Vec::new();
    for located in &entries.issuers {
        let issuer = &located.entry;
        let owner = format!("issuer {:?}", issuer.issuer);
        for (key, file) in [("jwks_file", &issuer.jwks_file), ("bundle_file", &issuer.bundle_file)] {
            if let Some(file) = file {
                faults.extend(key_set(&located.place, &owner, key, file));
            }
        }
        if let Some(file) = &issuer.ca_file {
            faults.extend(authorities(&located.place, &owner, "ca_file", file));
        }
        if let Some(file) = &issuer.jwks_bearer_token_file
            && let Err(error) = read_file(file, MAX_FILE_BYTES)
        {
            faults.push(unreadable(&located.place, &owner, "jwks_bearer_token_file", &error));
        }
    }
    for located in &entries.agents {
        let owner = format!("agent {:?}", located.entry.id);
        if let Some(file) = located.entry.auth.as_ref().and_then(|auth| auth.ca_file.as_ref()) {
            faults.extend(authorities(&located.place, &owner, "auth.ca_file", file));
        }
    }
    faults
}

fn authorities(place: &Place, owner: &str, key: &str, file: &Path) -> Option<Fault> {
    let bytes = match read_file(file, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return Some(unreadable(place, owner, key, &error)),
    };
    let reason = http_client(Some(&bytes)).err()?;
    Some(place.error(key, format!("ca_file of {owner}: {reason}")))
}

fn key_set(place: &Place, owner: &str, key: &str, file: &Path) -> Vec<Fault> {
    let bytes = match read_file(file, MAX_FILE_BYTES) {
        Ok(bytes) => bytes,
        Err(error) => return vec![unreadable(place, owner, key, &error)],
    };
    match check_key_set_bytes(&bytes) {
        Err(reason) => vec![place.error(key, format!("{key} of {owner}: {reason}"))],
        Ok(lost) => lost.iter().map(|lost| place.warning(key, format!("{key} of {owner}: {lost}"))).collect(),
    }
}

/// Returns an error if no machine could use the file, and a warning otherwise.
fn unreadable(place: &Place, owner: &str, key: &str, error: &io::Error) -> Fault {
    let name = key.rsplit('.').next().unwrap_or(key);
    match error.kind() {
        io::ErrorKind::InvalidInput => place.error(key, format!("{name} of {owner} cannot be used: {error}")),
        _ => place.warning(key, format!("{name} of {owner} cannot be read here: {error}")),
    }
}
