//! Client certificates: tokens that are bound to them (RFC 8705), and files that are replaced.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::{Request, State};
use axum::middleware::map_request;
use axum::routing::{get, post};
use axum::serve::{IncomingStream, Listener};
use axum::{Json, Router};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use rcgen::{BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use sts_client::exchange::ServiceAccountRequest;
use sts_client::inbound::{PeerConnection, Verifier, VerifierBuilder};
use sts_client::integrations::reqwest::client;
use sts_client::test_util::{ManualClock, TestIssuer};
use sts_client::{
    BuildError, CallContext, Caller, CorrelationId, Credentials, HttpOptions, Possession, Propagator, Route, Sts,
    SystemClock, SystemEntropy,
};
use sts_jose::{Clock as _, UnverifiedToken};
use sts_tests::base64url;
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// The time after which the files of a certificate are looked at again.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

type Authority = CertifiedIssuer<'static, KeyPair>;

/// A server that asks for client certificates and demands none.
struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = PeerConnection;

    async fn accept(&mut self) -> (Self::Io, PeerConnection) {
        loop {
            let Ok((stream, address)) = self.tcp.accept().await else { continue };
            let Ok(stream) = self.acceptor.accept(stream).await else { continue };
            let peer = PeerConnection::from(address);
            let leaf = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first().cloned());
            return (stream, leaf.map_or(peer.clone(), |leaf| peer.with_certificate(&leaf)));
        }
    }

    fn local_addr(&self) -> io::Result<PeerConnection> {
        self.tcp.local_addr().map(PeerConnection::from)
    }
}

#[derive(Clone)]
struct Peer(PeerConnection);

impl Connected<IncomingStream<'_, TlsListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsListener>) -> Self {
        Self(stream.remote_addr().clone())
    }
}

/// What an agent that ends TLS itself does with each request.
async fn with_peer(ConnectInfo(Peer(peer)): ConnectInfo<Peer>, mut request: Request) -> Request {
    request.extensions_mut().insert(peer);
    request
}

fn authority() -> Authority {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A client certificate in two files.
struct Agent {
    certificate: Certificate,
    key: KeyPair,
}

impl Agent {
    fn new(authority: &Authority) -> Self {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec!["agent".to_owned()]).unwrap();
        Self { certificate: parameters.signed_by(&key, authority).unwrap(), key }
    }

    fn thumbprint(&self) -> String {
        thumbprint(self.certificate.der())
    }

    fn write(&self, directory: &Path) -> [PathBuf; 2] {
        let paths = ["agent.pem", "agent.key"].map(|name| directory.join(name));
        std::fs::write(&paths[0], self.certificate.pem()).unwrap();
        std::fs::write(&paths[1], self.key.serialize_pem()).unwrap();
        paths
    }
}

pub(super) fn thumbprint(der: &[u8]) -> String {
    base64url(::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, der))
}

/// Serves a router, which is made of its URL, under a certificate of the authority.
async fn serve(authority: &Authority, router: impl FnOnce(&str) -> Router) -> String {
    let key = KeyPair::generate().unwrap();
    let parameters = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = parameters.signed_by(&key, authority).unwrap().into();
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let clients = clients.allow_unauthenticated().build().unwrap();
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients).with_single_cert(vec![certificate], key).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", tcp.local_addr().unwrap().port());
    let router = router(&url).layer(map_request(with_peer));
    let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let service = router.into_make_service_with_connect_info::<Peer>();
    tokio::spawn(async move { axum::serve(listener, service).await });
    url
}

async fn tell(caller: Caller) -> String {
    match caller.possession() {
        Possession::Certificate { x5t_s256 } => x5t_s256.to_string(),
        other => format!("{other:?}"),
    }
}

fn verifier(idp: &TestIssuer, change: impl FnOnce(VerifierBuilder) -> VerifierBuilder) -> Verifier {
    change(Verifier::builder(["inventory"]).issuer(idp.entry())).build().unwrap()
}

/// A token of the identity provider, bound to a certificate.
pub(super) fn token(idp: &TestIssuer, cnf: &Value) -> String {
    let now = SystemClock.now().as_second();
    let mut claims = json!({ "iss": idp.issuer(), "sub": "alice", "aud": "inventory", "iat": now, "exp": now + 300 });
    if !cnf.is_null() {
        claims["cnf"] = cnf.clone();
    }
    idp.sign(&claims)
}

#[tokio::test]
async fn rfc_8705_section_3_a_token_of_a_certificate_is_good_on_its_connection_alone() {
    let (ca, idp) = (authority(), TestIssuer::new("https://login.example.com"));
    let verifier = verifier(&idp, |builder| builder);
    let url = serve(&ca, |_| Router::new().fallback(tell).layer(verifier.layer())).await;
    let (own, other) = (Agent::new(&ca), Agent::new(&ca));
    let bound = token(&idp, &json!({ "x5t#S256": own.thumbprint() }));
    let call = async |agent: Option<&Agent>, token: &str| {
        let mut options = HttpOptions::default().ca_pem(ca.pem().into_bytes());
        if let Some(agent) = agent {
            options = options.client_certificate(agent.certificate.pem().into(), agent.key.serialize_pem().into());
        }
        let answer = options.build().unwrap().get(&url).bearer_auth(token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(call(Some(&own), &bound).await, (200, own.thumbprint()));
    for (label, agent) in [("another certificate of the same authority", Some(&other)), ("none", None)] {
        let (status, answer) = call(agent, &bound).await;
        assert!(status == 401 && answer.contains("invalid_token"), "{label}: {status} {answer}");
    }
    assert_eq!(call(None, &token(&idp, &Value::Null)).await, (200, "Bearer".to_owned()));
    assert_eq!(call(Some(&own), &bound).await.0, 200);
}

#[tokio::test]
async fn rfc_9440_the_certificate_of_a_header_counts_from_a_trusted_proxy_alone() {
    let idp = TestIssuer::new("https://login.example.com");
    let verifier = verifier(&idp, |builder| builder.trusted_proxy("10.0.0.0/8").trusted_proxy("2001:db8::1"));
    let (der, other) = (b"a certificate".as_slice(), b"another".as_slice());
    let token = token(&idp, &json!({ "x5t#S256": thumbprint(der) }));
    let header = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    let reason = async |address: &str, certificates: &[&str], tls: Option<&[u8]>| {
        let mut peer = PeerConnection::new(address.parse().unwrap());
        if let Some(der) = tls {
            peer = peer.with_certificate(der);
        }
        let mut request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
        for certificate in certificates {
            request = request.header("client-cert", *certificate);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(peer);
        verifier.verify_request(&parts).await.map_or_else(|refusal| refusal.reason(), |_caller| "accepted")
    };
    let (right, wrong) = (header(der), header(other));
    for (label, address, certificates, tls, expected) in [
        ("a trusted proxy", "10.1.2.3", vec![right.as_str()], None, "accepted"),
        ("of IPv6", "2001:db8::1", vec![&right], None, "accepted"),
        ("as IPv4 in IPv6", "::ffff:10.1.2.3", vec![&right], None, "accepted"),
        ("another peer", "192.0.2.1", vec![&right], None, "bound"),
        ("another peer, with a certificate of its own", "192.0.2.1", vec![&right], Some(other), "certificate"),
        ("another peer, with the right one", "192.0.2.1", vec![&wrong], Some(der), "accepted"),
        ("a proxy that saw no certificate", "10.1.2.3", vec![], None, "bound"),
        ("the certificate of the proxy itself", "10.1.2.3", vec![], Some(der), "bound"),
        ("another certificate", "10.1.2.3", vec![&wrong], None, "certificate"),
        ("two headers", "10.1.2.3", vec![&right, &right], None, "certificate"),
        ("no byte sequence", "10.1.2.3", vec![right.trim_matches(':')], None, "certificate"),
        ("no base64", "10.1.2.3", vec![":!:"], None, "certificate"),
    ] {
        assert_eq!(reason(address, &certificates, tls).await, expected, "{label}");
    }
    // Without the address of the peer nothing is believed, and no trusted proxy means none.
    let parts =
        http::Request::get("/").header("authorization", format!("Bearer {token}")).header("client-cert", &right);
    let (parts, ()) = parts.body(()).unwrap().into_parts();
    assert_eq!(verifier.verify_request(&parts).await.unwrap_err().reason(), "bound");
}

/// Says by which certificate it is called.
async fn presented(ConnectInfo(Peer(peer)): ConnectInfo<Peer>) -> String {
    format!("{peer:?}")
}

#[tokio::test]
async fn a_client_certificate_that_was_replaced_is_presented_within_a_second() {
    let (ca, directory, clock) = (authority(), TempDir::new().unwrap(), ManualClock::new(SystemClock.now()));
    let url = serve(&ca, |_| Router::new().fallback(presented)).await;
    let (first, second) = (Agent::new(&ca), Agent::new(&ca));
    let [certificate, key] = first.write(directory.path());
    std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
    let text = format!(
        "[http]\nca_file = {:?}\nclient_certificate_file = {certificate:?}\nclient_key_file = {key:?}\n\n[[routes]]\nurl = \"{url}/\"\npass_through = true\n",
        directory.path().join("ca.pem"),
    );
    let builder = Propagator::from_toml(&text).unwrap().clock(Arc::new(clock.clone()));
    let client = client(builder.build().await.unwrap()).unwrap();
    let call = async || {
        let alice = Caller::for_test().subject("alice").build();
        let answer = client.get(format!("{url}/")).with_extension(alice).send().await.unwrap();
        answer.text().await.unwrap()
    };
    assert!(call().await.contains(&first.thumbprint()));
    // Halfway through: the certificate of the one, and the key of the other.
    std::fs::write(&certificate, second.certificate.pem()).unwrap();
    clock.advance(CHECK_INTERVAL);
    assert!(call().await.contains(&first.thumbprint()));
    std::fs::write(&key, second.key.serialize_pem()).unwrap();
    assert!(call().await.contains(&first.thumbprint()), "a call of the same second does not look at the files");
    clock.advance(CHECK_INTERVAL);
    assert!(call().await.contains(&second.thumbprint()));
    std::fs::write(&key, "no key").unwrap();
    std::fs::remove_file(&certificate).unwrap();
    clock.advance(CHECK_INTERVAL);
    assert!(call().await.contains(&second.thumbprint()));
}

/// An STS that binds tokens to the certificate of their request, or to the one that it is told.
#[derive(Clone)]
struct CertificateSts {
    issuer: TestIssuer,
    binds_to: Arc<Mutex<Option<String>>>,
    asked: Arc<Mutex<Vec<(HeaderMap, String)>>>,
    /// Holds back the answer to the next request.
    held_by: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
}

impl CertificateSts {
    fn router(url: &str) -> (Self, Router) {
        let (binds_to, asked, held_by) = (Arc::default(), Arc::default(), Arc::default());
        let sts = Self { issuer: TestIssuer::new(url), binds_to, asked, held_by };
        let metadata = json!({
            "issuer": url, "token_endpoint": format!("{url}/other"), "jwks_uri": format!("{url}/jwks"),
            "mtls_endpoint_aliases": { "token_endpoint": format!("{url}/token") },
        });
        let jwks = sts.issuer.jwks();
        let router = Router::new()
            .route("/.well-known/oauth-authorization-server", get(async || Json(metadata)))
            .route("/jwks", get(async || Json(jwks)))
            .route("/token", post(token_endpoint))
            .with_state(sts.clone());
        (sts, router)
    }
}

async fn token_endpoint(
    State(sts): State<CertificateSts>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    headers: HeaderMap,
    body: String,
) -> Json<Value> {
    sts.asked.lock().unwrap().push((headers, body.clone()));
    let held_by = sts.held_by.lock().unwrap().take();
    if let Some(held_by) = held_by {
        held_by.await.unwrap();
    }
    let (iat, iss) = (SystemClock.now().as_second(), sts.issuer.issuer());
    // The thumbprint of the peer stands between the quotation marks of its Debug.
    let presented = format!("{peer:?}").split('"').nth(1).unwrap_or_default().to_owned();
    let binding = sts.binds_to.lock().unwrap().clone().unwrap_or(presented);
    let mut claims = json!({
        "iss": iss, "sub": "coordinator", "aud": "inventory", "client_id": "coordinator", "iat": iat, "exp": iat + 200,
        "jti": "1", "txn": "t", "scope": "", "cnf": { "x5t#S256": binding },
    });
    let form: HashMap<String, String> = url::form_urlencoded::parse(body.as_bytes()).into_owned().collect();
    match form.get("subject_token") {
        Some(subject) => {
            let subject = UnverifiedToken::parse(subject).unwrap();
            claims["sub"] = subject.claims().get("sub").unwrap().clone();
            claims["sub_id"] = json!({ "format": "iss_sub", "iss": subject.claims().get("iss"), "sub": claims["sub"] });
            claims["act"] = json!({ "iss": iss, "sub": "coordinator" });
        }
        None => claims["tenant_ids"] = json!([]),
    }
    let (token, kind) = (sts.issuer.sign_access_token(&claims), "urn:ietf:params:oauth:token-type:access_token");
    Json(json!({ "access_token": token, "issued_token_type": kind, "token_type": "Bearer", "expires_in": 300 }))
}

#[tokio::test]
async fn the_client_certificate_authenticates_at_the_sts_and_tokens_are_bound_to_it() {
    let (ca, directory) = (authority(), TempDir::new().unwrap());
    let (first, second) = (Agent::new(&ca), Agent::new(&ca));
    let [certificate, key] = first.write(directory.path());
    let mut made = None;
    let url = serve(&ca, |url| {
        let (sts, router) = CertificateSts::router(url);
        made = Some(sts);
        router
    })
    .await;
    let sts = made.unwrap();
    std::fs::write(directory.path().join("ca.pem"), ca.pem()).unwrap();
    let text = format!(
        "[sts]\nissuer = \"{url}\"\nclient_id = \"coordinator\"\nca_file = {:?}\ncertificate_file = {certificate:?}\nkey_file = {key:?}",
        directory.path().join("ca.pem"),
    );
    let clock = ManualClock::new(SystemClock.now());
    let builder = Propagator::from_toml(&text).unwrap().clock(Arc::new(clock.clone()));
    let agent = builder.build().await.unwrap().sts().unwrap().clone();
    let route = Route::to("https://inventory.example/".parse().unwrap()).audience("inventory");
    let correlation_id = CorrelationId::from_text("c").unwrap();
    let ask = async || {
        agent.service_account_token(ServiceAccountRequest { route: &route, correlation_id: &correlation_id }).await
    };
    assert!(ask().await.unwrap().authorization().to_str().unwrap().starts_with("Bearer "));
    let (headers, form) = sts.asked.lock().unwrap().pop().unwrap();
    assert!(!headers.contains_key("authorization") && !headers.contains_key("dpop"));
    assert!(form.contains("client_id=coordinator") && !form.contains("client_secret"), "{form}");
    // A token of another's certificate is refused.
    *sts.binds_to.lock().unwrap() = Some(second.thumbprint());
    assert!(ask().await.unwrap_err().to_string().contains("invalid_response"));
    // Until that is the agent's own.
    second.write(directory.path());
    clock.advance(CHECK_INTERVAL);
    ask().await.unwrap();
}

/// An agent whose certificate is in files, its STS, and a target that accepts the tokens of that STS.
struct Rotating {
    sts: CertificateSts,
    propagator: Propagator,
    target: String,
    idp: TestIssuer,
    ca: Authority,
    directory: TempDir,
    clock: ManualClock,
}

impl Rotating {
    async fn start() -> Self {
        let (ca, directory) = (authority(), TempDir::new().unwrap());
        let [certificate, key] = Agent::new(&ca).write(directory.path());
        let mut made = None;
        let url = serve(&ca, |url| {
            let (sts, router) = CertificateSts::router(url);
            made = Some(sts);
            router
        })
        .await;
        let sts = made.unwrap();
        let verifier = Verifier::builder(["inventory"]).issuer(sts.issuer.sts_entry()).build().unwrap();
        let target = serve(&ca, |_| Router::new().fallback(tell).layer(verifier.layer())).await;
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, ca.pem()).unwrap();
        let text = format!(
            "[sts]\nissuer = \"{url}\"\nclient_id = \"coordinator\"\nca_file = {ca_file:?}\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n\
             [http]\nca_file = {ca_file:?}\nclient_certificate_file = {certificate:?}\nclient_key_file = {key:?}\n\
             [service_account]\nfrom = \"sts\"\n\
             [[routes]]\nurl = \"{target}/\"\naudience = \"inventory\"\nwithout_user = \"service_account\"",
        );
        let clock = ManualClock::new(SystemClock.now());
        let builder = Propagator::from_toml(&text).unwrap().clock(Arc::new(clock.clone()));
        let propagator = builder.build().await.unwrap();
        Self { sts, propagator, target, idp: TestIssuer::new("https://login.example.com"), ca, directory, clock }
    }

    /// Replaces the certificate, a second before the next call.
    fn rotate(&self) -> Agent {
        let agent = Agent::new(&self.ca);
        agent.write(self.directory.path());
        self.clock.advance(CHECK_INTERVAL);
        agent
    }

    async fn alice(&self) -> CallContext {
        let token = token(&self.idp, &Value::Null);
        let verifier = verifier(&self.idp, |builder| builder);
        CallContext::from(verifier.verify_token(&token, None).await.unwrap())
    }
}

#[tokio::test]
async fn a_cached_token_of_a_replaced_certificate_is_not_sent() {
    let world = Rotating::start().await;
    let client = client(world.propagator.clone()).unwrap();
    for context in [world.alice().await, CallContext::without_user(None, &SystemEntropy)] {
        let call = async || {
            let answer = client.get(&world.target).with_extension(context.clone()).send().await.unwrap();
            (answer.status().as_u16(), answer.text().await.unwrap(), world.sts.asked.lock().unwrap().len())
        };
        let own = world.rotate();
        let (status, possession, asked) = call().await;
        assert_eq!((status, possession), (200, own.thumbprint()));
        assert_eq!(call().await, (200, own.thumbprint(), asked), "the token is kept");
        let next = world.rotate();
        assert_eq!(call().await, (200, next.thumbprint(), asked + 1), "one exchange, and no refused call");
    }
}

#[tokio::test]
async fn a_certificate_that_is_replaced_during_a_request_does_not_refuse_its_token() {
    let world = Rotating::start().await;
    let sts = world.propagator.sts().unwrap().clone();
    let route = Route::to("https://inventory.example/".parse().unwrap()).audience("inventory");
    let correlation_id = CorrelationId::from_text("c").unwrap();
    let ask = || sts.service_account_token(ServiceAccountRequest { route: &route, correlation_id: &correlation_id });
    ask().await.unwrap();
    let (release, held) = oneshot::channel();
    *world.sts.held_by.lock().unwrap() = Some(held);
    let meanwhile = async {
        while world.sts.held_by.lock().unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        world.rotate();
        ask().await.unwrap();
        release.send(()).unwrap();
    };
    let (held, ()) = tokio::join!(ask(), meanwhile);
    held.unwrap();
}

#[test]
fn a_certificate_that_cannot_be_used_is_an_error_at_the_start() {
    let directory = TempDir::new().unwrap();
    let [certificate, key] = Agent::new(&authority()).write(directory.path());
    let builder = |credentials| Sts::builder("https://sts.example.com", "coordinator", credentials);
    let without = builder(Credentials::ClientCertificate).build().unwrap_err();
    assert!(matches!(&without, BuildError::Contradiction(what) if what.contains("sts.certificate_file")), "{without}");
    let absent = builder(Credentials::ClientCertificate).client_certificate_files("/nonexistent", &key).build();
    assert!(matches!(absent.unwrap_err(), BuildError::Http(_)));
    let swapped = builder(Credentials::ClientCertificate).client_certificate_files(&key, &certificate).build();
    assert!(matches!(swapped.unwrap_err(), BuildError::Http(_)));
    let half =
        format!("[sts]\nissuer = \"https://sts.example.com\"\nclient_id = \"a\"\ncertificate_file = {certificate:?}");
    assert!(Propagator::from_toml(&half).map(drop).unwrap_err().to_string().contains("set together"));
}
