//! The HTTP client of an agent's own calls, as its file says.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sts_client::{BuildError, HttpOptions, Propagator};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// Serves clients that have a certificate of `authority`, under one of `authority` itself.
async fn serve(authority: &Authority) -> String {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = parameters.signed_by(&key, authority).unwrap().into();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients).with_single_cert(vec![certificate], key).unwrap();
    let (acceptor, listener) = (TlsAcceptor::from(Arc::new(config)), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            // A client that is not believed, or does not believe, ends the handshake.
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n").await;
            let _ = stream.shutdown().await;
        }
    });
    format!("https://localhost:{port}/")
}

fn written(directory: &Path, name: &str, content: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

async fn client(http: &str) -> reqwest::Client {
    let text = format!("[http]\n{http}");
    Propagator::from_toml(&text).unwrap().build().await.unwrap().http_client().unwrap()
}

#[tokio::test]
async fn the_authorities_and_the_client_certificate_are_those_of_the_file() {
    let (ours, directory) = (authority(), tempfile::tempdir().unwrap());
    let url = serve(&ours).await;
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["agent".to_owned()]).unwrap().signed_by(&key, &ours).unwrap();
    let ca = format!("ca_file = \"{}\"\n", written(directory.path(), "ca.pem", &ours.pem()));
    let certificate = written(directory.path(), "agent.pem", &certificate.pem());
    let key = written(directory.path(), "agent.key", &key.serialize_pem());
    let identity = format!("client_certificate_file = \"{certificate}\"\nclient_key_file = \"{key}\"\n");
    assert_eq!(client(&(ca.clone() + &identity)).await.get(&url).send().await.unwrap().status(), 204);
    assert!(client(&ca).await.get(&url).send().await.is_err(), "without the certificate");
    assert!(client(&identity).await.get(&url).send().await.is_err(), "without the authority");
}

/// Takes one connection, and gives what comes first on it.
async fn first_line(listener: TcpListener) -> (String, TcpStream) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(stream.read_u8().await.unwrap());
    }
    (String::from_utf8(line).unwrap(), stream)
}

#[tokio::test]
async fn calls_go_by_the_proxy_but_for_those_that_the_file_excludes() {
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = format!("http://{}/near", target.local_addr().unwrap());
    let file = format!("proxy = \"http://{}\"\nno_proxy = [\"near.test\"]", proxy.local_addr().unwrap());
    let client = client(&file).await;
    let far = tokio::spawn({
        let client = client.clone();
        async move { client.get("http://far.test/x").send().await.map(drop) }
    });
    let (line, stream) = first_line(proxy).await;
    assert_eq!(line, "GET http://far.test/x HTTP/1.1\r\n");
    drop(stream);
    let _ = far.await.unwrap();
    let near = tokio::spawn(async move { client.get(near).send().await.map(drop) });
    assert_eq!(first_line(target).await.0, "GET /near HTTP/1.1\r\n");
    near.abort();
}

#[tokio::test]
async fn a_target_that_says_nothing_is_given_up() {
    assert!(format!("{:?}", HttpOptions::default()).contains("read_timeout: Some(30s)"));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let client = HttpOptions::default().read_timeout(Duration::from_millis(50)).build().unwrap();
    let error = client.get(url).send().await.unwrap_err();
    assert!(error.is_timeout(), "{error:?}");
}

#[test]
fn options_that_cannot_be_used_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let empty = written(directory.path(), "empty.pem", "");
    let rows = [
        ("read_timeout_ms = 0".to_owned(), "read_timeout_ms must be greater than zero"),
        ("connect_timeout_ms = 0".to_owned(), "connect_timeout_ms must be greater than zero"),
        (format!("client_key_file = \"{empty}\""), "set together"),
        (format!("ca_file = \"{empty}\""), "failed to create the http client"),
        (
            format!("client_certificate_file = \"{empty}\"\nclient_key_file = \"{empty}\""),
            "failed to create the http client",
        ),
        ("ca_file = \"/nonexistent\"".to_owned(), "cannot be read"),
    ];
    for (text, expected) in rows {
        let error = Propagator::from_toml(&format!("[http]\n{text}")).map(drop).unwrap_err();
        assert!(error.to_string().contains(expected), "{text}: {error}");
        assert!(!matches!(error, BuildError::Toml(_)), "{text}");
    }
}
