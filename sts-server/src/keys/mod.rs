//! Signing keys of this service, and the keys of other parties that it verifies with.
//!
//! What lives here: the master key and the data that it seals (`seal`), and the change of the
//! master key (`reseal`). Also the signing keys as requests read them (`ring`) and their lifecycle
//! (`lifecycle`). Also the keys of outside issuers and of agents (`trusted`), and the names of the
//! tokens that they sign (`reference`), and the check of certificates (`certificate_chain`). What must never: decisions about the claims of a token. A
//! key management service would be a module beside `seal`.

mod certificate_chain;
mod lifecycle;
mod reference;
mod reseal;
mod ring;
mod seal;
mod trusted;

pub use certificate_chain::CertificateChain;
pub use lifecycle::{
    KeyLifeError, KeyPolicy, Rotation, SIGNING_ALGORITHMS, ensure, maintain, publish_window, revoke, rotate,
};
pub use reference::{JtiError, reference};
pub use reseal::{audit_keys, reseal};
pub use ring::{KeyLife, KeyRing, KeyRingError, MAX_PUBLISHED_KEYS};
pub use seal::{MasterKey, SealError, create_private, write_private};
pub use trusted::{ChainError, InspectError, Inspected, KeyAccess, KeyOwner, OutsideToken, TrustError, TrustedKeys};
