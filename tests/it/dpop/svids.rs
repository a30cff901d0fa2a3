//! X.509-SVIDs: the certificate of a workload counts by the bundle of its own trust domain alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use sts_server::error_kind::ErrorKind;
use sts_server::storage::RevocationKind;
use sts_tests::{FormRequest, Harness, Registry, Setup};
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::certificates::{Authority, Identity, Served, assert_bound, by_certificate};

const DOMAIN: &str = "spiffe://mesh.example";
const ID: &str = "spiffe://mesh.example/ns/shop/sa/a";
const OTHER_DOMAIN: &str = "spiffe://other.example";
const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";

/// The bundles of two trust domains, in files.
struct Bundles(TempDir);

impl Bundles {
    fn new(mesh: &Authority, other: &Authority) -> Self {
        let bundles = Self(tempfile::tempdir().expect("a folder"));
        bundles.write("mesh", &[mesh], &[]);
        bundles.write("other", &[other], &[]);
        bundles
    }

    /// Replaces a bundle.
    fn write(&self, name: &str, authorities: &[&Authority], more: &[Value]) {
        let of = |authority: &&Authority| json!({ "use": "x509-svid", "kty": "EC", "x5c": [STANDARD.encode(&authority.der)] });
        let keys: Vec<Value> = authorities.iter().map(of).chain(more.iter().cloned()).collect();
        let bundle = json!({ "keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": 60 });
        std::fs::write(self.0.path().join(name), bundle.to_string()).expect("the folder is ours");
    }

    /// The trust domains, and the agent `svid`: a workload of the first.
    fn registry(&self, more: &'static str) -> impl FnOnce(&mut Registry) + Send + 'static {
        let [mesh, other] = ["mesh", "other"].map(|name| self.0.path().join(name).display().to_string());
        move |registry| {
            registry.add(&format!(
                "[[issuers]]\nissuer = '{DOMAIN}'\nbundle_file = '{mesh}'\n\
                 [[issuers]]\nissuer = '{OTHER_DOMAIN}'\nbundle_file = '{other}'\n\
                 [[agents]]\nid = 'svid'\naccepts = ['web-app']\n{more}\n\
                 auth = {{ workload = [{{ issuer = '{DOMAIN}', subject = '{ID}' }}] }}\n\
                 [[delegations]]\nactor = 'svid'\ntarget = 'inventory'\nscopes = ['stock:read']"
            ));
        }
    }
}

fn uri(id: &str) -> SanType {
    SanType::URI(id.try_into().expect("ASCII"))
}

fn svid(authority: &Authority, id: &str) -> Identity {
    authority.certify(|params| params.subject_alt_names = vec![uri(id)])
}

/// A mesh with a workload, beside the authority of other certificates.
struct Mesh {
    served: Served,
    authority: Authority,
    other: Authority,
    configured: Authority,
    bundles: Bundles,
}

impl Mesh {
    async fn start(more: &'static str) -> Self {
        let [authority, other, configured] = [(); 3].map(|()| Authority::new());
        let bundles = Bundles::new(&authority, &other);
        let served = Served::start(&configured, bundles.registry(more)).await;
        Self { served, authority, other, configured, bundles }
    }

    fn exchange(&self, identity: &Identity) -> FormRequest {
        self.served.exchange(Some(identity)).set("client_id", "svid")
    }

    async fn refused(&self, label: &str, identity: &Identity, reason: &str) {
        let request = self.exchange(identity);
        self.served.harness.assert_refused_and_logged(label, request, ErrorKind::Client, reason).await;
    }

    /// An exchange by a JWT-SVID of the same workload.
    fn by_jwt_svid(&self, identity: Option<&Identity>) -> FormRequest {
        let harness = &self.served.harness;
        let key = harness.cluster.key();
        let mut jwk = key.jwk();
        jwk["use"] = json!("jwt-svid");
        self.bundles.write("mesh", &[&self.authority], &[jwk]);
        harness.advance(2);
        let mut claims = harness.workload_claims();
        claims["sub"] = json!(ID);
        claims.as_object_mut().expect("claims").remove("iss");
        let request = self.served.exchange(identity).without("client_id");
        request.set("client_assertion_type", JWT_SPIFFE).set("client_assertion", key.sign(&claims))
    }
}

#[tokio::test]
async fn an_x509_svid_authenticates_its_agent_by_either_name_and_its_tokens_are_bound() {
    let mesh = Mesh::start("").await;
    let own = svid(&mesh.authority, ID);
    for client_id in ["svid", ID] {
        let request = mesh.exchange(&own).set("client_id", client_id);
        let correlation_id = request.correlation_id();
        let answer = request.send().await;
        assert_bound(&answer, &own);
        assert_eq!((&answer.claims()["act"]["sub"], &answer.claims()["client_id"]), (&json!("svid"), &json!("svid")));
        let event = &mesh.served.harness.events(&correlation_id).await[0];
        assert_eq!(event.auth_method.as_deref(), Some("spiffe_x509"), "{client_id}");
    }
}

#[tokio::test]
async fn x509_svids_need_no_file_of_authorities_and_without_one_no_other_certificate_is_taken() {
    let [authority, other] = [(); 2].map(|()| Authority::new());
    let bundles = Bundles::new(&authority, &other);
    let served = Served::start_with(None, bundles.registry("")).await;
    let exchange = |identity: Option<&Identity>| served.exchange(identity).set("client_id", "svid");
    let own = svid(&authority, ID);
    assert_bound(&exchange(Some(&own)).send().await, &own);
    assert!(exchange(Some(&svid(&authority, "https://mesh.example/a"))).try_send().await.is_err());
    assert_eq!(exchange(None).send().await.status, 401, "a client without a certificate is served");
}

#[tokio::test]
async fn an_x509_svid_of_another_authority_or_of_another_workload_is_refused() {
    let mesh = Mesh::start("").await;
    let signs_others = mesh.authority.certify(|params: &mut CertificateParams| {
        params.subject_alt_names = vec![uri(ID)];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign];
    });
    let an_authority = mesh.authority.certify(|params: &mut CertificateParams| {
        params.subject_alt_names = vec![uri(ID)];
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    for (label, identity, reason) in [
        ("the authority of another trust domain", svid(&mesh.other, ID), "certificate_untrusted"),
        ("the authority of tls.client_ca_file", svid(&mesh.configured, ID), "certificate_untrusted"),
        ("an authority of no one", svid(&Authority::new(), ID), "certificate_untrusted"),
        ("a leaf that may sign", signs_others, "certificate_untrusted"),
        ("an authority", an_authority, "certificate_untrusted"),
        ("no agent", svid(&mesh.authority, "spiffe://mesh.example/b"), "workload_subject_unknown"),
        ("another domain", svid(&mesh.other, "spiffe://other.example/ns/shop/sa/a"), "workload_subject_unknown"),
    ] {
        mesh.refused(label, &identity, reason).await;
    }
    for (label, identity) in [
        ("a domain that is not registered", svid(&mesh.authority, "spiffe://unknown.example/a")),
        (
            "two URIs",
            mesh.authority.certify(|params| params.subject_alt_names = vec![uri(ID), uri("https://a.example/")]),
        ),
        ("no SPIFFE ID", svid(&mesh.authority, "https://a.example/")),
        ("a domain without a path", svid(&mesh.authority, DOMAIN)),
    ] {
        assert!(mesh.exchange(&identity).try_send().await.is_err(), "{label}: the handshake ends");
    }
    let (harness, own) = (&mesh.served.harness, svid(&mesh.authority, ID));
    let none = mesh.exchange(&own).without("client_id");
    harness.assert_refused_and_logged("no id", none, ErrorKind::Client, "client_authentication_absent").await;
    for client_id in ["spiffe://mesh.example/b", "coordinator"] {
        let another = mesh.exchange(&own).set("client_id", client_id);
        harness.assert_refused_and_logged(client_id, another, ErrorKind::Request, "client_id_mismatch").await;
    }
    mesh.exchange(&own).send().await.token();
    harness.advance(200 * 365 * 24 * 3600);
    mesh.refused("expired by the server's clock", &own, "certificate_not_valid").await;
}

#[tokio::test]
async fn the_authorities_of_a_bundle_are_followed() {
    let mesh = Mesh::start("").await;
    let (old, next) = (svid(&mesh.authority, ID), Authority::new());
    let new = svid(&next, ID);
    mesh.exchange(&old).send().await.token();
    mesh.refused("not yet in the bundle", &new, "certificate_untrusted").await;
    mesh.bundles.write("mesh", &[&mesh.authority, &next], &[]);
    mesh.served.harness.advance(2);
    mesh.exchange(&new).send().await.token();
    mesh.bundles.write("mesh", &[&next], &[]);
    mesh.served.harness.advance(2);
    mesh.exchange(&new).send().await.token();
    mesh.refused("no longer in the bundle", &old, "certificate_untrusted").await;
    mesh.bundles.write("mesh", &[], &[]);
    mesh.served.harness.advance(2);
    mesh.refused("an empty bundle", &new, "workload_keys_unusable").await;
}

/// Serves a bundle. Returns its URL, and the number of requests for it.
async fn serve_bundle(bundle: impl Fn() -> String + Clone + Send + Sync + 'static) -> (String, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let router = Router::new().fallback(async move || {
        counted.fetch_add(1, Ordering::SeqCst);
        bundle()
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/bundle", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (url, asked)
}

#[tokio::test]
async fn only_a_certificate_of_an_unknown_authority_causes_another_fetch_of_the_bundle() {
    let [authority, next, configured] = [(); 3].map(|()| Authority::new());
    let bundles = Bundles::new(&authority, &authority);
    let path = bundles.0.path().join("mesh");
    let (url, asked) = serve_bundle(move || std::fs::read_to_string(&path).expect("a bundle")).await;
    let registry = bundles.registry("");
    let served = Served::start(&configured, move |entries| {
        registry(entries);
        entries.issuer_without(DOMAIN, &["bundle_file"]);
        entries.issuer(DOMAIN, &format!("bundle_uri = '{url}'"));
    })
    .await;
    let exchange = |identity: &Identity| served.exchange(Some(identity)).set("client_id", "svid");
    exchange(&svid(&authority, ID)).send().await.token();
    let expired = authority.certify(|params| {
        params.subject_alt_names = vec![uri(ID)];
        params.not_after = rcgen::date_time_ymd(2020, 1, 1);
    });
    let of_a_server = authority.certify(|params| {
        params.subject_alt_names = vec![uri(ID)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let before = asked.load(Ordering::SeqCst);
    for (label, identity, reason) in [
        ("expired", &expired, "certificate_not_valid"),
        ("a certificate of a server", &of_a_server, "certificate_untrusted"),
    ] {
        served.harness.assert_refused_and_logged(label, exchange(identity), ErrorKind::Client, reason).await;
        assert_eq!(asked.load(Ordering::SeqCst), before, "{label}");
    }
    bundles.write("mesh", &[&authority, &next], &[]);
    exchange(&svid(&next, ID)).send().await.token();
    assert_eq!(asked.load(Ordering::SeqCst), before + 1);
}

/// A certificate below a chain of authorities, which it presents: the nearest comes first.
fn below(authority: &Authority, length: usize) -> (Identity, Vec<Authority>) {
    let mut chain: Vec<Authority> = Vec::new();
    for _ in 0..length {
        chain.push(chain.last().unwrap_or(authority).subordinate());
    }
    let mut leaf = svid(chain.last().unwrap_or(authority), ID);
    chain.reverse();
    leaf.pem.extend(chain.iter().map(|authority| authority.pem.as_str()));
    (leaf, chain)
}

#[tokio::test]
async fn a_chain_of_more_than_four_intermediate_certificates_ends_the_handshake() {
    let mesh = Mesh::start("").await;
    let (longest, _) = below(&mesh.authority, 4);
    assert_bound(&mesh.exchange(&longest).send().await, &longest);
    for authority in [&mesh.authority, &Authority::new(), &mesh.configured] {
        let (too_long, _) = below(authority, 5);
        assert!(mesh.exchange(&too_long).try_send().await.is_err());
    }
}

#[tokio::test]
async fn an_unreadable_bundle_is_an_outage_and_no_refusal() {
    let [authority, configured] = [(); 2].map(|()| Authority::new());
    let bundles = Bundles::new(&authority, &authority);
    std::fs::write(bundles.0.path().join("mesh"), "no bundle").expect("the folder is ours");
    let served = Served::start(&configured, bundles.registry("")).await;
    let request = served.exchange(Some(&svid(&authority, ID))).set("client_id", "svid");
    served.harness.assert_refused_and_logged("unreadable", request, ErrorKind::Unavailable, "keys_unavailable").await;
}

#[tokio::test]
async fn a_jwt_svid_authenticates_the_same_agent_and_binds_to_the_svid_of_the_connection() {
    let mesh = Mesh::start("").await;
    let own = svid(&mesh.authority, ID);
    for request in [mesh.by_jwt_svid(None), mesh.by_jwt_svid(Some(&own)).set("client_id", ID)] {
        let claims = request.send().await.claims();
        assert_eq!((&claims["act"]["sub"], claims.get("cnf")), (&json!("svid"), None));
    }
    mesh.exchange(&own).send().await.token();

    let mesh = Mesh::start("tls_client_certificate_bound_access_tokens = true").await;
    let own = svid(&mesh.authority, ID);
    assert_bound(&mesh.by_jwt_svid(Some(&own)).send().await, &own);
    let foreign = mesh.by_jwt_svid(Some(&svid(&mesh.other, ID)));
    mesh.served.harness.assert_refused("foreign", foreign, ErrorKind::Binding, "certificate_required").await;
}

#[tokio::test]
async fn a_disabled_agent_or_trust_domain_accepts_no_svid() {
    let [authority, configured] = [(); 2].map(|()| Authority::new());
    for (is_agent, reason) in [(true, "workload_agent_disabled"), (false, "workload_issuer_disabled")] {
        let bundles = Bundles::new(&authority, &authority);
        let registry = bundles.registry(if is_agent { "disabled = true" } else { "" });
        let served = Served::start(&configured, move |entries| {
            registry(entries);
            if !is_agent {
                entries.issuer(DOMAIN, "disabled = true");
            }
        })
        .await;
        let request = served.exchange(Some(&svid(&authority, ID))).set("client_id", "svid");
        served.harness.assert_refused_and_logged("disabled", request, ErrorKind::Client, reason).await;
    }
}

#[tokio::test]
async fn a_revocation_of_an_svid_its_workload_or_its_agent_stops_it() {
    for (kind, issuer, value) in [
        (RevocationKind::Subject, Some(DOMAIN), Some(ID)),
        (RevocationKind::Agent, None, Some("svid")),
        (RevocationKind::Token, Some(DOMAIN), None),
    ] {
        let mesh = Mesh::start("").await;
        let own = svid(&mesh.authority, ID);
        mesh.served.harness.block(kind, issuer, value.unwrap_or(&own.thumbprint())).await;
        mesh.served.harness.refresh().await;
        let answer = mesh.exchange(&own).send().await;
        assert_eq!(answer.status, 401, "{kind:?}: {}", answer.json);
    }
}

#[tokio::test]
async fn an_svid_that_a_trusted_proxy_passes_on_is_verified_against_its_bundle_too() {
    let [authority, other] = [(); 2].map(|()| Authority::new());
    let bundles = Bundles::new(&authority, &other);
    let setup = Setup::default()
        .option("LISTEN__CLIENT_CERTIFICATE_HEADER", "Client-Cert")
        .option("LISTEN__TRUSTED_PROXIES", "127.0.0.1");
    let harness: Harness = setup.registry(bundles.registry("")).start().await;
    let intermediate = authority.subordinate();
    let header = |der: &[u8]| format!(":{}:", STANDARD.encode(der));
    let request = |identity: &Identity| {
        by_certificate(&harness).set("client_id", "svid").header("Client-Cert", header(&identity.der))
    };
    let (own, below_one) = (svid(&authority, ID), svid(&intermediate, ID));
    assert_bound(&request(&own).send().await, &own);
    assert_bound(&request(&below_one).header("Client-Cert-Chain", header(&intermediate.der)).send().await, &below_one);
    for (label, request) in [
        ("another authority", request(&svid(&other, ID))),
        ("without its intermediate certificate", request(&below_one)),
        ("with another", request(&below_one).header("Client-Cert-Chain", header(&other.der))),
    ] {
        harness.assert_refused_and_logged(label, request, ErrorKind::Client, "certificate_untrusted").await;
    }
    let with_chain = |length| {
        let (leaf, chain) = below(&authority, length);
        let chain: Vec<String> = chain.iter().map(|authority| header(&authority.der)).collect();
        (request(&leaf).header("Client-Cert-Chain", chain.join(", ")), leaf)
    };
    let (longest, leaf) = with_chain(4);
    assert_bound(&longest.send().await, &leaf);
    let (too_long, _) = with_chain(5);
    harness.assert_refused_and_logged("five", too_long, ErrorKind::Client, "client_authentication_absent").await;
}
