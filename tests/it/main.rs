//! The integration tests, in one binary.

mod chain;
mod properties;
mod registry_check;
mod storage;
