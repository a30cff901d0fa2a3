//! The integration tests, in one binary.

mod architecture;
mod chain;
mod documents;
mod configuration;
mod registry_apply;
mod registry_check;
mod storage;
