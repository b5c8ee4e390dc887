# The ways to work on this tree; `just` lists them.

_list:
    @just --list

# Lay the code out
fmt:
    cargo fmt --all

# Everything that a reviewer should not have to say
lint:
    cargo fmt --all --check
    cargo clippy --release --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps --document-private-items
    cargo deny check

# Every test, as CI runs them
test:
    cargo test --release --workspace --no-fail-fast

# A shell with a three-node Kubernetes cluster, which ends with it
cluster *command:
    cargo run --release --quiet -p e2e -- up {{command}}

# The archives of our images, for `docker load` and the like
images:
    cargo run --release --quiet -p e2e -- images

# Beside DuckDB, Polars and LuaJIT: a table of ratios
bench *options:
    cargo build --release
    python3 bench/run.py {{options}}

# The product on the cluster of the tests: memory, requests, seconds
bench-cluster *options:
    cargo run --release --quiet -p e2e -- up python3 bench/cluster.py {{options}}

# What is made from the types: the custom resource definition the chart's copy, and the JSON schema for editors
generate:
    mkdir -p target/generated
    cargo run --release --quiet -- crd > target/generated/crd.yaml
    cp target/generated/crd.yaml charts/gleamflow/files/crd.yaml
    cargo run --release --quiet -- schema > target/generated/schema.json

# Look for bytes that break a reader: needs cargo-fuzz and a nightly compiler; `fuzz/fuzz_targets` has the targets
fuzz target:
    cargo +nightly fuzz run {{target}}
