# Everything that CI checks; changes no file.
verify:
    .ci/run

# Rewrites what a tool can put right.
fix:
    cargo fmt --all
    cargo clippy --workspace --all-targets --fix --allow-dirty --allow-staged

# Kills a broker half way through 100,000 messages and counts what is lost.
demo:
    cargo run --release -- demo

# Throughput and latency of both workloads on one node.
bench:
    cargo build --release --workspace
    target/release/sampan-bench cluster --nodes 1 --workload produce
    target/release/sampan-bench cluster --nodes 1 --workload pipeline

# Memory with few and with many ready messages.
memory:
    cargo test --release -p sampan --features measure --test memory -- --nocapture

# One fuzz target (see fuzz/README.md) for some seconds.
fuzz target seconds="600":
    mkdir -p fuzz/corpus/{{target}}
    cargo +nightly fuzz run {{target}} fuzz/corpus/{{target}} fuzz/seeds/{{target}} -- -max_total_time={{seconds}}
