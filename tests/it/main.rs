//! One binary of integration tests; a module each.

mod configuration;
mod registry_apply;
mod registry_check;
