# The commands of a contributor. `just` lists them; each is one line that also runs without just.

_list:
    @{{ just_executable() }} --list --unsorted

# Everything that a change must pass: tests, formatting, lints, documentation, packages
check:
    .ci/run

# All tests, on both databases
test:
    tests/run

# The tests of the crates and of the public edge: no fault scenarios, properties, simulation, deployment files, examples, clients of others
test-fast:
    cargo test -p sts-protocol -p sts-jose -p sts-client -p sts-server --lib --bins
    cargo test -p sts-jose --test it
    cargo test -p sts-tests --test it -- --skip interop:: --skip properties:: --skip simulation:: --skip deploy:: --skip size:: --skip tutorial::

# Rewrites what is generated: the reference configuration and the tables of the pages
gen:
    cargo run --quiet -p sts-server -- config reference > deploy/sts.toml.new
    mv deploy/sts.toml.new deploy/sts.toml
    STS_TESTS_GENERATE=1 cargo test -p sts-tests --test it -- --test-threads 1 documents:: snapshots::
