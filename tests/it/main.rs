//! One binary of integration tests; a module each.

mod registry_check;
