//! The integration tests, in one binary.

mod architecture;
mod chain;
mod configuration;
mod documents;
mod crash;
mod documents;
mod interop;
mod process;
mod registry_apply;
mod properties;
mod registry_check;
mod storage;
