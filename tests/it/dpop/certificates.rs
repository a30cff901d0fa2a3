//! Client certificates: who they authenticate, what is bound to them, and whose header is believed.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    SanType,
};
use serde_json::json;
use sts_server::error_kind::ErrorKind;
use sts_tests::{Answer, Credentials, FormRequest, Harness, ProofKey, Registry, Setup, Wire, base64url};
use tempfile::TempDir;
use tokio::process::Command;

const URI: &str = "spiffe://shop.example/coordinator";
const DNS: &str = "coordinator.shop.example";
const DN: &str = "CN=coordinator,O=Shop\\, Inc.,C=DE";
const PATIENCE: Duration = Duration::from_secs(30);

/// An authority of client certificates.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(super) pem: String,
    pub(super) der: Vec<u8>,
}

/// A certificate with its key.
pub(super) struct Identity {
    pub(super) pem: String,
    key: String,
    pub(super) der: Vec<u8>,
}

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "authority");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    /// An authority that this one has certified.
    pub(super) fn subordinate(&self) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "subordinate");
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let (pem, der) = (certificate.pem(), certificate.der().to_vec());
        Self { issuer: Issuer::new(params, key), pem, der }
    }

    pub(super) fn certify(&self, edit: impl FnOnce(&mut CertificateParams)) -> Identity {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.not_after = rcgen::date_time_ymd(2100, 1, 1);
        edit(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        Identity { pem: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }

    /// The certificate of the coordinator, with all its names.
    fn coordinator(&self) -> Identity {
        self.certify(|params| {
            params.subject_alt_names =
                vec![SanType::URI(URI.try_into().expect("ASCII")), SanType::DnsName(DNS.try_into().expect("ASCII"))];
            params.distinguished_name = DistinguishedName::new();
            params.distinguished_name.push(DnType::CountryName, "DE");
            params.distinguished_name.push(DnType::OrganizationName, "Shop, Inc.");
            params.distinguished_name.push(DnType::CommonName, "coordinator");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }
}

impl Identity {
    pub(super) fn thumbprint(&self) -> String {
        base64url(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &self.der))
    }
}

/// A server over TLS that takes certificates of an authority.
pub(super) struct Served {
    pub(super) harness: Harness,
    server: Authority,
    folder: TempDir,
}

impl Served {
    pub(super) async fn start(authority: &Authority, edit: impl FnOnce(&mut Registry) + Send + 'static) -> Self {
        Self::start_with(Some(authority), edit).await
    }

    /// With no authority, X.509-SVIDs alone are taken.
    pub(super) async fn start_with(
        authority: Option<&Authority>,
        edit: impl FnOnce(&mut Registry) + Send + 'static,
    ) -> Self {
        let (server, folder) = (Authority::new(), tempfile::tempdir().expect("a folder"));
        let names = vec![SanType::DnsName("localhost".try_into().expect("ASCII"))];
        let identity = server.certify(|params| params.subject_alt_names = names);
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("the folder is ours");
        write("tls.crt", &identity.pem);
        write("tls.key", &identity.key);
        let path = |name: &str| folder.path().join(name).display().to_string();
        let mut setup = Setup::default()
            .option("TLS__CERTIFICATE_FILE", &path("tls.crt"))
            .option("TLS__PRIVATE_KEY_FILE", &path("tls.key"))
            .option("TLS__CLIENT_CERTIFICATES", "optional");
        if let Some(authority) = authority {
            write("clients.crt", &authority.pem);
            setup = setup.option("TLS__CLIENT_CA_FILE", &path("clients.crt"));
        }
        Self { harness: setup.registry(edit).start().await, server, folder }
    }

    fn base(&self) -> String {
        format!("https://localhost:{}", self.harness.server.public().port())
    }

    fn client(&self, identity: Option<&Identity>) -> reqwest::Client {
        let root = reqwest::Certificate::from_pem(self.server.pem.as_bytes()).expect("a certificate");
        let mut client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([root]);
        if let Some(Identity { pem, key, .. }) = identity {
            let pem = format!("{pem}{key}");
            client = client.identity(reqwest::Identity::from_pem(pem.as_bytes()).expect("an identity"));
        }
        client.build().expect("a client")
    }

    pub(super) fn wire(&self, identity: Option<&Identity>) -> Wire {
        self.harness.wire().over(self.base(), self.client(identity))
    }

    /// An exchange of the coordinator, by its certificate alone.
    pub(super) fn exchange(&self, identity: Option<&Identity>) -> FormRequest {
        by_certificate(&self.harness).at(&self.wire(identity))
    }
}

pub(super) fn by_certificate(harness: &Harness) -> FormRequest {
    harness.exchange().authenticated(Credentials::None).set("client_id", "coordinator")
}

fn named(key: &'static str, value: &'static str) -> impl FnOnce(&mut Registry) + Send + 'static {
    move |registry| registry.agent_auth("coordinator", &format!("{key} = '{value}'"))
}

pub(super) fn assert_bound(answer: &Answer, identity: &Identity) {
    let cnf = json!({ "x5t#S256": identity.thumbprint() });
    assert_eq!(answer.claims()["cnf"], cnf);
    assert_eq!((&answer.json["token_type"], &answer.json["cnf"]), (&json!("Bearer"), &cnf));
}

#[tokio::test]
async fn rfc_8705_section_2_1_an_agent_authenticates_by_a_name_of_its_certificate() {
    let authority = Authority::new();
    let own = authority.coordinator();
    let other = authority.certify(|params| {
        params.subject_alt_names = vec![SanType::URI("spiffe://shop.example/other".try_into().expect("ASCII"))];
    });
    for (key, value) in
        [("tls_client_auth_san_uri", URI), ("tls_client_auth_san_dns", DNS), ("tls_client_auth_subject_dn", DN)]
    {
        let served = Served::start(&authority, named(key, value)).await;
        let request = served.exchange(Some(&own));
        let correlation_id = request.correlation_id();
        assert_bound(&request.send().await, &own);
        let event = &served.harness.events(&correlation_id).await[0];
        assert_eq!(event.auth_method.as_deref(), Some("tls_client_auth"), "{key}");
        let refuse = async |label: &str, request: FormRequest, reason: &str| {
            served.harness.assert_refused_and_logged(label, request, ErrorKind::Client, reason).await;
        };
        refuse("another name", served.exchange(Some(&other)), "certificate_mismatch").await;
        refuse("no certificate", served.exchange(None), "client_authentication_absent").await;
        refuse("no client_id", served.exchange(Some(&own)).without("client_id"), "client_authentication_absent").await;
        let another = served.exchange(Some(&own)).set("client_id", "inventory");
        refuse("an agent without a name", another, "certificate_not_registered").await;
        served.harness.advance(200 * 365 * 24 * 3600);
        let expired = served.exchange(Some(&own));
        assert_eq!(expired.send().await.status, 401, "{key}: expired by the server's clock");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_ends_the_handshake() {
    let authority = Authority::new();
    let served = Served::start(&authority, named("tls_client_auth_san_uri", URI)).await;
    let foreign = Authority::new().coordinator();
    assert!(served.exchange(Some(&foreign)).try_send().await.is_err());
    served.exchange(Some(&authority.coordinator())).send().await.token();
    // Other agents need no certificate.
    served
        .harness
        .exchange_by("auditor", &served.harness.user_token(), "inventory")
        .at(&served.wire(None))
        .send()
        .await
        .token();
}

#[tokio::test]
async fn changed_authorities_are_taken_up() {
    let (old, new) = (Authority::new(), Authority::new());
    let served = Served::start(&old, named("tls_client_auth_san_uri", URI)).await;
    let identity = new.coordinator();
    assert!(served.exchange(Some(&identity)).try_send().await.is_err());
    std::fs::write(served.folder.path().join("clients.crt"), &new.pem).expect("the folder is ours");
    let taken_up = async {
        while !served.exchange(Some(&identity)).try_send().await.is_ok_and(|answer| answer.status == 200) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, taken_up).await.expect("the new authority is taken up");
    assert!(served.exchange(Some(&old.coordinator())).try_send().await.is_err());
}

#[tokio::test]
async fn rfc_8705_section_3_4_the_tokens_of_an_agent_are_bound_to_its_certificate_however_it_authenticates() {
    let authority = Authority::new();
    let own = authority.coordinator();
    let served = Served::start(&authority, |registry| {
        registry.agent("coordinator", "tls_client_certificate_bound_access_tokens = true");
    })
    .await;
    let by_secret = |identity: Option<&Identity>| served.harness.exchange().at(&served.wire(identity));
    assert_bound(&by_secret(Some(&own)).send().await, &own);
    served.harness.assert_refused("none", by_secret(None), ErrorKind::Binding, "certificate_required").await;
    // Both bindings at once.
    let both = by_secret(Some(&own)).proving(&served.harness, &ProofKey::new()).send().await;
    assert_eq!(
        (&both.json["token_type"], both.claims()["cnf"].as_object().map(|cnf| cnf.len())),
        (&json!("DPoP"), Some(2))
    );
}

#[tokio::test]
async fn curl_authenticates_with_a_client_certificate() {
    let authority = Authority::new();
    let own = authority.coordinator();
    let served = Served::start(&authority, named("tls_client_auth_san_uri", URI)).await;
    let path = |name: &str| served.folder.path().join(name);
    for (name, text) in [("me.crt", &own.pem), ("me.key", &own.key), ("root.crt", &served.server.pem)] {
        std::fs::write(path(name), text).expect("the folder is ours");
    }
    let form = String::from_utf8(by_certificate(&served.harness).encoded()).expect("ASCII");
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--noproxy", "*", "--data", &form]);
    for (option, name) in [("--cacert", "root.crt"), ("--cert", "me.crt"), ("--key", "me.key")] {
        curl.arg(option).arg(path(name));
    }
    let Ok(output) = curl.arg(format!("{}/oauth2/token", served.base())).output().await else {
        sts_tests::not_checked("curl with a client certificate (curl is not installed)");
        return;
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{errors}"));
    assert_eq!(answer["cnf"]["x5t#S256"], own.thumbprint(), "{answer}");
}

#[tokio::test]
async fn metadata_lists_certificates_where_they_are_taken() {
    let authority = Authority::new();
    // Without an authority, a certificate authenticates no agent by a name of its entry.
    for authority in [Some(&authority), None] {
        let served = Served::start_with(authority, |_| {}).await;
        let url = format!("{}/.well-known/oauth-authorization-server", served.base());
        let document: serde_json::Value = serde_json::from_slice(
            &served.client(None).get(url).send().await.expect("an answer").bytes().await.expect("a body"),
        )
        .expect("JSON");
        assert_eq!(document["tls_client_certificate_bound_access_tokens"], json!(true));
        for endpoint in ["token", "introspection", "revocation"] {
            let methods = &document[format!("{endpoint}_endpoint_auth_methods_supported")];
            let is_listed = methods.as_array().expect("an array").contains(&json!("tls_client_auth"));
            assert_eq!(is_listed, authority.is_some(), "{endpoint}: {methods}");
        }
    }
    let plain = Harness::start().await.get("/.well-known/oauth-authorization-server").await.json;
    assert_eq!(plain.get("tls_client_certificate_bound_access_tokens"), None);
}

#[tokio::test]
async fn a_certificate_in_a_header_is_believed_of_trusted_proxies_alone() {
    let own = Authority::new().coordinator();
    let client_cert = format!(":{}:", STANDARD.encode(&own.der));
    let encoded = utf8_percent_encode(&own.pem, NON_ALPHANUMERIC).to_string();
    let envoy = format!("Hash=abc;Subject=\"CN=a,O=b\", By=spiffe://b;Hash=def;Cert=\"{encoded}\"");
    for (header, value) in [("Client-Cert", client_cert), ("X-Forwarded-Client-Cert", envoy)] {
        let setup = |proxies: &str| {
            Setup::default()
                .option("LISTEN__CLIENT_CERTIFICATE_HEADER", header)
                .option("LISTEN__TRUSTED_PROXIES", proxies)
                .registry(named("tls_client_auth_san_uri", URI))
        };
        let harness = setup("127.0.0.1").start().await;
        let request = || by_certificate(&harness).header(header, &value);
        assert_bound(&request().send().await, &own);
        for (label, request) in [
            ("none", by_certificate(&harness)),
            ("two", request().another_header(header, &value)),
            ("garbage", request().header(header, "x")),
            ("no certificate", request().header(header, ":AQID:")),
        ] {
            let reason = "client_authentication_absent";
            harness.assert_refused_and_logged(&format!("{header}, {label}"), request, ErrorKind::Client, reason).await;
        }
        let harness = setup("192.0.2.1").start().await;
        let request = by_certificate(&harness).header(header, &value);
        let reason = "client_authentication_absent";
        harness.assert_refused_and_logged("from another peer", request, ErrorKind::Client, reason).await;
    }
}

#[tokio::test]
async fn a_certificate_with_two_uris_is_no_svid() {
    let authority = Authority::new();
    let uri = |uri: &str| SanType::URI(uri.try_into().expect("ASCII"));
    let two = authority.certify(|params| params.subject_alt_names = vec![uri(URI), uri("spiffe://shop.example/other")]);
    let served = Served::start(&authority, named("tls_client_auth_san_uri", URI)).await;
    let request = served.exchange(Some(&two));
    served.harness.assert_refused_and_logged("two", request, ErrorKind::Client, "certificate_mismatch").await;
    served.exchange(Some(&authority.coordinator())).send().await.token();
}
