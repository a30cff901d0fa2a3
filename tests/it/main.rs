//! The integration tests, in one binary.

mod registry_check;
mod storage;
