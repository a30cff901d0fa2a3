//! Exchanges whose tokens are bound: to a key by a proof (DPoP), or to the client's certificate (mutual TLS).

use std::path::Path;
use std::sync::Arc;

use http::HeaderValue;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sts_jose::dpop::{ProofClaims, ProofKey, ProofUri};
use sts_jose::{Algorithm, Clock as _, Entropy as _, SystemClock, SystemEntropy};
use sts_tests::base64url;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::exchange::{Exchanges, Subjects, forms, rounds};
use super::floor::Floor;
use crate::arguments::Plan;
use crate::load::{Endpoint, Load, Prepared};
use crate::server::{CLIENT, Certificates, Database, Server};

const ALGORITHM: Algorithm = Algorithm::Es256;
/// The name in the certificate of the server.
const HOST: &str = "localhost";

/// Measures exchanges with a proof of one key. The floor is two checks, of the subject token and of the proof, and one signature.
///
/// # Errors
/// An answer that is no token.
pub async fn with_dpop(plan: &Plan, server: &Server) -> anyhow::Result<Exchanges> {
    let (floor, key) = (Floor::of(ALGORITHM)?, ProofKey::generate()?);
    let uri = ProofUri::parse(&format!("{}/oauth2/token", server.issuer()))?;
    let load = Load::connect(&server.post("/oauth2/token"), plan.connections).await?;
    let requests = |count: usize| -> Vec<Prepared> {
        let proved = |body| Prepared { body, proof: Some(proof(&key, &uri)) };
        forms(server, ALGORITHM, Subjects::Once, count).into_iter().map(proved).collect()
    };
    rounds(plan, server, (load, requests), |operations| floor.round_with(2, operations)).await
}

fn proof(key: &ProofKey, uri: &ProofUri) -> HeaderValue {
    let mut name = [0; 16];
    SystemEntropy.fill(&mut name);
    let (jti, issued_at) = (base64url(name), SystemClock.now());
    let claims = ProofClaims { method: "POST", uri, issued_at, jti: &jti, ath: None, nonce: None };
    HeaderValue::try_from(key.prove(&claims).expect("a signature")).expect("base64url")
}

/// Measures exchanges over connections with a client certificate, which authenticates. Handshakes are not part of it.
///
/// # Errors
/// An answer that is no token.
pub async fn with_mtls(plan: &Plan, program: &Path, database_url: &str) -> anyhow::Result<Exchanges> {
    let mut parameters = CertificateParams::new(Vec::new())?;
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
    let certify = |name: &str| -> anyhow::Result<_> {
        let (key, parameters) = (KeyPair::generate()?, CertificateParams::new(vec![name.to_owned()])?);
        Ok((parameters.signed_by(&key, &authority)?, key))
    };
    let (certificate, key) = certify(HOST)?;
    let certificates = Certificates { authority: authority.pem(), server: [certificate.pem(), key.serialize_pem()] };
    let server = Server::start_over(program, Database::Postgres(database_url), &certificates).await?;

    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone())?;
    let (certificate, key) = certify(CLIENT)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions()?.with_root_certificates(roots);
    let config = config.with_client_auth_cert(vec![CertificateDer::from(certificate)], key)?;
    let tls = TlsConnector::from(Arc::new(config));

    let endpoint = Endpoint { authorization: None, ..server.post("/oauth2/token") };
    let load = Load::connect_over(&tls, ServerName::try_from(HOST)?, &endpoint, plan.connections).await?;
    let floor = Floor::of(ALGORITHM)?;
    let requests = |count: usize| -> Vec<Prepared> {
        let named = |body: bytes::Bytes| {
            let client = format!("&client_id={CLIENT}");
            Prepared::from(bytes::Bytes::from([&body[..], client.as_bytes()].concat()))
        };
        forms(&server, ALGORITHM, Subjects::Once, count).into_iter().map(named).collect()
    };
    rounds(plan, &server, (load, requests), |operations| floor.round(operations)).await
}
