//! The integration tests, in one binary.

mod actor;
mod architecture;
mod chain;
mod configuration;
mod crash;
mod documents;
mod interop;
mod process;
mod properties;
mod registry_apply;
mod registry_check;
mod storage;
mod subject;
