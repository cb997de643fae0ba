//! Fault tests: the program is killed, stopped, and denied memory and disk. After each fault the output path
//! holds the old complete file or the new complete one, the next run completes, and its bytes equal those of
//! an undisturbed run. `docs/reliability.md` maps each promise to its tests.
//!
//! `cargo test` runs the short form in half a minute. The full form takes half an hour:
//!
//! ```console
//! $ REEMBED_FAULTS=full cargo test --test faults -- --nocapture --test-threads 1
//! ```
//!
//! Numbers instead of `full` set the kills and the faults: `REEMBED_FAULTS=1000,2000`. `REEMBED_FAULTS_SEED`
//! sets the random seed, which each run prints. Skipped tests print their reason past the output capture;
//! `REEMBED_NO_SKIPS` makes a missing strace a failure.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

#[path = "../common/mod.rs"]
mod common;

mod dying;
mod memory;
mod night;
mod powercut;
mod promises;
mod soak;
mod stopping;
mod supervised;
mod syscalls;
