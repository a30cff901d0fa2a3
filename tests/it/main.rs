//! The integration tests, in one binary.

mod chain;
mod storage;
