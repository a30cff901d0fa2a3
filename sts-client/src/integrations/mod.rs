//! Where the crate plugs in, each behind a feature of its name.

#[cfg(feature = "axum")]
pub mod axum;
