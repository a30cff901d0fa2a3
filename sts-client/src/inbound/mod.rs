//! Verification of inbound tokens.
//!
//! What lives here: from the headers of a request to a [`Caller`] or a [`Refusal`]. `builder` and `issuer` set a
//! [`Verifier`] up; `headers` reads a request; `binding` checks that the caller holds the keys of a bound token, with `dpop`, `nonces` and `certificate`; `introspected` asks the STS; `tickets` marks what the layer has verified; `own` reads the tokens of an STS, `outside` those of all other issuers; `tenant` settles
//! for which tenant the call is; `subject_prefixes` keeps the names of issuers apart; `why` is the causes of refusals, `refusal` is the only place that makes statuses and bodies, `grpc` puts them into the form of gRPC, and `refusal_log` says to the operator why; `metadata` says who is believed (RFC 9728);
//! `layer` guards a tower service. What must never: what an agent then does for a caller, and any call to others but for keys and
//! introspection. Another kind of token is a file beside `own` and an arm in [`Verifier::verify`].

mod binding;
mod builder;
mod certificate;
mod dpop;
#[cfg(feature = "tower")]
mod grpc;
mod headers;
mod introspected;
mod issuer;
#[cfg(feature = "tower")]
mod layer;
mod metadata;
mod nonces;
mod outside;
mod own;
mod refusal;
mod refusal_log;
mod requirements;
mod subject_prefixes;
mod tenant;
mod tickets;
mod trusted_issuer;
mod values;
mod why;

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use sts_jose::{
    Claims, Clock, Entropy, IssuerName, KeyLookupError, KeyVerifyError, TrustDomain, UnverifiedToken, VerifiedToken,
};
use sts_protocol::{Scope, Tenant};
use tracing::Instrument as _;

pub use builder::VerifierBuilder;
pub use certificate::{ClientCertificateHeader, PeerConnection};
pub(crate) use issuer::Keys;
pub use issuer::{Issuer, Selectors};
#[cfg(feature = "tower")]
pub use layer::{VerifierLayer, VerifierService};
pub use metadata::ResourceMetadata;
pub use refusal::Refusal;

use self::binding::{Bindings, Held};
use self::introspected::Introspected;
use self::metadata::ProtectedResource;
use self::refusal_log::{RefusalLog, Wanted};
use self::subject_prefixes::SubjectPrefixes;
use self::tenant::Tenants;
use self::tickets::{TICKET, Tickets};
use self::trusted_issuer::{Reading, TrustedIssuer};
use self::why::Why;
use crate::call::{Caller, Challenges, CorrelationId, PropagatedHeaders, Scheme, Verified};
use crate::dedup::CallerKey;
use crate::events::{Boundary, BoundaryOutcome, Event, EventSinks, EventSubject, Guard, Reference};

/// Verifies the tokens of inbound requests. Cloning is cheap and shares the key sets.
///
/// ```
/// use sts_client::inbound::{Issuer, Verifier};
///
/// let verifier = Verifier::builder(["inventory-agent"])
///     .issuer(Issuer::sts("https://sts.example.com"))
///     .issuer(Issuer::new("https://login.example.com").tenant_claim("org_id"))
///     .build()?;
/// # Ok::<(), sts_client::BuildError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Verifier(Arc<VerifierInner>);

#[derive(Debug)]
struct VerifierInner {
    audiences: Vec<String>,
    issuers: HashMap<String, TrustedIssuer>,
    /// All names of the issuers in their order, each with the name of the entry.
    names: Vec<(IssuerName, String)>,
    prefixes: SubjectPrefixes,
    required: Scope,
    resource: Option<ProtectedResource>,
    introspection: Option<Introspected>,
    bindings: Bindings,
    challenges: Arc<Challenges>,
    tickets: Tickets,
    log: RefusalLog,
    sinks: EventSinks,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// The claims of a verified token that describe the caller.
struct Named {
    sub: String,
    subject: sts_protocol::SubjectId,
    act: Option<sts_protocol::Act>,
    tenants: Tenants,
    scope: Scope,
    roles: Vec<String>,
    txn: Option<String>,
}

/// The form in which a token was presented.
#[derive(Clone, Copy)]
enum Presented<'a> {
    Request(&'a Parts),
    Headers(&'a HeaderMap),
    Alone { token: &'a str, tenant: Option<&'a Tenant> },
}

impl<'a> Presented<'a> {
    fn headers(self) -> Option<&'a HeaderMap> {
        match self {
            Self::Request(request) => Some(&request.headers),
            Self::Headers(headers) => Some(headers),
            Self::Alone { .. } => None,
        }
    }

    fn token(self) -> Result<(Scheme, &'a str), Why> {
        match self {
            Self::Request(Parts { headers, .. }) | Self::Headers(headers) => headers::token(headers),
            Self::Alone { token, .. } => Ok((Scheme::Bearer, token)),
        }
    }

    /// Returns the request, whose method and URL a proof must name.
    fn request(self) -> Option<&'a Parts> {
        match self {
            Self::Request(request) => Some(request),
            Self::Headers(_) | Self::Alone { .. } => None,
        }
    }

    /// Returns the header value that marks a request which the layer has already verified.
    fn ticket(self) -> Option<&'a HeaderValue> {
        self.headers()?.get(TICKET)
    }

    /// Returns the tenant that the caller names.
    fn tenant(self) -> Result<Option<Tenant>, Why> {
        match self {
            Self::Request(Parts { headers, .. }) | Self::Headers(headers) => headers::tenant(headers),
            Self::Alone { tenant, .. } => Ok(tenant.cloned()),
        }
    }
}

impl Verifier {
    /// Returns the builder of a verifier that accepts tokens with one of these `aud` values.
    ///
    /// ```
    /// # use sts_client::{Verifier, inbound::Issuer};
    /// let builder = Verifier::builder(["inventory-agent"]).issuer(Issuer::sts("https://sts.example.com"));
    /// ```
    pub fn builder<A: Into<String>>(audiences: impl IntoIterator<Item = A>) -> VerifierBuilder {
        VerifierBuilder::new(audiences.into_iter().map(Into::into).collect())
    }

    /// Verifies the single bearer token of a request. Refuses the request if `X-Tenant-ID` names a
    /// tenant that the caller may not use.
    ///
    /// A bound token needs more of the request than its headers: use [`Self::verify_request`]. The
    /// headers of a request that [`Self::layer`] has just verified are accepted.
    ///
    /// Costs a public-key operation, a fetch of keys if they are not cached, and a request to the
    /// STS if the verifier introspects.
    ///
    /// ```
    /// # use sts_client::{Verifier, http::HeaderMap};
    /// async fn name(verifier: &Verifier, headers: &HeaderMap) -> Option<String> {
    ///     match verifier.verify(headers).await {
    ///         Ok(caller) => Some(caller.subject().sub.clone()),
    ///         Err(refusal) => {
    ///             println!("refused: {}", refusal.reason());
    ///             None
    ///         }
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn verify(&self, headers: &HeaderMap) -> Result<Caller, Refusal> {
        self.verify_presented(Presented::Headers(headers), self.propagated(headers)).await
    }

    /// Verifies the single token of a request, and for a bound token that the caller holds its key: by
    /// the proof in the header `DPoP` (RFC 9449 §7), or by the client certificate of the
    /// [`PeerConnection`] in the extensions (RFC 8705 §3). Does all that [`Self::verify`] does, and
    /// spends the proof in the deduplication store.
    ///
    /// The path of the request must be what follows the public URL of the agent
    /// ([`VerifierBuilder::public_url`]).
    ///
    /// ```
    /// # use sts_client::{Verifier, http::request::Parts};
    /// async fn name(verifier: &Verifier, request: &Parts) -> Option<String> {
    ///     Some(verifier.verify_request(request).await.ok()?.subject().sub.clone())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn verify_request(&self, request: &Parts) -> Result<Caller, Refusal> {
        self.verify_presented(Presented::Request(request), self.propagated(&request.headers)).await
    }

    /// Verifies a token that arrived without HTTP headers, for example in a queue message or in the
    /// first frame of a websocket. Costs the same as [`Self::verify`].
    ///
    /// `tenant` is the tenant that the sender names, like `X-Tenant-ID` in a request. A service
    /// account needs it; the token of a user already contains the tenant. The caller has a new
    /// correlation id;
    /// [`CallContext::with_correlation_id`](crate::CallContext::with_correlation_id) replaces it
    /// with the id of the message.
    ///
    /// A token expires within minutes: a message that waited longer in its queue is refused.
    ///
    /// ```
    /// use sts_client::inbound::{Refusal, Verifier};
    /// use sts_client::{CallContext, CorrelationId};
    ///
    /// struct Message {
    ///     token: String,
    ///     correlation_id: String,
    /// }
    ///
    /// async fn consume(verifier: &Verifier, message: &Message) -> Result<(), Refusal> {
    ///     let caller = verifier.verify_token(&message.token, None).await?;
    ///     let mut context = CallContext::from(&caller);
    ///     if let Some(id) = CorrelationId::from_text(&message.correlation_id) {
    ///         context = context.with_correlation_id(id);
    ///     }
    ///     context.scope(async { /* outbound calls are made on behalf of the caller */ }).await;
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`Refusal`].
    pub async fn verify_token(&self, token: &str, tenant: Option<&Tenant>) -> Result<Caller, Refusal> {
        self.verify_presented(Presented::Alone { token, tenant }, self.propagated(&HeaderMap::new())).await
    }

    /// Returns the headers that a request carries onward. They do not depend on its token.
    fn propagated(&self, headers: &HeaderMap) -> PropagatedHeaders {
        PropagatedHeaders::from_headers(headers, self.0.entropy.as_ref())
    }

    async fn verify_presented(
        &self,
        presented: Presented<'_>,
        propagated: PropagatedHeaders,
    ) -> Result<Caller, Refusal> {
        let correlation_id = propagated.correlation_id().clone();
        let span = tracing::info_span!("sts_client.verify", %correlation_id);
        let verified = self.check(presented, propagated).instrument(span).await;
        let outcome = verified.as_ref().map_or_else(Why::reason, |_caller| "verified");
        metrics::counter!("sts_client_inbound_total", "outcome" => outcome).increment(1);
        self.emit(&verified, &correlation_id);
        verified.map_err(|why| {
            let wanted = || Wanted {
                issuers: self.0.issuers.keys().map(String::as_str).collect(),
                audiences: &self.0.audiences,
            };
            let presented = presented.token().ok();
            let refused = (&why, presented.map(|(_, token)| token));
            self.0.log.write(refused, wanted, &correlation_id, self.0.clock.now());
            let scheme = presented.map_or(Scheme::Bearer, |(scheme, _)| scheme);
            Refusal::new(why, Arc::clone(&self.0.challenges), scheme)
        })
    }

    async fn check(&self, presented: Presented<'_>, propagated: PropagatedHeaders) -> Result<Caller, Why> {
        let (scheme, text) = presented.token()?;
        if scheme == Scheme::Dpop && self.0.bindings.dpop.is_none() {
            return Err(Why::OtherScheme);
        }
        let (issuer, token) = self.believe(text).await?;
        let claims = token.claims();
        if !issuer.allows_typ(token.header().typ.as_deref()) {
            return Err(Why::Typ);
        }
        let now = self.0.clock.now();
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest::digest(&digest::SHA256, text.as_bytes()).as_ref());
        let known = self.0.tickets.find(presented.ticket(), &sha256, now);
        let is_known = known.is_some();
        let Held { possession, proof } = match known {
            Some(possession) => Held { possession, proof: None },
            None => self.0.bindings.check((scheme, text), claims, presented.request(), now)?,
        };
        let is_own = |aud: &str| self.0.audiences.iter().any(|own| own == aud);
        if !issuer.audience_claim.address(claims, is_own)? {
            return Err(Why::Audience);
        }
        let times = claims.times(now).map_err(Why::Time)?;
        let iss = issuer.principal_iss(claims.string("iss")?.unwrap_or_default(), claims)?;
        // A principal of an issuer with an entry of its own comes by that entry alone.
        if self.exact(&iss).is_some_and(|other| other.issuer != issuer.issuer) {
            return Err(Why::IssuerUnknown);
        }
        let named = match &issuer.reading {
            Reading::Sts => own::read(claims)?,
            Reading::Outside(outside) => {
                outside.check_age(&times, now)?;
                let named = outside.read(&iss, claims, |iss| self.is_sts(iss))?;
                if self.0.prefixes.are_of_another(&issuer.issuer, &named.sub) {
                    return Err(Why::Sub);
                }
                named
            }
        };
        let kind = named.tenants.kind();
        let tenant = named.tenants.settle(presented.tenant()?)?;
        if !self.0.required.is_subset(&named.scope) {
            return Err(Why::ScopeMissing(self.0.required.clone()));
        }
        let introspection = self.0.introspection.as_ref().filter(|sts| sts.issuer() == issuer.issuer);
        if let Some(introspection) = introspection.filter(|_| !is_known) {
            introspection.check(text, propagated.correlation_id()).await?;
        }
        if let (Some(dpop), Some(proof)) = (&self.0.bindings.dpop, proof) {
            dpop.spend(&proof, CallerKey::new([iss.as_str(), named.sub.as_str(), proof.jkt()])).await?;
        }
        Ok(Caller::new(Verified {
            token: text.into(),
            digest: sha256,
            kind,
            issuer: iss,
            sub: named.sub,
            subject: named.subject,
            act: named.act,
            tenant,
            scope: named.scope,
            roles: named.roles,
            txn: named.txn,
            expires_at: times.exp,
            claims: claims.clone(),
            headers: propagated,
            possession,
            challenges: Arc::clone(&self.0.challenges),
        }))
    }

    fn emit(&self, verified: &Result<Caller, Why>, correlation_id: &CorrelationId) {
        let ((boundary, outcome), about) = match verified {
            Ok(caller) => ((Boundary::Authorization, BoundaryOutcome::Passed), EventSubject::of(caller)),
            Err(why) => (
                why.at(),
                EventSubject { trace_id: Some(Reference::of(correlation_id.as_str())), ..EventSubject::default() },
            ),
        };
        self.0.sinks.emit_all(&Event { at: self.0.clock.now(), guard: Guard::Token, boundary, outcome, about });
    }

    /// Finds the issuer that a token names, and checks that a key of that issuer signed the token.
    async fn believe(&self, text: &str) -> Result<(&TrustedIssuer, VerifiedToken), Why> {
        let token = UnverifiedToken::parse(text).map_err(Why::Parse)?;
        let issuer = self.issuer_of(token.claims())?;
        if !issuer.algorithms.contains(&token.header().algorithm) {
            return Err(Why::Algorithm);
        }
        let token = issuer.keys.verify(token, None).await.map_err(|error| match error {
            KeyVerifyError::Lookup(KeyLookupError::Unknown) => Why::KeyUnknown,
            KeyVerifyError::Lookup(KeyLookupError::Unusable) => Why::KeysUnusable,
            KeyVerifyError::Lookup(KeyLookupError::Unavailable(cause)) => Why::KeysUnavailable(cause),
            KeyVerifyError::Signature(error) => Why::Signature(error),
        })?;
        Ok((issuer, token))
    }

    /// The issuer that a token names in `iss`, or the trust domain of its `sub`.
    fn issuer_of(&self, claims: &Claims) -> Result<&TrustedIssuer, Why> {
        let (iss, domain) = (claims.string("iss")?, TrustDomain::of_claims(claims));
        let Some(issuer) = iss.and_then(|iss| self.issuer(iss)) else {
            let lacks = if iss.is_none() { Why::IssuerMissing } else { Why::IssuerUnknown };
            return domain.and_then(|domain| self.0.issuers.get(&domain.issuer())).ok_or(lacks);
        };
        match TrustDomain::of_issuer(&issuer.issuer) {
            Some(own) if domain != Some(own) => Err(Why::Sub),
            Some(_) | None => Ok(issuer),
        }
    }

    /// Returns the issuer with this name. A name without placeholder takes precedence over one with.
    fn issuer(&self, iss: &str) -> Option<&TrustedIssuer> {
        self.exact(iss).or_else(|| self.named(iss, IssuerName::is_template))
    }

    /// Returns the issuer with this name, which has no placeholder.
    fn exact(&self, iss: &str) -> Option<&TrustedIssuer> {
        self.named(iss, |name| !name.is_template())
    }

    fn named(&self, iss: &str, fits: impl Fn(&IssuerName) -> bool) -> Option<&TrustedIssuer> {
        let (_, own) = self.0.names.iter().find(|(name, _)| fits(name) && name.is(iss))?;
        self.0.issuers.get(own)
    }

    fn is_sts(&self, issuer: &str) -> bool {
        self.0.issuers.get(issuer).is_some_and(|issuer| matches!(issuer.reading, Reading::Sts))
    }
}
