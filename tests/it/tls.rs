//! TLS of the listeners: what is served, what is refused at the start, and how a certificate is replaced while agents are connected.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use reqwest::Certificate;
use reqwest::tls::Version;
use sts_jose::{Clock as _, SystemClock};
use sts_tests::{Harness, Setup, Wire};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use crate::process::Folder;

/// The longest that a changed certificate may take to be served.
const PATIENCE: Duration = Duration::from_secs(30);

/// A private certificate authority.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    der: Vec<u8>,
}

/// A certificate chain and a key, as files.
struct Files {
    directory: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { pem: certificate.pem(), der: certificate.der().to_vec(), issuer: Issuer::new(params, key) }
    }

    /// A certificate for the loopback interface, and its key, in PEM.
    fn certify(&self) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        [params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem()]
    }

    /// As [`Self::certify`], valid from `begins` to `ends`.
    fn certify_from(&self, begins: i64, ends: i64) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        let at = |seconds: i64| rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds.unsigned_abs());
        (params.not_before, params.not_after) = (at(begins), at(ends));
        [params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem()]
    }

    /// A client that trusts this authority alone.
    fn client(&self) -> reqwest::ClientBuilder {
        let root = Certificate::from_pem(self.pem.as_bytes()).unwrap();
        reqwest::Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([root])
    }

    /// The way to a server, for a client that trusts this authority alone.
    fn wire(&self, harness: &Harness) -> Wire {
        harness.wire().over(base(harness), self.client().build().unwrap())
    }
}

impl Files {
    fn of(pair: &[String; 2]) -> Self {
        let files = Self { directory: tempfile::tempdir().unwrap() };
        files.write(pair);
        files
    }

    fn paths(&self) -> [PathBuf; 2] {
        ["tls.crt", "tls.key"].map(|name| self.directory.path().join(name))
    }

    fn write(&self, pair: &[String; 2]) {
        for (path, text) in self.paths().iter().zip(pair) {
            std::fs::write(path, text).unwrap();
        }
    }

    fn setup(&self) -> Setup {
        let [certificate, key] = self.paths().map(|path| path.display().to_string());
        Setup::default().option("TLS__CERTIFICATE_FILE", &certificate).option("TLS__PRIVATE_KEY_FILE", &key)
    }
}

fn base(harness: &Harness) -> String {
    format!("https://localhost:{}", harness.server.public().port())
}

/// Asks with a new connection each time until the authority's certificate is served.
async fn until_served(harness: &Harness, authority: &Authority) {
    let asked = async {
        loop {
            let client = authority.client().build().unwrap();
            if client.get(format!("{}/healthz", base(harness))).send().await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("the changed certificate is served");
}

#[tokio::test]
async fn the_public_listener_serves_over_tls_1_2_and_1_3() {
    let authority = Authority::new();
    let files = Files::of(&authority.certify());
    let harness = files.setup().start().await;
    for version in [Version::TLS_1_2, Version::TLS_1_3] {
        let client = authority.client().tls_version_min(version).tls_version_max(version).build().unwrap();
        let wire = harness.wire().over(base(&harness), client);
        harness.exchange().at(&wire).send().await.token();
    }
    let answer = reqwest::get(format!("http://{}/readyz", harness.server.admin())).await.unwrap();
    assert_eq!(answer.status(), 200, "the admin listener stays plain");
}

#[tokio::test]
async fn the_admin_listener_speaks_tls_where_that_is_said() {
    let authority = Authority::new();
    let files = Files::of(&authority.certify());
    let harness = files.setup().option("TLS__ADMIN", "true").start().await;
    let url = format!("https://{}/readyz", harness.server.admin());
    assert_eq!(authority.client().build().unwrap().get(url).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn the_end_of_the_served_certificate_is_a_metric_and_a_warning_of_check() {
    let authority = Authority::new();
    let now = SystemClock.now().as_second();
    let [day, year] = [86_400, 365 * 86_400];
    let files = Files::of(&authority.certify_from(now - 10 * day, now + 355 * day));
    let harness = files.setup().start().await;
    let metrics =
        reqwest::get(format!("http://{}/metrics", harness.server.admin())).await.unwrap().text().await.unwrap();
    let value = |name: &str| {
        let line = metrics.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
        line.unwrap_or_else(|| panic!("{name} is not in:\n{metrics}")).parse::<f64>().unwrap()
    };
    assert_eq!(value("sts_certificate_expires_timestamp_seconds"), (now + 355 * day) as f64);
    assert_eq!(value("sts_certificate_lifetime_seconds"), year as f64);

    let tls = "[tls]\ncertificate_file = \"tls.crt\"\nprivate_key_file = \"tls.key\"\n";
    for (begins, ends, words) in [
        (now - 10 * day, now + 355 * day, None),
        (now - day / 2, now + day / 2, None),
        (now - 355 * day, now + 10 * day, Some("tls.crt: warning: the certificate expires at 2")),
        (now - year, now - 1, Some("tls.crt: warning: the certificate expired at 2")),
        (now + day, now + year, Some("tls.crt: warning: the certificate is not valid before 2")),
    ] {
        let folder = Folder::on_sqlite("");
        let [certificate, key] = authority.certify_from(begins, ends);
        // The first certificate of the file is the server's own. The others do not count.
        let [another, _] = authority.certify_from(now - year, now - day);
        folder.write("tls.crt", &format!("{certificate}{another}"));
        folder.write("tls.key", &key);
        folder.permit("tls.key", 0o600);
        let configuration = std::fs::read_to_string(folder.path("sts.toml")).unwrap();
        folder.write("sts.toml", &format!("{configuration}{tls}"));
        let checked = folder.run(&["check"]).await;
        let lines = checked.ended_with(0);
        let told: Vec<&str> = lines.lines().filter(|line| line.starts_with("tls.crt")).collect();
        assert_eq!(told.len(), usize::from(words.is_some()), "{words:?}: {lines}");
        assert!(words.is_none_or(|words| lines.contains(words)), "{words:?}: {lines}");
    }
}

#[tokio::test]
async fn http_1_1_is_the_one_protocol_inside() {
    let authority = Authority::new();
    let files = Files::of(&authority.certify());
    let harness = files.setup().start().await;
    for (offered, is_served) in [(vec!["h2", "http/1.1"], true), (vec!["h2"], false), (vec![], true)] {
        let mut roots = RootCertStore::empty();
        roots.add(authority.der.clone().into()).unwrap();
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = config.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = offered.iter().map(|name| name.as_bytes().to_vec()).collect();
        let stream = TcpStream::connect(harness.server.public()).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let shaken = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
        assert_eq!(shaken.is_ok(), is_served, "{offered:?}");
        let agreed = shaken.ok().and_then(|stream| stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec));
        assert_eq!(agreed.is_some(), offered.len() == 2, "{offered:?}");
    }
}

#[tokio::test]
async fn a_changed_certificate_is_served_to_new_connections_and_old_ones_live_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let files = Files::of(&old.certify());
    let harness = files.setup().start().await;
    let connected = old.wire(&harness);
    harness.exchange().at(&connected).send().await.token();

    // A half-changed pair is told once, and the old one stays.
    let [certificate, key] = new.certify();
    std::fs::write(&files.paths()[0], &certificate).unwrap();
    let place = files.paths()[0].display().to_string();
    let told = || {
        let log = harness.log();
        log.lines()
            .filter(|line| line.contains("failed to load the changed certificate") && line.contains(&place))
            .count()
    };
    let is_told = async {
        while told() == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_told).await.expect("the fault is told");
    harness.exchange().at(&old.wire(&harness)).send().await.token();

    std::fs::write(&files.paths()[1], &key).unwrap();
    until_served(&harness, &new).await;
    assert_eq!(told(), 1);
    harness.exchange().at(&new.wire(&harness)).send().await.token();
    // A new connection of this client would see a certificate that it does not trust.
    harness.exchange().at(&connected).send().await.token();
    let anew = old.client().build().unwrap().get(format!("{}/healthz", base(&harness))).send().await;
    assert!(anew.is_err(), "the old certificate is gone");
}

#[tokio::test]
async fn what_cannot_be_served_is_told_by_check_and_at_the_start() {
    let authority = Authority::new();
    let [certificate, key] = authority.certify();
    let [_, other_key] = authority.certify();
    let text = |text: &str| text.to_owned();
    for (label, pair, words) in [
        ("another key", [certificate.clone(), other_key], "cannot be used with the private key in"),
        ("no key", [certificate.clone(), text("")], "failed to read a private key from"),
        ("no certificate", [text(""), key.clone()], "contains no certificate"),
        ("the key in both", [key.clone(), key.clone()], "contains no certificate"),
        ("a broken certificate", [certificate.replace("MI", "?"), key.clone()], "failed to read a certificate from"),
    ] {
        let folder = Folder::on_sqlite("");
        let [certificate, key] = pair;
        folder.write("tls.crt", &certificate);
        folder.write("tls.key", &key);
        with_tls(&folder);
        let checked = folder.run(&["check"]).await;
        assert!(checked.ended_with(1).contains(words), "{label}: {checked:?}");
        let served = folder.run(&["serve"]).await;
        served.ended_with(2);
        assert!(served.stderr.contains(words), "{label}: {served:?}");
        let secret = key.lines().nth(1).unwrap_or("nothing");
        assert!(!format!("{checked:?}{served:?}").contains(secret), "{label}: the key is shown");
    }
    let folder = Folder::on_sqlite("");
    with_tls(&folder);
    let checked = folder.run(&["check"]).await;
    assert!(checked.ended_with(1).contains("tls.crt: error: failed to read a certificate from tls.crt"), "{checked:?}");
}

fn with_tls(folder: &Folder) {
    let text = std::fs::read_to_string(folder.path("sts.toml")).unwrap();
    let tls = "[tls]\ncertificate_file = \"tls.crt\"\nprivate_key_file = \"tls.key\"\n";
    folder.write("sts.toml", &format!("{text}\n{tls}"));
    assert!(Path::new(&folder.path("sts.toml")).exists());
}

#[tokio::test]
async fn plain_http_at_the_tls_port_gets_no_answer_and_keeps_no_place() {
    let authority = Authority::new();
    let files = Files::of(&authority.certify());
    let harness = files.setup().option("LIMITS__CONNECTIONS", "1").start().await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(harness.server.public()).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        let _closed_or_reset = read.expect("the server closes the connection");
        // At most a TLS alert: a record of five bytes and two.
        assert!(bytes.len() <= 7 && !bytes.starts_with(b"HTTP"), "{bytes:?}");
    }
    harness.exchange().at(&authority.wire(&harness)).send().await.token();
}

#[tokio::test]
async fn stalled_handshakes_lose_their_places() {
    let authority = Authority::new();
    let files = Files::of(&authority.certify());
    let setup = files.setup().option("LIMITS__CONNECTIONS", "2");
    let harness = setup.option("LIMITS__HANDSHAKE_TIMEOUT", "1s").start().await;
    let mut stalled = Vec::new();
    for begun in [b"".as_slice(), b"\x16\x03\x01\x02\x00\x01", b"", b"\x16"] {
        let mut stream = TcpStream::connect(harness.server.public()).await.unwrap();
        stream.write_all(begun).await.unwrap();
        stalled.push(stream);
    }
    harness.exchange().at(&authority.wire(&harness)).send().await.token();
    for mut stream in stalled {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
        let _closed_or_reset = read.expect("the server closes the connection");
    }
}
