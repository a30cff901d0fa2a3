# The commands of a contributor. `just` lists them. `.ci/run` calls `check`.

published := "sts-protocol sts-jose sts-server sts-client sts-agent"
client_features := "a2a axum envelope openidconnect postgres reqwest rmcp sqlite test-util tower"

_list:
    @{{ just_executable() }} --list --unsorted

# Everything that a change must pass
check: test lint doc book package deny

# All tests, on both databases
test:
    tests/run

# The tests of the crates and of the public edge: no fault scenarios, properties, simulation, deployment files, examples, clients of others
test-fast:
    cargo test -p sts-protocol -p sts-jose -p sts-client -p sts-agent -p sts-server --lib --bins
    cargo test -p sts-jose --test it
    cargo test -p sts-tests --test it -- --skip interop:: --skip properties:: --skip simulation:: --skip deploy:: --skip size:: --skip tutorial::

# Rewrites what is generated: the reference configuration, the tables of the pages, the snapshots, the contract of the packages
gen:
    cargo run --quiet -p sts-server -- config reference > deploy/sts.toml.new
    mv deploy/sts.toml.new deploy/sts.toml
    STS_TESTS_GENERATE=1 cargo test -p sts-tests --test it -- --test-threads 1 documents:: snapshots::
    STS_TESTS_GENERATE=1 cargo test -p sts-agent --lib contract

# Formatting; lints of the workspace, of each feature of the client alone, and with the oldest Rust of the client's crates
lint: && oldest
    cargo fmt --all --check
    cargo clippy --workspace --all-targets --all-features -- -D warnings
    for feature in "" {{ client_features }}; do \
        cargo clippy --quiet -p sts-client --no-default-features --features "$feature" -- -D warnings || exit 1; \
    done

# The client's crates with the oldest Rust version that they name, where it can be had. sqlx needs a newer one
oldest:
    #!/usr/bin/env bash
    set -euo pipefail
    oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' sts-client/Cargo.toml)
    if command -v rustup >/dev/null && { rustup run "$oldest" rustc --version || rustup toolchain install "$oldest" --profile minimal; } >/dev/null 2>&1; then
        cargo "+$oldest" check --quiet -p sts-protocol -p sts-jose -p sts-client --features sts-client/axum,sts-client/reqwest,sts-client/test-util
    else
        echo "Rust $oldest cannot be had: the client's crates are not built with it here"
    fi

# The documentation of the crates, with every link
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --all-features

# The pages as a book, in target/book, where mdbook is installed (`cargo install --locked mdbook`). The tests check the links in any case
book:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v mdbook >/dev/null; then
        echo "mdbook is not installed: the book is not built here"
        exit
    fi
    rm -rf target/book-src
    mkdir -p target/book-src
    git ls-files -z -- '*.md' docs/images deploy examples | tar --null -T - -cf - | tar -xf - -C target/book-src
    rm target/book-src/docs/SUMMARY.md
    sed -E 's#\]\(([a-z])#](docs/\1#; s#\]\(README#](docs/README#; s#\]\(\.\./#](#' docs/SUMMARY.md >target/book-src/SUMMARY.md
    mdbook build

# What could be published, built from what would be published: the packages, unpacked, each alone
package:
    #!/usr/bin/env bash
    set -euo pipefail
    published=({{ published }})
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"
    rm -f "$CARGO_TARGET_DIR"/package/*.crate
    cargo package --quiet --no-verify --locked "${published[@]/#/--package=}"
    unpacked="$CARGO_TARGET_DIR/package/unpacked"
    rm -rf "$unpacked"
    mkdir -p "$unpacked"
    {
        printf '[workspace]\nresolver = "3"\nmembers = ["*"]\n[patch.crates-io]\n'
        for crate in "${published[@]}"; do
            tar -xzmf "$CARGO_TARGET_DIR/package/$crate"-*.crate -C "$unpacked"
            mv "$unpacked/$crate"-* "$unpacked/$crate"
            printf '%s = { path = "%s" }\n' "$crate" "$crate"
        done
    } >"$unpacked/Cargo.toml"
    cp Cargo.lock "$unpacked/"
    # Extracted with the present time (-m): cargo compares times, and those in a package never change.
    # One by one: the features that one package asks for must not make up for those that another lacks.
    for crate in "${published[@]}"; do
        cargo check --quiet --offline --manifest-path "$unpacked/$crate/Cargo.toml" --package "$crate"
    done

# Bans, licences, sources and advisories of the dependencies, where cargo-deny is installed
deny:
    #!/usr/bin/env bash
    set -euo pipefail
    if ! command -v cargo-deny >/dev/null; then
        echo "cargo-deny is not installed: bans, licences, sources and advisories are not checked here"
    elif timeout 120 cargo deny fetch db; then
        cargo deny check
    else
        echo "the advisory database is out of reach: advisories are not checked here"
        cargo deny check bans licenses sources
    fi
