//! The strict token processing that the server and the client share.
//!
//! # What lives here
//!
//! | module | content |
//! |---|---|
//! | [`json`] | JSON parsing that refuses input which two readers could understand differently |
//! | `algorithm`, `jws`, `token` | a compact JWS, its header checks, and [`VerifiedToken`] |
//! | `readable_token` | an unverified token in readable form, for operators |
//! | `claims`, `claim_selector`, `times` | typed access to claims, and the rule about time |
//! | `verification_key`, `rsa_modulus`, `key_set`, `candidates` | public keys, and those to try |
//! | [`dpop`] | DPoP proofs: making and checking them |
//! | `encryption_key` | public keys for encrypting payloads (the encryption is elsewhere) |
//! | `certificate_authorities` | the authorities of X.509-SVIDs (their verification is elsewhere) |
//! | `trust_domain` | SPIFFE trust domains and the identities in them |
//! | `typ` | the kinds of tokens, and the slots that accept them |
//! | `issuer_name` | the `iss` values of an issuer, which may have a placeholder for the tenant |
//! | `signature_memo` | a cache of verified signatures |
//! | `signing_key` | our signing key |
//! | `key_source`, `file_key_set`, `remote` | the sources of an issuer's keys |
//! | `key_lookup` | the result of looking for a key, and the health of a source |
//! | `held_keys`, `flight` | the known keys of a source, and its pending attempt |
//! | `bounded_file` | files that a configuration names, read within limits |
//! | `http_client`, `fetch`, `fetch_error`, `egress` | HTTP clients with limits, requests for keys, proxies |
//! | `hex`, `unhex`, `canonical_json`, `error_chain` | the one text of bytes, of a JSON value, of an error with its causes |
//! | `thumbprint`, `sha256` | the one name of a public key, and the hash that it is made with |
//! | `clock`, `entropy` | time and random bytes, passed in |
//!
//! A token passes through [`UnverifiedToken::parse`], then [`KeySource::verify`]. The result is a
//! [`VerifiedToken`]. Only a signature check creates this type.
//!
//! # What must never live here
//!
//! No policy (permissions, audiences, tenants), no storage, no configuration files, no HTTP server,
//! no symmetric algorithm, no JWE. A `VerifiedToken` means "this key signed these bytes", never
//! "this is allowed".
//!
//! # Where to add the next one
//!
//! - an algorithm: its variant in `algorithm`, its key shape in `verification_key`, its key pair in
//!   `signing_key`;
//! - a source of keys: a module beside `file_key_set`, one variant of [`KeySource`];
//! - a registered claim with a dedicated type: a method of [`Claims`].

mod algorithm;
mod bounded_file;
mod candidates;
mod canonical_json;
mod certificate_authorities;
mod claim_selector;
mod claims;
mod clock;
pub mod dpop;
mod egress;
mod encryption_key;
mod entropy;
mod error_chain;
mod fetch;
mod fetch_error;
mod file_key_set;
mod flight;
mod held_keys;
mod hex;
mod http_client;
mod issuer_name;
pub mod json;
mod jws;
mod key_lookup;
mod key_set;
mod key_source;
mod readable_token;
mod remote;
mod rsa_modulus;
mod sha256;
mod signature_memo;
mod signing_key;
mod thumbprint;
mod times;
mod token;
mod trust_domain;
mod typ;
mod verification_key;

pub use algorithm::{Algorithm, UnknownAlgorithm};
pub use bounded_file::{BoundedFile, FileContent, FileVersion, MAX_FILE_BYTES, read_file, read_text_file};
pub use candidates::{Candidates, MAX_CANDIDATES};
pub use canonical_json::{canonical_json, canonical_object};
pub use certificate_authorities::CertificateAuthorities;
pub use claim_selector::{ClaimSelector, ClaimSelectors, Selected, SelectorSyntaxError};
pub use claims::{ClaimError, Claims};
pub use clock::{Clock, ManualClock, SystemClock, has_passed};
pub use egress::{Egress, EgressError};
pub use encryption_key::EncryptionKey;
pub use entropy::{Entropy, SystemEntropy};
pub use error_chain::error_chain;
pub use fetch::{KeySetClient, Location, RemoteConfig, Sender, check_url, is_loopback};
pub use fetch_error::FetchError;
pub use file_key_set::FileKeySet;
pub use flight::Flight;
pub use held_keys::MAX_KEY_AGE;
pub use hex::{hex, unhex};
pub use http_client::{
    HttpClientError, MAX_KEY_SET_BYTES, http_client, http_client_builder, http_client_via, trusting,
};
pub use issuer_name::IssuerName;
pub use json::JsonError;
pub use jws::{CompactJws, Header, MAX_TOKEN_BYTES, ParseError, Segment};
pub use key_lookup::{KeyLookupError, KeySetFaults, KeySetHealth};
pub use key_set::{KeySet, KeySetError, LostKey, MAX_KEYS};
pub use key_source::{KeySource, KeyVerifyError};
pub use readable_token::{Protection, ReadableToken};
pub use remote::RemoteKeySet;
pub use sha256::sha256_hex;
pub use signature_memo::SignatureMemo;
pub use signing_key::{SignError, SigningKey, SigningKeyError};
pub use thumbprint::thumbprint;
pub use times::{AHEAD_TOLERANCE, TimeError, Times};
pub use token::{ParkedToken, UnverifiedToken, VerifiedToken};
pub use trust_domain::TrustDomain;
pub use typ::{Slot, Typ};
pub use verification_key::{JwkError, MAX_KEY_ID_CHARS, VerificationKey, VerifyError};
