//! The client certificate of a caller behind Envoy.

use serde_json::json;
use sts_client::Verifier;
use sts_client::inbound::PeerConnection;
use sts_client::test_util::TestIssuer;
use sts_tests::base64url;

use super::certificates::{thumbprint, token};

#[tokio::test]
async fn the_hash_in_the_last_element_of_envoys_header_counts_from_a_trusted_proxy_alone() {
    let idp = TestIssuer::new("https://login.example.com");
    let text = "[inbound]\naudience = [\"inventory\"]\nresource = \"https://inventory.example/\"\nissuers = []\n\
                trusted_proxies = [\"10.0.0.0/8\"]\nclient_certificate_header = \"X-Forwarded-Client-Cert\"";
    let verifier = Verifier::from_toml(text).unwrap().issuer(idp.entry()).build().unwrap();
    assert!(
        verifier.resource_metadata().unwrap().to_json().contains("\"tls_client_certificate_bound_access_tokens\":true")
    );
    let hash = |der: &[u8]| sts_jose::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der).as_ref());
    let (own, other) = (hash(b"own"), hash(b"other"));
    let token = |thumbprint: String| token(&idp, &json!({ "x5t#S256": thumbprint }));
    let (small_digits, token) = (token(base64url([0x0f; 32])), token(thumbprint(b"own")));
    let reason = async |token: &str, address: &str, header: String| {
        let request = http::Request::get("/").header("authorization", format!("Bearer {token}"));
        let request = request.header("x-forwarded-client-cert", header).header("client-cert", ":b3du:");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        parts.extensions.insert(PeerConnection::new(address.parse().unwrap()));
        verifier.verify_request(&parts).await.map_or_else(|refusal| refusal.reason(), |_caller| "accepted")
    };
    for (label, address, header, expected) in [
        ("alone", "10.1.2.3", format!("Hash={own}"), "accepted"),
        ("the last", "10.1.2.3", format!("Hash={other},By=spiffe://a;Hash={own};Subject=\"\""), "accepted"),
        ("in upper case", "10.1.2.3", format!("hash={}", own.to_uppercase()), "accepted"),
        ("not the last", "10.1.2.3", format!("Hash={own},Hash={other}"), "certificate"),
        ("within quotes", "10.1.2.3", format!("Subject=\"a,Hash={own}\";Hash={other}"), "certificate"),
        ("within quotes alone", "10.1.2.3", format!("Subject=\";Hash={own}\""), "certificate"),
        ("two", "10.1.2.3", format!("Hash={own};Hash={own}"), "certificate"),
        ("cut", "10.1.2.3", format!("Hash={}", &own[2..]), "certificate"),
        ("no hash", "10.1.2.3", "By=spiffe://a".to_owned(), "certificate"),
        ("absent", "10.1.2.3", String::new(), "bound"),
        ("another peer", "192.0.2.1", format!("Hash={own}"), "bound"),
    ] {
        assert_eq!(reason(&token, address, header).await, expected, "{label}");
    }
    for (label, hash, expected) in [
        ("whole", "0f".repeat(32), "accepted"),
        ("63 digits", "0f".repeat(31) + "f", "certificate"),
        ("a sign in the place of a digit", "+f".to_owned() + &"0f".repeat(31), "certificate"),
        ("more than a hash", "0f".repeat(33), "certificate"),
        ("no ASCII", "0f".repeat(31) + "é", "certificate"),
    ] {
        assert_eq!(reason(&small_digits, "10.1.2.3", format!("Hash={hash}")).await, expected, "{label}");
    }
    let without = text.replace("trusted_proxies = [\"10.0.0.0/8\"]", "");
    let error = Verifier::from_toml(&without).unwrap().issuer(idp.entry()).build().unwrap_err();
    assert!(error.to_string().contains("inbound.trusted_proxies"), "{error}");
}
