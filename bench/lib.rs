//! Benchmarks of agent-sts; they are in `benches/`, and `cargo bench -p sts-bench` runs them.
