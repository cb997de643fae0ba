//! What a nightly job may rely on when things die: the program is killed, asked to end, denied memory and disk, over
//! and over, and each time the output path must hold the old complete file or the new complete one, the next run must
//! complete, and its bytes must be those of an undisturbed run. `docs/reliability.md` is the list of promises and where
//! each is tested.
//!
//! `cargo test` runs the short form, in half a minute. The full form, half an hour, is
//!
//! ```console
//! $ REEMBED_FAULTS=full cargo test --test faults -- --nocapture --test-threads 1
//! ```
//!
//! Numbers instead of `full` say how many kills and how many faults: `REEMBED_FAULTS=1000,2000`. What is random follows
//! from one number, which is printed; `REEMBED_FAULTS_SEED` sets it. What cannot be tested on a machine is said past the
//! capture of the output, with the reason; `REEMBED_NO_SKIPS` makes a missing strace a failure.

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
