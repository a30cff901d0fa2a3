//! An agent beside the server, by `sts-client`: how it sees the STS, and who calls it.

use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use sts_client::exchange::StsBuilder;
use sts_client::inbound::Issuer;
use sts_client::{Caller, Credentials, Sts, Verifier};

use crate::Harness;

impl Harness {
    /// The STS as an agent that has a secret sees it, at the server's time.
    #[must_use]
    pub fn sts_of(&self, agent: &str) -> StsBuilder {
        Sts::builder(self.issuer(), agent, Credentials::ClientSecret(self.secret(agent).into()))
            .clock(Arc::new(self.clock.clone()))
    }

    /// Whom the agent `coordinator` believes: the issuer of the users, whose tokens are for `web-app`.
    ///
    /// # Panics
    /// When that cannot be set up.
    #[must_use]
    pub fn verifier_of_users(&self) -> Verifier {
        let users = Issuer::new(self.idp.url()).tenant_claim("org_id");
        let builder = Verifier::builder(["web-app"]).issuer(users).clock(Arc::new(self.clock.clone()));
        builder.build().expect("a verifier")
    }

    /// What the agent `coordinator` makes of a user's token.
    ///
    /// # Panics
    /// When it refuses the token.
    pub async fn user(&self, token: &str) -> Caller {
        self.verifier_of_users().verify(&bearer(token)).await.expect("a user")
    }
}

/// The headers of a request with a token.
///
/// # Panics
/// When the token cannot stand in a header.
#[must_use]
pub fn bearer(token: &str) -> HeaderMap {
    let value = HeaderValue::from_bytes(format!("Bearer {token}").as_bytes()).expect("a header");
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}
