//! Proof of possession at the server: DPoP (RFC 9449) and client certificates (RFC 8705).

mod binding;
mod certificates;
mod nonce;
mod proofs;
mod svids;
