//! The integration tests, in one binary.

mod actor;
mod admin;
mod answers;
mod architecture;
mod chain;
mod cli;
mod client;
mod client_auth;
mod configuration;
mod connections;
mod deploy;
mod documents;
mod drain;
mod forms;
mod interop;
mod issuers;
mod key_life;
mod limits;
mod metrics;
mod once;
mod policy;
mod properties;
mod proxies;
mod registry_apply;
mod registry_check;
mod replicas;
mod service_account;
mod standing;
mod storage;
mod subject;
mod tenant;
mod tls;
mod tokens;
mod traces;

use sts_tests::process;
