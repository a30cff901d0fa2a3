//! The integration tests, in one binary.

mod chain;
mod configuration;
mod registry_apply;
mod registry_check;
mod storage;
