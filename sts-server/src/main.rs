//! The `sts-server` command.

fn main() {}
