//! The files of a client certificate.

use std::path::PathBuf;
use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use secrecy::{ExposeSecret as _, SecretSlice};
use sts_jose::{BoundedFile, FileVersion, HttpClientError, MAX_FILE_BYTES};

/// The files of a client certificate.
#[derive(Debug, Clone)]
pub(crate) struct CertificateFiles {
    /// The certificate and its chain, in PEM.
    pub(crate) certificate: PathBuf,
    /// The private key, in PEM.
    pub(crate) key: PathBuf,
}

impl CertificateFiles {
    /// Reads the certificate and the key. Blocks on the file system.
    pub(crate) fn read(&self) -> Result<SecretSlice<u8>, HttpClientError> {
        let [(_, certificate), (_, key)] = read_now(&self.bounded())?;
        Ok(joined(certificate, key))
    }

    /// Returns the two files.
    pub(super) fn bounded(&self) -> [BoundedFile; 2] {
        [&self.certificate, &self.key].map(|path| BoundedFile::new(path, MAX_FILE_BYTES))
    }
}

/// Returns the SHA-256 thumbprint of a certificate in DER (RFC 8705 §3.1).
pub(crate) fn x5t_s256(der: &[u8]) -> Arc<str> {
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, der)).into()
}

/// Returns the first certificate of a PEM file, in DER.
pub(super) fn leaf(pem: &[u8]) -> Option<Vec<u8>> {
    let (_, rest) = std::str::from_utf8(pem).ok()?.split_once("-----BEGIN CERTIFICATE-----")?;
    let (body, _) = rest.split_once("-----END CERTIFICATE-----")?;
    STANDARD.decode(body.split_ascii_whitespace().collect::<String>()).ok()
}

/// Joins a certificate and a key to the one PEM that an identity is made of.
pub(super) fn joined(certificate: Vec<u8>, key: Vec<u8>) -> SecretSlice<u8> {
    let mut pem = certificate;
    pem.push(b'\n');
    pem.extend_from_slice(SecretSlice::from(key).expose_secret());
    pem.into()
}

/// Reads both files. Blocks on the file system.
pub(super) fn read_now(files: &[BoundedFile; 2]) -> Result<[(FileVersion, Vec<u8>); 2], HttpClientError> {
    let read = |file: &BoundedFile| file.read_now().map_err(|source| unreadable(file, source));
    let [certificate, key] = files;
    Ok([read(certificate)?, read(key)?])
}

pub(super) fn unreadable(file: &BoundedFile, source: std::io::Error) -> HttpClientError {
    HttpClientError::File { path: file.path().to_owned(), source }
}
