//! The integration tests, in one binary.

mod architecture;
mod chain;
mod configuration;
mod documents;
mod registry_apply;
mod registry_check;
mod storage;
