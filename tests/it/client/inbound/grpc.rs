//! The layer in front of a tonic server, with a tonic client.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use serde_json::json;
use sts_client::inbound::{Issuer, VerifierBuilder};
use sts_client::net::{Transport, TransportError};
use sts_client::{Credentials, Sts};
use sts_tests::TestIssuer;
use tokio::net::TcpListener;
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::{Agent, with_header};

/// A gRPC server behind the layer of the agent, and a client of it.
async fn client(agent: &Agent) -> HealthClient<Channel> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (_reporter, service) = tonic_health::server::health_reporter();
    let server = Server::builder().layer(agent.verifier.layer()).add_service(service);
    tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
    HealthClient::new(Channel::from_shared(url).unwrap().connect().await.unwrap())
}

async fn call(client: &mut HealthClient<Channel>, headers: HeaderMap) -> Result<(), Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    client.check(request).await.map(|_response| ())
}

fn required(builder: VerifierBuilder) -> VerifierBuilder {
    builder.require_scope(sts_client::ScopeToken::new("stock:read").unwrap())
}

#[tokio::test]
async fn a_tonic_client_is_served_with_a_token_and_refused_in_the_form_of_grpc_without() {
    let agent = Agent::with(|builder, _idp| required(builder)).await;
    let mut client = client(&agent).await;
    call(&mut client, agent.request(&json!({}))).await.unwrap();
    let contradicted = with_header(agent.request(&json!({})), "x-tenant-id", "globex");
    let rows = [
        ("no token", HeaderMap::new(), Code::Unauthenticated),
        ("malformed", with_header(HeaderMap::new(), "authorization", "Bearer"), Code::Unauthenticated),
        ("expired", agent.request(&json!({ "exp": agent.now() })), Code::Unauthenticated),
        ("no scope", agent.request(&json!({ "scope": "" })), Code::PermissionDenied),
        ("another tenant", contradicted, Code::PermissionDenied),
    ];
    for (label, headers, code) in rows {
        let status = call(&mut client, headers).await.unwrap_err();
        assert_eq!(status.code(), code, "{label}: {status:?}");
        assert!(!status.message().is_empty(), "{label}");
        assert!(status.metadata().contains_key("www-authenticate"), "{label}: {status:?}");
        assert!(status.metadata().contains_key("x-correlation-id"), "{label}: {status:?}");
    }
    call(&mut client, agent.request(&json!({}))).await.unwrap();
}

/// An STS that answers every introspection with this status.
#[derive(Debug)]
struct Introspection {
    issuer: String,
    status: u16,
}

#[async_trait]
impl Transport for Introspection {
    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<http::Response<Vec<u8>>, TransportError> {
        let is_metadata = request.method() == http::Method::GET;
        let endpoint = format!("{}/introspect", self.issuer);
        let metadata = json!({ "issuer": self.issuer, "token_endpoint": endpoint, "introspection_endpoint": endpoint, "jwks_uri": format!("{}/jwks", self.issuer) });
        let (status, body) = if is_metadata { (200, metadata) } else { (self.status, json!({})) };
        Ok(http::Response::builder().status(status).body(body.to_string().into_bytes()).unwrap())
    }
}

#[tokio::test]
async fn an_outage_and_load_are_told_apart() {
    let issuer = TestIssuer::start().await;
    for (status, code) in [(500, Code::Unavailable), (429, Code::ResourceExhausted)] {
        let transport = Introspection { issuer: issuer.url().to_owned(), status };
        let sts = Sts::builder(issuer.url(), "inventory", Credentials::ClientSecret("x".into()));
        let sts = sts.attempts(1).transport(Arc::new(transport)).build().unwrap();
        let agent = Agent::with(|builder, _idp| builder.issuer(Issuer::sts(issuer.url())).introspect(sts)).await;
        let mut client = client(&agent).await;
        let claims = json!({
            "iss": issuer.url(), "act": { "sub": "coordinator", "iss": issuer.url() }, "client_id": "coordinator", "jti": "1",
            "txn": "1",
        });
        let mut header = issuer.key().header();
        header["typ"] = json!("at+jwt");
        let request = agent.bearer(&issuer.key().sign_with(&header, &agent.claims_with(&claims)));
        let refused = call(&mut client, request).await.unwrap_err();
        assert_eq!(refused.code(), code, "{status}: {refused:?}");
        assert!(refused.metadata().contains_key("retry-after"), "{refused:?}");
        call(&mut client, agent.request(&json!({}))).await.unwrap();
    }
}
