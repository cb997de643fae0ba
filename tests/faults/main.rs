//! Fault tests: after a kill, a stop, or a lack of memory or disk, the output is the old or the new complete
//! file, and the next run completes with the same bytes. `docs/reliability.md` lists the promises.
//!
//! `cargo test` runs the short form in half a minute. The full form takes half an hour:
//!
//! ```console
//! $ TEST_FAULTS=full cargo test --test faults -- --nocapture --test-threads 1
//! ```
//!
//! `TEST_FAULTS=1000,2000` sets the kills and the faults, `TEST_FAULTS_SEED` the printed random seed.
//! `TEST_PROGRAM` names another program than the one Cargo built, such as the command of the Python package.
//! `TEST_NO_SKIPS` makes a missing strace a failure.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/program.rs"]
mod program;

mod dataset;
mod dying;
mod memory;
mod night;
mod powercut;
mod promises;
mod soak;
mod stopping;
mod supervised;
mod syscalls;
