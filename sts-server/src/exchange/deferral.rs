//! Deferred token responses (draft-ietf-oauth-deferred-token-response): a request that waits for an
//! approval gets a code, and polls with it until a person has decided.
//!
//! The wire of the draft is here alone. A code is the request itself, sealed under a key that is
//! derived from the master key. A poll needs no database: while its approval waits, and registry, keys and
//! revocations are those of the request, there is nothing to decide. Otherwise it applies the rules to the
//! sealed request anew. The redemption spends the hash of the code with the commit of its token, on all servers.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sts_jose::sha256_hex;
use sts_protocol::{Confirmation, Form, parameter};

use super::{Call, DeferredAnswer, Refusal, RequestError};
use crate::client_auth::{AuthenticatedAgent, Method};
use crate::mint;
use crate::rate_limits::POLL_INTERVAL;
use crate::record::{SingleUse, SingleUseKind};
use crate::service::View;
use crate::storage::{ApprovalState, OneTimeValue, Versions, forget_at};

/// The value of `completion_mode` that asks for a deferred answer.
const DEFERRED: &str = "deferred";
/// The maximum length of the parameters that a code holds, in bytes. A poll has room for the code,
/// in base64url, and for credentials.
const MAX_KEPT_BYTES: usize = 32 * 1024;
/// The parameters that a code holds. Credentials are sent with each poll.
const KEPT: [&str; 7] = [
    parameter::SUBJECT_TOKEN,
    parameter::SUBJECT_TOKEN_TYPE,
    parameter::AUDIENCE,
    parameter::RESOURCE,
    parameter::SCOPE,
    parameter::AUTHORIZATION_DETAILS,
    parameter::REQUESTED_TOKEN_TYPE,
];
/// The parameters of an actor token, which a code holds unless it is a credential.
const KEPT_OF_ACTOR: [&str; 2] = [parameter::ACTOR_TOKEN, parameter::ACTOR_TOKEN_TYPE];

/// A poll whose code was accepted.
pub(super) struct Poll {
    sealed: Sealed,
    /// SHA-256 of the code.
    digest: String,
}

/// The request that a code stands for.
pub(super) struct DeferredRequest {
    /// The parameters of the request.
    pub(super) form: Form,
    /// Its `X-Tenant-ID`.
    pub(super) headers: HeaderMap,
    /// The approval that it waits for.
    pub(super) approval: String,
    /// The value that the redemption spends.
    pub(super) redeems: SingleUse,
}

/// The content of a code.
#[derive(Serialize, Deserialize)]
struct Sealed {
    /// Makes each code another one.
    name: String,
    client_id: String,
    /// The keys that the client has proven at the request: of its DPoP proof and of its certificate.
    cnf: Confirmation,
    /// The parameters, as a form.
    form: String,
    tenant: Option<String>,
    approval: String,
    /// In seconds since the epoch.
    expires_at: i64,
    /// The versions that the request was decided under.
    #[serde(default)]
    decided_under: Option<Versions>,
}

/// The parameters of a request that waits for a deferred answer, as a form.
pub(super) struct KeptRequest(String);

/// Returns the parameters that the code of a request holds. Returns `None` if the client does not
/// wait for a deferred answer.
///
/// # Errors
/// [`Refusal::Form`], or [`Refusal::Request`] if they are too long for a code.
pub(super) fn kept(call: &Call<'_>, client: &AuthenticatedAgent) -> Result<Option<KeptRequest>, Refusal> {
    let form = Form::parse(call.body)?;
    let modes = form.get(parameter::COMPLETION_MODE).unwrap_or_default();
    if !modes.split_ascii_whitespace().any(|mode| mode == DEFERRED) {
        return Ok(None);
    }
    let is_credential = client.method() == Method::WorkloadActorToken;
    let names = KEPT.iter().chain(KEPT_OF_ACTOR.iter().filter(|_| !is_credential));
    let mut kept = url::form_urlencoded::Serializer::new(String::new());
    for name in names {
        for value in form.all(name) {
            kept.append_pair(name, value);
        }
    }
    let kept = kept.finish();
    if kept.len() > MAX_KEPT_BYTES {
        return Err(RequestError::TooLongToDefer.into());
    }
    Ok(Some(KeptRequest(kept)))
}

/// Returns the deferred answer of a request that waits for an approval. Its code expires at this
/// time.
///
/// # Errors
/// [`Refusal::Unsealed`] if the code cannot be made.
pub(super) fn defer(
    view: &View<'_>,
    call: &Call<'_>,
    client: &AuthenticatedAgent,
    KeptRequest(form): &KeptRequest,
    (approval, expires_at): (&str, Timestamp),
) -> Result<DeferredAnswer, Refusal> {
    let tenant = call.headers.get(parameter::X_TENANT_ID).and_then(|tenant| tenant.to_str().ok());
    let sealed = Sealed {
        name: mint::name(view.now, &*view.sts.entropy),
        client_id: client.agent().id.clone(),
        cnf: client.proven().clone(),
        form: form.clone(),
        tenant: tenant.map(str::to_owned),
        approval: approval.to_owned(),
        expires_at: expires_at.as_second(),
        decided_under: Some(view.snapshot.versions()),
    };
    let expires_in = sealed.expires_at.saturating_sub(view.now.as_second());
    let plain = serde_json::to_vec(&sealed).or(Err(Refusal::Unsealed))?;
    let code = view.sts.master.seal_deferral(&plain, &*view.sts.entropy).or(Err(Refusal::Unsealed))?;
    Ok(DeferredAnswer {
        code: URL_SAFE_NO_PAD.encode(code),
        expires_in,
        interval: POLL_INTERVAL.as_secs().cast_signed(),
    })
}

/// Counts a poll whose code was accepted.
///
/// # Errors
/// [`Refusal::PolledTooFast`] for polls that come faster than the interval allows.
pub(super) fn count_poll(view: &View<'_>, form: &Form) -> Result<(), Refusal> {
    let code = form.get(parameter::DEFERRAL_CODE).unwrap_or_default();
    if view.sts.rates().counts_poll(code).is_some() { Err(Refusal::PolledTooFast) } else { Ok(()) }
}

/// Reads the code of a poll. Returns `None` if the request is no poll.
///
/// # Errors
/// [`Refusal::Request`] if the poll is malformed. [`Refusal::DeferralCode`] for a code that is
/// unknown, expired, of another client, or bound to a key that the client has not proven.
pub(super) fn poll(view: &View<'_>, form: &Form, client: &AuthenticatedAgent) -> Result<Option<Poll>, Refusal> {
    if form.get(parameter::GRANT_TYPE) != Some(parameter::GRANT_DEFERRED) {
        return Ok(None);
    }
    if form.get(parameter::COMPLETION_MODE).is_some() {
        return Err(RequestError::Foreign(parameter::COMPLETION_MODE).into());
    }
    let code = form.get(parameter::DEFERRAL_CODE).ok_or(RequestError::Missing(parameter::DEFERRAL_CODE))?;
    let sealed = open(view, code).ok_or(Refusal::DeferralCode)?;
    let proves = |key: fn(&Confirmation) -> &Option<String>| {
        key(&sealed.cnf).is_none() || key(&sealed.cnf) == key(client.proven())
    };
    let proves = proves(|cnf| &cnf.jkt) && proves(|cnf| &cnf.x5t_s256);
    if sealed.client_id != client.agent().id || sealed.expires_at <= view.now.as_second() || !proves {
        return Err(Refusal::DeferralCode);
    }
    Ok(Some(Poll { sealed, digest: sha256_hex(code.as_bytes()) }))
}

impl Poll {
    /// Returns true if the request was decided already, as it would be decided now: its approval waits, and
    /// nothing else that decides has changed.
    pub(super) fn still_waits(&self, view: &View<'_>) -> bool {
        let approval = view.snapshot.approvals.get(&self.sealed.approval);
        self.sealed.decided_under == Some(view.snapshot.versions())
            && approval.is_some_and(|approval| approval.state_at(view.now) == ApprovalState::Pending)
    }

    /// Returns the request that the code stands for.
    ///
    /// # Errors
    /// [`Refusal::Form`].
    pub(super) fn request(self) -> Result<DeferredRequest, Refusal> {
        let Self { sealed, digest } = self;
        let body = format!("{}={}&{}", parameter::GRANT_TYPE, parameter::GRANT_TOKEN_EXCHANGE, sealed.form);
        let mut headers = HeaderMap::new();
        if let Some(tenant) = sealed.tenant.and_then(|tenant| HeaderValue::from_str(&tenant).ok()) {
            headers.insert(HeaderName::from_static(parameter::X_TENANT_ID), tenant);
        }
        let expires_at = Timestamp::from_second(sealed.expires_at).unwrap_or(Timestamp::MAX);
        let value = OneTimeValue {
            namespace: parameter::DEFERRAL_CODE.to_owned(),
            value: digest,
            expires_at: forget_at(expires_at),
        };
        let redeems = SingleUse { kind: SingleUseKind::DeferralCode, value };
        Ok(DeferredRequest { form: Form::parse(body.as_bytes())?, headers, approval: sealed.approval, redeems })
    }
}

fn open(view: &View<'_>, code: &str) -> Option<Sealed> {
    let sealed = URL_SAFE_NO_PAD.decode(code).ok()?;
    let plain = view.sts.master.open_deferral(&sealed).ok()?;
    serde_json::from_slice(&plain).ok()
}
