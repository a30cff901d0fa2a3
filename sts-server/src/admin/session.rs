//! The sessions of operators in browsers.
//!
//! A session is the operator's own credential, sealed under the master key. Every request opens it
//! and authenticates with it as a program would. A session therefore ends with its token, with its
//! role and with a revocation, on every server, and no server stores it. A sign-in at the issuer of
//! operators that has begun is sealed in the same way.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret as _, SecretString};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::{Administration, PendingSignIn, SignIn, SignInError};

/// The lifetime of a session.
const LIFE: SignedDuration = SignedDuration::from_hours(1);
/// The time in which a sign-in at the issuer must end.
const SIGN_IN_LIFE: SignedDuration = SignedDuration::from_mins(10);
/// The purpose that a session is sealed for. Nothing else sealed under the master key opens as a
/// session.
const PURPOSE: &str = "console session";
/// The purpose that a pending sign-in is sealed for.
const SIGN_IN_PURPOSE: &str = "console sign-in";
/// The number of random bytes in the token of the forms.
const FORM_TOKEN_BYTES: usize = 16;
/// The longest content of a cookie, in bytes: what browsers accept as a cookie, less its name and attributes.
const MAX_BYTES: usize = 3800;

/// The session of an operator.
#[derive(Clone)]
pub struct Session {
    bearer: SecretString,
    form_token: String,
}

/// The content of a cookie.
#[derive(Serialize, Deserialize)]
struct Sealed<T> {
    content: T,
    exp: i64,
}

/// The content of the cookie of a session.
#[derive(Serialize, Deserialize)]
struct Kept {
    bearer: String,
    form_token: String,
}

impl Administration {
    /// Returns a new session with this credential, sealed, in URL-safe characters. `None` if the
    /// credential is too long for a cookie.
    #[must_use]
    pub fn begin_session(&self, bearer: &str) -> Option<String> {
        let mut random = [0; FORM_TOKEN_BYTES];
        self.entropy.fill(&mut random);
        let form_token = URL_SAFE_NO_PAD.encode(random);
        self.seal(PURPOSE, LIFE, Kept { bearer: bearer.to_owned(), form_token })
    }

    /// Opens a session. `None` if it was not sealed here or has expired.
    #[must_use]
    pub fn session(&self, sealed: &str) -> Option<Session> {
        let Kept { bearer, form_token } = self.open(PURPOSE, sealed)?;
        Some(Session { bearer: bearer.into(), form_token })
    }

    /// Begins a sign-in. Returns the URL at the issuer for the browser, and the sealed part that the
    /// browser keeps.
    ///
    /// # Errors
    /// As for [`SignIn::begin`].
    pub async fn begin_sign_in(&self, sign_in: &SignIn) -> Result<(Url, Option<String>), SignInError> {
        let (url, pending) = sign_in.begin(&*self.entropy).await?;
        Ok((url, self.keep_sign_in(&pending)))
    }

    /// Seals a sign-in that has begun. `None` only if the master key cannot seal; never expected.
    fn keep_sign_in(&self, pending: &PendingSignIn) -> Option<String> {
        self.seal(SIGN_IN_PURPOSE, SIGN_IN_LIFE, pending)
    }

    /// Opens a sign-in that has begun. `None` if it was not sealed here or has expired.
    #[must_use]
    pub fn kept_sign_in(&self, sealed: &str) -> Option<PendingSignIn> {
        self.open(SIGN_IN_PURPOSE, sealed)
    }

    fn seal(&self, purpose: &str, life: SignedDuration, content: impl Serialize) -> Option<String> {
        let exp = self.now().checked_add(life).ok()?.as_second();
        let plain = serde_json::to_vec(&Sealed { content, exp }).ok()?;
        let sealed = self.master.seal(purpose, &plain, &*self.entropy).ok()?;
        Some(URL_SAFE_NO_PAD.encode(sealed)).filter(|sealed| sealed.len() <= MAX_BYTES)
    }

    fn open<T: DeserializeOwned>(&self, purpose: &str, sealed: &str) -> Option<T> {
        let sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let plain = self.master.open(purpose, &sealed).ok()?;
        let Sealed { content, exp } = serde_json::from_slice(&plain).ok()?;
        let expires_at = Timestamp::from_second(exp).ok()?;
        (self.now() < expires_at).then_some(content)
    }
}

impl Session {
    /// Returns the credential of the operator.
    #[must_use]
    pub fn bearer(&self) -> &str {
        self.bearer.expose_secret()
    }

    /// Returns the token that every form of the session carries, so that no other site can send one.
    #[must_use]
    pub fn form_token(&self) -> &str {
        &self.form_token
    }

    /// Returns true if a form carries the token of the session.
    #[must_use]
    pub fn is_form_token(&self, token: &str) -> bool {
        self.form_token.as_bytes().ct_eq(token.as_bytes()).into()
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}
