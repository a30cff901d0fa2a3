//! Measures agent-sts against its physical limits: one signature check and one signature per exchange.
//!
//! What lives here: a load generator ([`load`]), what it is pointed at ([`server`], [`tokens`]), the measures ([`measure`]) and how
//! they are shown ([`report`]). What must never: a figure that was not measured in the same run. Another measure is a file under
//! `measure/`, a field of [`measure::Figures`] and a row of `report/table.rs`.
//!
//! The server is a process of its own, built as it is shipped; its CPU time and memory are those that the system accounts to it.

pub mod arguments;
pub mod load;
pub mod measure;
pub mod peers;
pub mod process;
pub mod report;
pub mod server;
pub mod statistics;
pub mod tokens;
