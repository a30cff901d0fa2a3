//! The `typ` values of tokens, and the slots that accept them.
//!
//! Every place that takes a token is a [`Slot`]. A token whose `typ` belongs to another kind of
//! token is rejected there (RFC 8725 §3.11). A new kind of token is a variant of [`Typ`].

/// A kind of token by the `typ` of its header (RFC 7515 §4.1.9).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Typ {
    /// No `typ`.
    Absent,
    /// A JSON Web Token of any purpose (RFC 7519 §5.1).
    Jwt,
    /// An access token (RFC 9068 §2.1).
    AccessToken,
    /// A client assertion.
    ClientAuthentication,
    /// A JWT-SVID (JWT-SVID §2.3).
    Jose,
    /// A request in an envelope between agents.
    AgentRequest,
    /// An answer in an envelope between agents. It differs from a request, so that a request that is
    /// sent back is not accepted as an answer.
    AgentAnswer,
    /// A DPoP proof (RFC 9449 §4.2).
    DpopProof,
    /// A Security Event Token (RFC 8417 §2.3), which tells a receiver of something. No slot accepts
    /// it.
    SecurityEvent,
}

impl Typ {
    /// Returns the value in the header, without the prefix `application/`; `""` for [`Self::Absent`].
    ///
    /// ```
    /// assert_eq!(sts_jose::Typ::AccessToken.as_str(), "at+jwt");
    /// ```
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "",
            Self::Jwt => "jwt",
            Self::AccessToken => "at+jwt",
            Self::ClientAuthentication => "client-authentication+jwt",
            Self::Jose => "jose",
            Self::AgentRequest => "agent-request+jwt",
            Self::AgentAnswer => "agent-answer+jwt",
            Self::DpopProof => "dpop+jwt",
            Self::SecurityEvent => "secevent+jwt",
        }
    }
}

/// A place that takes a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot {
    /// An access token of this service, or of an issuer that follows RFC 9068.
    IssuedToken,
    /// A token that is declared as an access token or as a JWT.
    AccessToken,
    /// A token that is declared as an ID token.
    IdToken,
    /// A client assertion (RFC 7523 §2.2), or a workload token instead of it.
    ClientAssertion,
    /// A JWT-SVID.
    JwtSvid,
    /// A request in an envelope.
    AgentRequest,
    /// An answer in an envelope.
    AgentAnswer,
    /// The `DPoP` header of a request.
    DpopProof,
}

impl Slot {
    /// Returns the kinds of tokens that the slot accepts.
    #[must_use]
    pub const fn accepted(self) -> &'static [Typ] {
        match self {
            Self::IssuedToken => &[Typ::AccessToken],
            Self::AccessToken => &[Typ::Absent, Typ::Jwt, Typ::AccessToken],
            Self::IdToken => &[Typ::Absent, Typ::Jwt],
            Self::ClientAssertion => &[Typ::Absent, Typ::Jwt, Typ::ClientAuthentication],
            Self::JwtSvid => &[Typ::Absent, Typ::Jwt, Typ::Jose],
            Self::AgentRequest => &[Typ::AgentRequest],
            Self::AgentAnswer => &[Typ::AgentAnswer],
            Self::DpopProof => &[Typ::DpopProof],
        }
    }

    /// Returns true if the slot accepts a token with this `typ`. The comparison ignores ASCII case
    /// and an optional `application/` prefix (RFC 7515 §4.1.9).
    ///
    /// ```
    /// use sts_jose::Slot;
    ///
    /// assert!(Slot::IssuedToken.accepts(Some("application/at+JWT")));
    /// assert!(!Slot::IssuedToken.accepts(None));
    /// ```
    #[must_use]
    pub fn accepts(self, typ: Option<&str>) -> bool {
        const PREFIX: &str = "application/";
        let Some(typ) = typ else { return self.accepted().contains(&Typ::Absent) };
        let short = match typ.split_at_checked(PREFIX.len()) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) => rest,
            Some(_) | None => typ,
        };
        !short.is_empty() && self.accepted().iter().any(|accepted| accepted.as_str().eq_ignore_ascii_case(short))
    }
}
