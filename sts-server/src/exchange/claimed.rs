//! The unverified claims of a refused token, for operators: in the log and in the audit event.

use serde_json::{Map, Value};
use sts_jose::ReadableToken;
use sts_protocol::{Form, parameter};

use super::{Call, Refusal};
use crate::client_auth::{AuthenticationError, Failure, claimed_id};
use crate::record::{Event, SingleUseKind, cut};
use crate::service::Sts;

/// The claims that most often explain a refusal, as the sender wrote them, each cut to 256
/// characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    iss: Option<String>,
    aud: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    typ: Option<String>,
}

impl Claimed {
    /// Returns the claims of the token that caused the refusal. Returns `None` if the cause is not
    /// a token, or if the token has no readable JOSE header.
    #[must_use]
    pub fn of(refusal: &Refusal, body: &[u8]) -> Option<Self> {
        let parameter = refusal.token_at_fault()?;
        let form = Form::parse(body).ok()?;
        let token = ReadableToken::read(form.get(parameter)?)?;
        let (header, nothing) = (token.header(), Map::new());
        let claims = token.claims().unwrap_or(&nothing);
        Some(Self {
            iss: shown(claims.get("iss")),
            aud: shown(claims.get("aud")),
            alg: shown(header.get("alg")),
            kid: shown(header.get("kid")),
            typ: shown(header.get("typ")),
        })
    }

    /// Writes the claims into an event.
    pub(super) fn describe(self, event: &mut Event) {
        event.claimed_iss = self.iss;
        event.claimed_aud = self.aud;
        event.claimed_alg = self.alg;
        event.claimed_kid = self.kid;
        event.claimed_typ = self.typ;
    }
}

impl std::fmt::Display for Claimed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { iss, aud, alg, kid, typ } = self;
        for (index, (name, value)) in
            [("iss", iss), ("aud", aud), ("alg", alg), ("kid", kid), ("typ", typ)].into_iter().enumerate()
        {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}{name} {}", value.as_deref().unwrap_or("absent"))?;
        }
        Ok(())
    }
}

/// Returns the agent that a request claims to come from, for the log, at most 256 characters.
/// Verifies nothing.
#[must_use]
pub fn claimed_client(sts: &Sts, call: &Call<'_>) -> Option<String> {
    let form = Form::parse(call.body).ok()?;
    let claimed = claimed_id(&sts.snapshot().registry, call.headers, &form)?;
    Some(cut(&claimed).into_owned())
}

/// Returns a text unchanged, and any other value as JSON.
fn shown(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(cut(text).into_owned()),
        other => Some(cut(&other.to_string()).into_owned()),
    }
}

impl Refusal {
    /// Returns the parameter of the token that caused the refusal.
    fn token_at_fault(&self) -> Option<&'static str> {
        let is_of_subject = matches!(self, Self::Subject(_));
        let is_of_actor = matches!(
            self,
            Self::ActorToken(_) | Self::ActorTokenMismatch | Self::Client(AuthenticationError::ActorToken(_))
        );
        // An assertion of an unknown agent is refused with the same error as a secret of an unknown
        // agent.
        let is_of_client = matches!(
            self,
            Self::Replayed(SingleUseKind::ClientAssertion)
                | Self::Client(
                    AuthenticationError::Unavailable(_)
                        | AuthenticationError::Failed(
                            Failure::Assertion(_)
                                | Failure::Workload(_)
                                | Failure::UnknownAgent
                                | Failure::DisabledAgent
                                | Failure::OnlyReceives
                        )
                )
        );
        let parameters = [
            (is_of_subject, parameter::SUBJECT_TOKEN),
            (is_of_actor, parameter::ACTOR_TOKEN),
            (is_of_client, parameter::CLIENT_ASSERTION),
            (matches!(self, Self::NotTheClients), parameter::TOKEN),
        ];
        parameters.into_iter().find_map(|(is_of, parameter)| is_of.then_some(parameter))
    }
}
