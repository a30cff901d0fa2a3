//! The integration tests, in one binary.

mod actor;
mod answers;
mod architecture;
mod chain;
mod cli;
mod client;
mod client_auth;
mod configuration;
mod connections;
mod crash;
mod documents;
mod forms;
mod interop;
mod issuers;
mod policy;
mod process;
mod properties;
mod registry_apply;
mod registry_check;
mod replicas;
mod service_account;
mod standing;
mod storage;
mod subject;
mod tenant;
mod tokens;
