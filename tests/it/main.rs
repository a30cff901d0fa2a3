//! The integration tests, in one binary.

mod chain;
mod registry_check;
mod storage;
