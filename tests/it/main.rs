//! The integration tests, in one binary.

mod architecture;
mod chain;
mod documents;
mod registry_check;
mod storage;
