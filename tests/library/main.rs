//! Library tests over models and tables: the vectors of each model, and the output of a run for any batch
//! size and after out-of-memory errors.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test says what it expects"
)]

#[path = "../common/mod.rs"]
mod common;

mod models;
mod pipeline;
mod precision;
mod real_model;
