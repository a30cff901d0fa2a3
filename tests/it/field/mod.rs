//! Inputs from public bug reports of other token services, each as its whole kind.

mod issuers;
mod providers;
mod requesters;
