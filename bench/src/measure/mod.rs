//! The measures. Each prints nothing; [`crate::report`] shows them.

pub mod exchange;
pub mod floor;
