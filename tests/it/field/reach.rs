//! The way to an identity provider: discovery where a document is missing, and private authorities.

use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Credentials, Fault, FormRequest, Harness, Setup, TestIssuer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

const OPENID: &str = "/.well-known/openid-configuration";
const OAUTH: &str = "/.well-known/oauth-authorization-server";

/// An issuer whose URLs are behind a private authority.
struct Private {
    idp: TestIssuer,
    authority: CertifiedIssuer<'static, KeyPair>,
    jwks_uri: String,
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

impl Private {
    /// Starts an issuer, and in front of it a listener that ends TLS.
    async fn start() -> Self {
        let (idp, authority) = (TestIssuer::start().await, authority());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let jwks_uri = format!("https://localhost:{}/jwks", listener.local_addr().unwrap().port());
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = parameters.signed_by(&key, &authority).unwrap().into();
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let acceptor = TlsAcceptor::from(Arc::new(config.with_single_cert(vec![certificate], key).unwrap()));
        let behind = idp.url().trim_start_matches("http://").to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // A client that does not trust the authority ends the handshake.
                    let Ok(mut stream) = acceptor.accept(stream).await else { return };
                    let mut plain = TcpStream::connect(behind).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut plain).await;
                });
            }
        });
        Self { idp, authority, jwks_uri }
    }
}

#[tokio::test]
async fn discovery_goes_on_after_every_answer_that_is_no_document() {
    let harness = Harness::start().await;
    for status in [200, 204, 400, 401, 403, 404, 405, 410, 500, 503] {
        let idp = TestIssuer::start().await;
        idp.fail(Fault::At(OPENID, status));
        harness.idp.fail(Fault::At(OPENID, status));
        // Its keys are new, so that they are fetched.
        harness.idp.publish(idp.jwks());
        harness.advance(31);
        let before = harness.idp.paths().len();
        let request = || harness.exchange().set("subject_token", idp.sign(&harness.user_claims()));
        request().send().await.token();
        assert_eq!(harness.idp.paths()[before..], [OPENID, OAUTH, "/jwks"], "{status}");
    }
    harness.idp.fail(Fault::Status(403));
    harness.advance(31);
    let unknown = TestIssuer::start().await;
    let request = harness.exchange().set("subject_token", unknown.sign(&harness.user_claims()));
    harness.assert_refused("no document", request, ErrorKind::Unavailable, "keys_unavailable").await;
}

/// The name of the issuer behind a private authority.
const PRIVATE: &str = "https://idp.internal.example";

/// The standard registry, and an issuer behind a private authority, which this file certifies.
fn with_private_issuer(private: &Private, ca_file: &Path) -> Setup {
    let keys = format!("jwks_uri = '{}'\nca_file = '{}'", private.jwks_uri, ca_file.display());
    Setup::default().registry(move |registry| {
        registry.add(&format!("[[issuers]]\nissuer = '{PRIVATE}'\ntenant = 'acme'\nsubject_prefix = 'p:'\n{keys}"));
    })
}

#[tokio::test]
async fn a_ca_file_is_followed_from_the_moment_that_it_appears() {
    let (private, folder) = (Private::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("ca.crt");
    let harness = with_private_issuer(&private, &file).start().await;
    let request = || {
        let mut claims = harness.user_claims();
        claims["iss"] = json!(PRIVATE);
        harness.advance(2);
        harness.exchange().set("subject_token", private.idp.sign(&claims))
    };
    let refused = async |label: &str| {
        let request = request();
        let correlation_id = request.correlation_id();
        harness.assert_refused(label, request, ErrorKind::Unavailable, "keys_unavailable").await;
        harness.events(&correlation_id).await.remove(0).detail.unwrap()
    };
    let detail = refused("no file").await;
    assert!(detail.contains("the ca file cannot be read"), "{detail}");
    std::fs::write(&file, authority().pem()).unwrap();
    refused("another authority").await;
    std::fs::write(&file, format!("\n{}", private.authority.pem())).unwrap();
    request().send().await.token();
}

#[tokio::test]
async fn the_key_set_of_an_agent_may_be_behind_a_private_authority() {
    let (private, folder) = (Private::start().await, tempfile::tempdir().unwrap());
    let file = folder.path().join("ca.crt");
    std::fs::write(&file, private.authority.pem()).unwrap();
    for (ca_file, trusted) in [(Some(&file), true), (None, false)] {
        let ca_file = ca_file.map_or_else(String::new, |file| format!(", ca_file = '{}'", file.display()));
        let auth = format!("auth = {{ jwks_uri = '{}'{ca_file} }}", private.jwks_uri);
        let setup = Setup::default().registry(move |registry| {
            registry.add(&format!("[[agents]]\nid = 'remote'\naccepts = ['web-app']\n{auth}"));
            registry.add("[[delegations]]\nactor = 'remote'\ntarget = 'inventory'\nscopes = ['stock:read']");
        });
        let harness = setup.start().await;
        let mut assertion = harness.assertion_claims();
        assertion["iss"] = json!("remote");
        assertion["sub"] = json!("remote");
        let request: FormRequest = harness.exchange_by("reporter", &harness.user_token(), "inventory");
        let request = request.authenticated(Credentials::Assertion(private.idp.sign(&assertion)));
        if trusted {
            request.send().await.token();
        } else {
            harness.assert_refused_unrecorded("without its authority", request, ErrorKind::Unavailable).await;
        }
    }
}
