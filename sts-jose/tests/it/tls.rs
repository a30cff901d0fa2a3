//! Keys behind a private authority.

use std::sync::Arc;

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sts_jose::{
    Algorithm, Egress, FetchError, KeyLookupError, KeySetClient, Location, ManualClock, RemoteConfig, RemoteKeySet,
    SigningKey, http_client,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::jwks;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

fn acceptor(authority: &CertifiedIssuer<'static, KeyPair>) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = parameters.signed_by(&key, authority).unwrap().into();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Serves `body` to whoever trusts `authority`; gives the URL.
async fn serve(authority: &CertifiedIssuer<'static, KeyPair>, body: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = acceptor(authority);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            // A client that does not trust the authority ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
            let _ = stream.write_all(&[head.as_bytes(), &body].concat()).await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://localhost:{port}/jwks")
}

fn keys_at(url: &str, http: KeySetClient) -> RemoteKeySet {
    RemoteKeySet::new(RemoteConfig {
        issuer: "https://localhost".to_owned(),
        location: Location::JwksUri(url.parse().unwrap()),
        http,
        bearer_token_file: None,
        allow_http: false,
        clock: Arc::new(ManualClock::new(Timestamp::UNIX_EPOCH)),
    })
}

async fn find(url: &str, ca_pem: Option<&str>, kid: &str) -> Result<(), KeyLookupError> {
    let keys = keys_at(url, http_client(ca_pem.map(str::as_bytes)).unwrap().into());
    keys.candidates(Some(kid), Algorithm::Es256).await.map(|_| ())
}

#[tokio::test]
async fn keys_behind_a_private_authority_need_its_certificate() {
    let key = SigningKey::generate(Algorithm::Es256).unwrap();
    let authority = authority();
    let url = serve(&authority, jwks(&[&key])).await;
    find(&url, Some(&authority.pem()), key.kid()).await.unwrap();
    for untrusted in [None, Some(self::authority().pem())] {
        let outcome = find(&url, untrusted.as_deref(), key.kid()).await;
        assert!(matches!(outcome, Err(KeyLookupError::Unavailable(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_changed_ca_file_is_read_again() {
    let authority = authority();
    let url = serve(&authority, jwks(&[&SigningKey::generate(Algorithm::Es256).unwrap()])).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    let keys = keys_at(&url, KeySetClient::with_ca_file(file.path(), &Egress::default()));
    let rows = [
        (String::new(), false),
        (self::authority().pem(), false),
        (format!("\n{}", authority.pem()), true),
        (format!("\n\n{}", self::authority().pem()), false),
        (authority.pem(), true),
    ];
    for (pem, trusted) in rows {
        std::fs::write(file.path(), &pem).unwrap();
        for _ in 0..2 {
            assert_eq!(keys.refresh().await.is_ok(), trusted, "{pem}");
        }
    }
    std::fs::remove_file(file.path()).unwrap();
    assert!(matches!(*keys.refresh().await.unwrap_err(), FetchError::CaFile(_)));
}

#[tokio::test]
async fn a_device_in_place_of_the_ca_file_is_an_outage() {
    let keys = keys_at("https://localhost:1/jwks", KeySetClient::with_ca_file("/dev/zero", &Egress::default()));
    let error = keys.refresh().await.unwrap_err();
    assert!(matches!(*error, FetchError::CaFile(_)), "{error:?}");
}
