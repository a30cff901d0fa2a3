//! Proof of possession at the server: DPoP (RFC 9449).

mod binding;
mod nonce;
mod proofs;
