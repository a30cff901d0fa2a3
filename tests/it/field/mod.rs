//! Inputs from public bug reports of other token services, each as its whole kind.

mod inbound;
mod issuers;
mod keys_of_both;
mod providers;
mod reach;
mod requesters;
mod workloads;

pub(crate) use issuers::{entra, one_entry_of_entra};
pub(crate) use workloads::{classes, spiffe};
