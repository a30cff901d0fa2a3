//! Keys: ours that sign, and those of others that we verify with.
//!
//! What lives here: the master key and what it seals (`seal`), our signing keys as requests read them (`ring`) and their life
//! (`lifecycle`), the change of the master key (`reseal`), and the keys of outside issuers and of agents (`trusted`), with the names of the tokens that they sign (`reference`). What must never: what a token may say. A key
//! management service would stand beside `seal`.

mod lifecycle;
mod reference;
mod reseal;
mod ring;
mod seal;
mod trusted;

pub use lifecycle::{
    KeyLifeError, KeyPolicy, Rotation, SIGNING_ALGORITHMS, ensure, maintain, publish_window, revoke, rotate,
};
pub use reference::{JtiError, reference};
pub use reseal::{audit_keys, reseal};
pub use ring::{KeyLife, KeyRing, KeyRingError, MAX_PUBLISHED_KEYS};
pub use seal::{MasterKey, SealError, write_private};
pub use trusted::{InspectError, Inspected, KeyAccess, KeyOwner, OutsideToken, TrustError, TrustedKeys};
