//! The client library, through its public edge.

mod plug;
